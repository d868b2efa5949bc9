"""Protocols as data: who is trained on, validated on and tested, and how folds become one number.

A protocol only says who is tested in each fold. Everybody else belongs to training, from which validation
subjects are drawn by a seeded rule; a `Fold` cannot be made with one subject in two of its parts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from affectkit.data.splits import check_disjoint, split_subjects
from affectkit.errors import ConfigError

__all__ = [
    "Fold",
    "Protocol",
    "leave_one_subject_out",
    "listed_folds",
    "official_test",
    "one_test",
    "three_folds",
]

Division = Callable[[Sequence[str]], Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Fold:
    """One division into training, validation and test.

    Args:
        name: What the fold is called: its test part or test subject.
        train: Subjects that are really trained on (image names where a corpus knows no subjects).
        val: Subjects that epoch and thresholds are chosen on.
        test: Subjects that are tested, once.

    Raises:
        SubjectLeakError: A subject stands in two of them.
    """

    name: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        check_disjoint({"train": self.train, "val": self.val, "test": self.test})


@dataclass(frozen=True)
class Protocol:
    """How a corpus is evaluated.

    Args:
        name: Short name, unique for the corpus.
        corpus: The corpus, as its dataset class is named.
        reduction: How folds become one number: the mean of their scores, or one score of all predictions.
        threshold_rule: `val`: epoch and thresholds are chosen on the validation subjects of each fold.
            `fixed`: a fixed number of epochs and the threshold 0.5.
        description: One line for whoever reads a number.
        divide: Maps all subjects to the test subjects of each fold, by the fold's name.
        val_fraction: Share of the training subjects that validates, one subject at least.
        aliases: Other names of folds, such as `me-graphau/1`.
    """

    name: str
    corpus: str
    reduction: Literal["mean_of_folds", "pooled"]
    threshold_rule: Literal["val", "fixed"]
    description: str
    divide: Division
    val_fraction: float
    aliases: Mapping[str, str] = field(default_factory=dict)

    def folds(self, subjects: Iterable[str], *, seed: int = 0) -> tuple[Fold, ...]:
        """All folds, in a fixed order.

        Args:
            subjects: Subjects of the corpus that are there (image names where it knows no subjects).
            seed: Seed of the choice of validation subjects.

        Raises:
            ConfigError: A fold would have nobody to test, or fewer than two subjects to train and validate on.

        Example:
            >>> fold = leave_one_subject_out("CASME2", "CASME II").folds(["sub01", "sub02", "sub03"])[0]
            >>> fold.name, fold.test, len(fold.train), len(fold.val)
            ('sub01', ('sub01',), 1, 1)
        """
        everyone = tuple(sorted(set(subjects)))
        return tuple(self._fold(name, test, everyone, seed) for name, test in self.divide(everyone).items())

    def fold(self, name: str | int, subjects: Iterable[str], *, seed: int = 0) -> Fold:
        """One fold by its name, by a published numbering (`me-graphau/1`), or by its place, from 1.

        Args:
            name: Name, alias or place; a name wins over a place.
            subjects: As for `folds`.
            seed: As for `folds`.

        Raises:
            ConfigError: There is no such fold.
        """
        folds = {fold.name: fold for fold in self.folds(subjects, seed=seed)}
        wanted = self.aliases.get(str(name).lower(), str(name))
        if wanted in folds:
            return folds[wanted]
        if wanted.isdecimal() and 1 <= int(wanted) <= len(folds):
            return list(folds.values())[int(wanted) - 1]
        raise ConfigError(
            f"The protocol {self.name} of {self.corpus} has no fold {name!r}.",
            remedy=f"Its folds are {', '.join(folds)}, or 1 to {len(folds)}.",
        )

    def _fold(self, name: str, test: tuple[str, ...], everyone: Sequence[str], seed: int) -> Fold:
        held_out = set(test)
        others = [subject for subject in everyone if subject not in held_out]
        if not test or len(others) < 2:
            raise ConfigError(
                f"Fold {name} of {self.corpus} ({self.name}) has {len(test)} subjects to test and {len(others)} "
                "to train and validate on.",
                remedy="Check that the whole corpus is there; it takes 1 and 2 at least.",
            )
        share = max(self.val_fraction, 1 / len(others))
        parts = split_subjects(others, {"train": 1 - share, "val": share}, seed=seed)
        return Fold(name, parts["train"], parts["val"], tuple(sorted(test)))


def leave_one_subject_out(corpus: str, what: str) -> Protocol:
    """Test each subject in turn, pool the predictions of all folds.

    Args:
        corpus: The corpus, as its dataset class is named.
        what: Its name in the description of the protocol.
    """
    return Protocol(
        name="loso",
        corpus=corpus,
        reduction="pooled",
        threshold_rule="fixed",
        description=f"{what}, leave one subject out; fixed number of epochs",
        divide=_each,
        val_fraction=0.1,
    )


_REVERSED: Final = {"1": "part3", "2": "part2", "3": "part1"}
_IN_ORDER: Final = {"1": "part1", "2": "part2", "3": "part3"}
_NUMBERINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "me-graphau": _REVERSED,
    "jaa-net": {"combine_1_2": "part3", "combine_1_3": "part2", "combine_2_3": "part1"},
    "ssm": _IN_ORDER,
    "fmae": _IN_ORDER,
    "aunets": _IN_ORDER,
}
"""The part that publications test in what they call a fold."""


def three_folds(corpus: str, parts: Mapping[str, Sequence[str]]) -> Protocol:
    """Test each of three parts of the subjects in turn, as action units by frame are evaluated.

    Args:
        corpus: The corpus, as its dataset class is named.
        parts: The subjects of `part1`, `part2` and `part3`.
    """
    size = "/".join(str(len(subjects)) for subjects in parts.values())
    return Protocol(
        name="3fold",
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=f"{corpus}, 3 subject-exclusive parts ({size} subjects), frame-based; epoch and "
        "thresholds chosen on validation subjects of the training parts",
        divide=functools.partial(_by_part, corpus=corpus, parts=parts, tested=tuple(parts)),
        val_fraction=0.2,
        aliases={f"{who}/{fold}": part for who, folds in _NUMBERINGS.items() for fold, part in folds.items()},
    )


def one_test(
    corpus: str,
    name: str,
    *,
    parts: Mapping[str, Sequence[str]],
    test: str,
    description: str,
) -> Protocol:
    """Test one part of the subjects, train and validate on the others.

    Args:
        corpus: The corpus, as its dataset class is named.
        name: Of the protocol.
        parts: The subjects of all parts.
        test: The part to test.
        description: Of the protocol.
    """
    return Protocol(
        name=name,
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=description,
        divide=functools.partial(_by_part, corpus=corpus, parts=parts, tested=(test,)),
        val_fraction=0.2,
    )


def official_test(corpus: str, description: str, *, prefix: str) -> Protocol:
    """Test the clips whose names begin with a prefix, train and validate on the others.

    Args:
        corpus: The corpus, as its dataset class is named.
        description: Of the protocol.
        prefix: Of the names that are tested.
    """
    return Protocol(
        name="official",
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=description,
        divide=functools.partial(_by_prefix, prefix=prefix),
        val_fraction=0.1,
    )


def listed_folds(corpus: str, name: str, description: str, **aliases: str) -> Protocol:
    """Test in each fold the clips whose names begin with it, `set_1/00151`; in several, `set_1+set_2/00151`.

    Args:
        corpus: The corpus, as its dataset class is named.
        name: Of the protocol.
        description: Of the protocol.
        **aliases: Other names of folds.
    """
    return Protocol(
        name=name,
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=description,
        divide=_listed,
        val_fraction=0.1,
        aliases=aliases,
    )


def _by_part(
    subjects: Sequence[str], *, corpus: str, parts: Mapping[str, Sequence[str]], tested: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Each of the `tested` parts in turn."""
    part_of = {subject: part for part, its in parts.items() for subject in its}
    if unknown := sorted(set(subjects) - part_of.keys()):
        raise ConfigError(
            f"The fold list of {corpus} does not know {', '.join(unknown)}.",
            remedy="Is this another corpus? Its subjects have no part, so they could leak.",
        )
    return {part: tuple(s for s in subjects if part_of[s] == part) for part in tested}


def _by_prefix(names: Sequence[str], *, prefix: str) -> dict[str, tuple[str, ...]]:
    """The images or clips whose names say so."""
    return {"official": tuple(name for name in names if name.startswith(prefix))}


def _each(subjects: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each subject in turn."""
    return {subject: (subject,) for subject in subjects}


def _listed(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The clips of each fold whose names say where they are tested, `set_1/00151`."""
    tested = {name: name.partition("/")[0].split("+") for name in names}
    folds = sorted({fold for own in tested.values() for fold in own if fold})
    return {fold: tuple(name for name in names if fold in tested[name]) for fold in folds}
