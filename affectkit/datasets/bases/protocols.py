"""Evaluation protocols as data: training, validation and test subjects, and how folds are reduced to one result.

A protocol defines the test subjects of each fold. The others belong to training, from which validation subjects are
drawn with a seed. No subject can be in two parts of a `Fold`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from affectkit.data.splits import check_disjoint, split_subjects
from affectkit.errors import ConfigError

__all__ = ["Fold", "Protocol", "leave_one_subject_out", "three_folds"]


@dataclass(frozen=True, slots=True)
class Fold:
    """One division into training, validation and test subjects (images or clips if a corpus has no subjects).

    Raises:
        SubjectLeakError: A subject is in two of them.
    """

    name: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        check_disjoint({"train": self.train, "val": self.val, "test": self.test})


@dataclass(frozen=True)
class Protocol:
    """Evaluation protocol of a corpus: test subjects of each fold.

    Args:
        name: Short name, unique in the corpus.
        corpus: Name of the corpus's dataset class.
        description: One line, printed next to every result.
        parts: Subjects of each part.
        tested: Parts that are tested in turn; without any, each subject is tested in turn.
        prefix: Beginning of the names that are tested, in a single fold "official".
        val_prefix: Beginning of the names used for validation, if the corpus chooses them; otherwise they are drawn.
        listed: Whether names begin with the folds that test them: `set_1/00151`, `set_1+set_2/00151`.
        val_fraction: Share of the training subjects used for validation, at least one subject.
        reduction: How folds become one number: the mean of their scores, or one score of all predictions.
        threshold_rule: "val": epoch and thresholds are chosen on the validation subjects of each fold; "fixed": a fixed
            number of epochs and the threshold 0.5.
        aliases: Other names of folds, such as `me-graphau/1`.
    """

    name: str
    corpus: str
    description: str
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tested: tuple[str, ...] = ()
    prefix: str | None = None
    val_prefix: str | None = None
    listed: bool = False
    val_fraction: float = 0.1
    reduction: Literal["mean_of_folds", "pooled"] = "mean_of_folds"
    threshold_rule: Literal["val", "fixed"] = "val"
    aliases: Mapping[str, str] = field(default_factory=dict)

    def divide(self, subjects: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Test subjects of each fold, by the fold's name.

        Raises:
            ConfigError: A subject has no part.
        """
        if self.prefix is not None:
            return {"official": tuple(name for name in subjects if name.startswith(self.prefix))}
        if self.listed:
            tested = {name: name.partition("/")[0].split("+") for name in subjects}
            folds = sorted({fold for own in tested.values() for fold in own if fold})
            return {fold: tuple(name for name in subjects if fold in tested[name]) for fold in folds}
        if not self.tested:
            return {subject: (subject,) for subject in subjects}
        part_of = {subject: part for part, members in self.parts.items() for subject in members}
        if unknown := sorted(set(subjects) - part_of.keys()):
            fault = f"The fold list of {self.corpus} does not contain {', '.join(unknown)}."
            remedy = "Check that this is the right corpus: subjects without a part could leak."
            raise ConfigError(fault, remedy=remedy)
        return {part: tuple(s for s in subjects if part_of[s] == part) for part in self.tested}

    def folds(self, subjects: Iterable[str], *, seed: int = 0) -> tuple[Fold, ...]:
        """All folds of the subjects on disk, in a fixed order; `seed` selects the validation subjects.

        Raises:
            ConfigError: A fold has no test subject, or fewer than two others.

        Example:
            >>> fold = leave_one_subject_out("CASME2", "CASME II").folds(["sub01", "sub02", "sub03"])[0]
            >>> fold.name, fold.test, len(fold.train), len(fold.val)
            ('sub01', ('sub01',), 1, 1)
        """
        everyone = tuple(sorted(set(subjects)))
        return tuple(self._fold(name, test, everyone, seed) for name, test in self.divide(everyone).items())

    def fold(self, name: str | int, subjects: Iterable[str], *, seed: int = 0) -> Fold:
        """One fold by name, alias (`me-graphau/1`) or position from 1, in this order of precedence.

        The fold "all" tests nobody: it is for models that are tested on another corpus.

        Raises:
            ConfigError: There is no such fold.
        """
        subjects = sorted(set(subjects))
        folds = {fold.name: fold for fold in self.folds(subjects, seed=seed)}
        wanted = self.aliases.get(str(name).lower(), str(name))
        if wanted == "all" and wanted not in folds:
            return self._fold(wanted, (), subjects, seed)
        if wanted in folds:
            return folds[wanted]
        if wanted.isdecimal() and 1 <= int(wanted) <= len(folds):
            return list(folds.values())[int(wanted) - 1]
        raise ConfigError(
            f"The protocol {self.name} of {self.corpus} has no fold {name!r}.",
            remedy=f"Use one of {', '.join(folds)}, or 1 to {len(folds)}.",
        )

    def _fold(self, name: str, test: tuple[str, ...], everyone: Sequence[str], seed: int) -> Fold:
        held_out = set(test)
        others = [subject for subject in everyone if subject not in held_out]
        if not (test or name == "all") or len(others) < 2:
            raise ConfigError(
                f"Fold {name} of {self.corpus} ({self.name}): the number of test subjects is {len(test)}, that of the "
                f"others {len(others)}.",
                remedy="Check that the corpus is complete; a fold needs at least 1 test subject and 2 others.",
            )
        if self.val_prefix is not None:
            val = tuple(subject for subject in others if subject.startswith(self.val_prefix))
            return Fold(name, tuple(s for s in others if s not in val), val, tuple(sorted(test)))
        share = max(self.val_fraction, 1 / len(others))
        parts = split_subjects(others, {"train": 1 - share, "val": share}, seed=seed)
        return Fold(name, parts["train"], parts["val"], tuple(sorted(test)))


def leave_one_subject_out(corpus: str, title: str) -> Protocol:
    """Test each subject in turn and pool the predictions of all folds; `title` begins the description."""
    description = f"{title}, leave one subject out; fixed number of epochs"
    return Protocol("loso", corpus, description, reduction="pooled", threshold_rule="fixed")


_IN_ORDER: Final = ("part1", "part2", "part3")
_ALIASES: Final[Mapping[str, str]] = {
    **{f"me-graphau/{fold}": part for fold, part in enumerate(reversed(_IN_ORDER), start=1)},
    **{
        f"{who}/{fold}": part
        for who in ("ssm", "fmae", "aunets")
        for fold, part in enumerate(_IN_ORDER, start=1)
    },
    "jaa-net/combine_1_2": "part3",
    "jaa-net/combine_1_3": "part2",
    "jaa-net/combine_2_3": "part1",
}
"""Test part of each fold, in the numbering of publications."""


def three_folds(corpus: str, parts: Mapping[str, Sequence[str]]) -> Protocol:
    """Test each of three parts of the subjects in turn, the usual protocol of frame-level action units."""
    sizes = "/".join(str(len(subjects)) for subjects in parts.values())
    description = (
        f"{corpus}, 3 subject-exclusive parts ({sizes} subjects), frame-based; epoch and thresholds chosen on "
        "validation subjects of the training parts"
    )
    return Protocol("3fold", corpus, description, parts, tuple(parts), val_fraction=0.2, aliases=_ALIASES)
