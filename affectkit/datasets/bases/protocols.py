"""Protocols as data: who is trained on, validated on and tested, and how folds become one number.

A protocol only says who is tested in each fold. Everybody else belongs to training, from which validation
subjects are drawn by a seeded rule; a `Fold` cannot be made with one subject in two of its parts.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Literal

from affectkit.data.splits import check_disjoint, split_subjects
from affectkit.errors import ConfigError

__all__ = ["PROTOCOLS", "Fold", "Protocol", "find_protocol"]

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
            >>> fold = PROTOCOLS["CASME2", "loso"].folds(["sub01", "sub02", "sub03"])[0]
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


def find_protocol(corpus: str, name: str | None = None) -> Protocol:
    """The protocol of a corpus by its name, the corpus's first one by default.

    Raises:
        ConfigError: There is none.

    Example:
        >>> find_protocol("DISFA").name
        '3fold'
    """
    known = {protocol.name: protocol for (its, _), protocol in PROTOCOLS.items() if its == corpus}
    if name is None and known:
        return next(iter(known.values()))
    if name not in known:
        raise ConfigError(
            f"{corpus} has no protocol {name!r}.", remedy=f"It has: {', '.join(known) or 'none'}."
        )
    return known[name]


def _read(name: str) -> list[dict[str, str]]:
    """The rows of a list in `affectkit/datasets/folds`."""
    with resources.files("affectkit.datasets").joinpath("folds", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def _listed_parts(name: str) -> Mapping[str, str]:
    return MappingProxyType({row["subject"]: row["part"] for row in _read(name)})


def _by_part(
    subjects: Sequence[str], *, file: str, corpus: str, tested: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Each of the `tested` parts of a fold list in turn."""
    part_of = _listed_parts(file)
    if unknown := sorted(set(subjects) - part_of.keys()):
        raise ConfigError(
            f"The fold list {file} of {corpus} does not know {', '.join(unknown)}.",
            remedy="Is this another corpus? Its subjects have no part, so they could leak.",
        )
    return {part: tuple(s for s in subjects if part_of[s] == part) for part in tested}


def _each(subjects: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each subject in turn."""
    return {subject: (subject,) for subject in subjects}


def _official(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The images whose names say so."""
    return {"official": tuple(name for name in names if name.startswith("test_"))}


def _listed(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The clips of each fold whose names say where they are tested, `set_1/00151`."""
    tested = {name: name.partition("/")[0].split("+") for name in names}
    folds = sorted({fold for own in tested.values() for fold in own if fold})
    return {fold: tuple(name for name in names if fold in tested[name]) for fold in folds}


def _five_fold(corpus: str) -> Protocol:
    return Protocol(
        name="5fold",
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=f"{corpus}, the 5 folds of its lists; epoch chosen on a tenth of each training list",
        divide=_listed,
        val_fraction=0.1,
        aliases={str(fold): f"set_{fold}" for fold in range(1, 6)},
    )


def _three_fold(corpus: str, size: str) -> Protocol:
    parts = ("part1", "part2", "part3")
    return Protocol(
        name="3fold",
        corpus=corpus,
        reduction="mean_of_folds",
        threshold_rule="val",
        description=f"{corpus}, 3 subject-exclusive parts ({size} subjects), frame-based; epoch and "
        "thresholds chosen on validation subjects of the training parts",
        divide=functools.partial(_by_part, file=f"{corpus.lower()}_3fold.csv", corpus=corpus, tested=parts),
        val_fraction=0.2,
        aliases={f"{row['numbering']}/{row['fold']}": row["test_part"] for row in _read("numberings.csv")},
    )


def _loso(corpus: str, what: str) -> Protocol:
    return Protocol(
        name="loso",
        corpus=corpus,
        reduction="pooled",
        threshold_rule="fixed",
        description=f"{what}, leave one subject out; fixed number of epochs",
        divide=_each,
        val_fraction=0.1,
    )


_ALL = (
    _three_fold("BP4D", "14/14/13"),
    Protocol(
        name="fera2015",
        corpus="BP4D",
        reduction="mean_of_folds",
        threshold_rule="val",
        description="BP4D, FERA 2015: trained on odd-numbered subjects, tested on the even-numbered ones (its "
        "development partition); epoch chosen on validation subjects of the odd-numbered",
        divide=functools.partial(_by_part, file="bp4d_fera2015.csv", corpus="BP4D", tested=("dev",)),
        val_fraction=0.2,
    ),
    _three_fold("DISFA", "9/9/9"),
    _loso("CASME2", "CASME II"),
    _loso("SAMM", "SAMM"),
    _loso("SMIC", "SMIC-HS"),
    _loso("MEGC2019", "MEGC 2019 composite of SMIC-HS, CASME II and SAMM"),
    Protocol(
        name="official",
        corpus="RAFDB",
        reduction="mean_of_folds",
        threshold_rule="val",
        description="RAF-DB, official test split; epoch chosen on a validation part held out of the training split",
        divide=_official,
        val_fraction=0.1,
    ),
    _five_fold("DFEW"),
    Protocol(
        name="official",
        corpus="FERV39k",
        reduction="mean_of_folds",
        threshold_rule="val",
        description="FERV39k, the split of its lists; epoch chosen on a tenth of the training list",
        divide=_listed,
        val_fraction=0.1,
    ),
    _five_fold("MAFW"),
)

PROTOCOLS: Mapping[tuple[str, str], Protocol] = MappingProxyType({(p.corpus, p.name): p for p in _ALL})
"""Every protocol by corpus and name; the first of a corpus is its default."""
