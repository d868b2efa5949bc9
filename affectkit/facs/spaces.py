"""Base class of label spaces: ordered, named labels and the form of their targets."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, TypeVar

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.registry import Registry

__all__ = ["LabelSpace", "Projection", "check_labels", "label_space", "read_labels", "register_space"]

Projection = tuple[int | None, ...]
"""Mapping between the labels of two spaces, see `LabelSpace.project`."""

_LABEL = re.compile(r"[a-z0-9][a-z0-9 '_-]*(?<! )", re.ASCII)


class LabelSpace(ABC):
    """An ordered, immutable list of named labels.

    A space defines the shape, type and range of a target, its table columns, the mapping to other spaces, and the
    reduction of frame labels to a clip label. Heads, losses and metrics are registered per `kind`; no other code may
    compare kinds.

    To add a kind, derive a frozen dataclass, set the class attributes and decorate it with `register_space`. `parse`
    must be the inverse of `name`.

    Attributes:
        kind: Kind of label: the key of heads, losses and metrics, and the prefix of names.
        bare: Names need no `kind:` prefix.
        indexed: A target is one index, int64 `[...]`, without a label axis.
        soft: Values between two labels are allowed: distributions, float `[..., labels]`, in an indexed space,
            probabilities in any other.
        ordered: Whether neighbouring labels of an indexed space are similar.
        over_frames: Clip label from frame labels: the largest (`max`), the label that all annotated frames share
            (`agree`; the mean of distributions), or the mean (`mean`).
    """

    __slots__ = ()

    kind: ClassVar[str]
    bare: ClassVar[bool] = False
    indexed: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    over_frames: ClassVar[Literal["max", "agree", "mean"]]

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Parse a name.

        Raises:
            LabelSpaceError: The text does not name a space of this kind.
        """

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """Registered names of this kind."""
        return ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Name that `label_space` parses into an equal space."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Label names in index order."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest target value; of an index here."""
        return 0, len(self) - 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Table columns of the labels."""
        return self.labels

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self.labels)

    def check_same(self, other: LabelSpace) -> None:
        """Check that values of both spaces have the same meaning.

        Raises:
            LabelSpaceError: They do not.
        """
        if type(other) is not type(self):
            raise LabelSpaceError(
                f"{self.name} ({self.kind}) cannot be read as {other.name} ({other.kind}).",
                remedy="Give the two targets different names.",
            )

    def project(self, other: LabelSpace) -> Projection:
        """Map labels to another space by name.

        Returns:
            With a label axis: for each label of `other`, its index here, or None if absent. For an indexed space: for
            each label here, its index in `other`, or None if it must be masked.

        Raises:
            LabelSpaceError: Values of the two spaces differ in meaning.

        Example:
            >>> label_space("AU1,AU2,AU4").project(label_space("AU4,AU6"))
            (2, None)
            >>> label_space("happiness,anger,contempt").project(label_space("anger,happiness"))
            (1, 0, None)
        """
        self.check_same(other)
        source, target = (other, self) if self.indexed else (self, other)
        places = {label: place for place, label in enumerate(source.labels)}
        return tuple(places.get(label) for label in target.labels)

    def join(self, other: LabelSpace) -> LabelSpace:
        """Return the common space of both in a batch: this space, unless a kind overrides it.

        Raises:
            LabelSpaceError: Values of the two spaces differ in meaning.
        """
        self.check_same(other)
        return self

    def flip_permutation(self) -> tuple[int, ...]:
        """Return the label order after a horizontal flip: `flipped = labels[permutation]`."""
        return tuple(range(len(self)))


S = TypeVar("S", bound=LabelSpace)

_KINDS: Registry[LabelSpace] = Registry("kind of label")
_BARE: list[type[LabelSpace]] = []  # in the order in which they are tried


def register_space(cls: type[S]) -> type[S]:
    """Class decorator that registers a `LabelSpace` with `label_space`.

    Raises:
        ConfigError: The kind is already registered.
    """
    _KINDS.register(cls.kind)(cls)
    if cls.bare:
        _BARE.append(cls)
    return cls


def label_space(text: str) -> LabelSpace:
    """Parse the name of a label space of any kind.

    Args:
        text: A registered name (`disfa8`, `rafdb7`, `va`), a comma list of action units or classes (`AU1,AU2`,
            `happiness,anger`), or a kind with its labels: `intensity:disfa8`, `levels:low,medium,high`,
            `dimensions:valence,arousal`, `dimensions[0,9]:arousal`.

    Raises:
        LabelSpaceError: The text names no label space; the message lists the registered names.

    Example:
        >>> label_space("disfa8").labels[:3]
        ('AU1', 'AU2', 'AU4')
        >>> label_space("intensity:AU6,AU12").columns
        ('AU06_i', 'AU12_i')
        >>> label_space("levels:low,high").kind, label_space("va").value_range
        ('levels', (-1.0, 1.0))
    """
    prefix, colon, _ = text.partition(":")
    faults = []
    try:
        candidates = [_KINDS[prefix.partition("[")[0].strip()]] if colon else _BARE
    except ConfigError as error:
        candidates, faults = [], [error.fault]
    for cls in candidates:
        try:
            return cls.parse(text)
        except LabelSpaceError as error:
            faults.append(error.fault)
    raise LabelSpaceError(
        f"{text!r} is not a label space{f': {faults[-1]}' if colon else '.'}",
        remedy="Use a comma list of action units or of classes, a kind with its labels such as levels:low,high, or "
        f"one of: {', '.join(name for cls in _BARE for name in cls.named())}.",
    )


def read_labels(text: str) -> tuple[str, ...]:
    """Split a comma list into lower-case labels with single spaces."""
    return tuple(" ".join(label.casefold().split()) for label in text.split(","))


def check_labels(labels: Sequence[str], kind: str, least: int) -> None:
    """Check the labels of a space.

    Raises:
        LabelSpaceError: Fewer than `least` labels, a duplicate, or a label that is not a lower-case word.
    """
    if len(labels) < least:
        raise LabelSpaceError(f"There are too few {kind} ({len(labels)}).", remedy=f"Name at least {least}.")
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise LabelSpaceError(
                f"{label!r} is not a valid label.",
                remedy="Use lower-case letters, digits, spaces, hyphens and underscores.",
            )
        if list(labels).count(label) > 1:
            raise LabelSpaceError(f"{label!r} is named more than once.", remedy="Name every label once.")
