"""The contract of a label space: named labels that know how a target of them is written."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, TypeVar

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.registry import Registry

__all__ = ["LabelSpace", "Projection", "check_labels", "label_space", "read_labels", "register_space"]

Projection = tuple[int | None, ...]
"""How the labels of one space are read in another, see `LabelSpace.project`."""

_LABEL = re.compile(r"[a-z0-9][a-z0-9 '_-]*(?<! )", re.ASCII)


class LabelSpace(ABC):
    """An ordered, immutable list of named labels; the base of every kind of label.

    A space says everything that the rest of the library must know of a kind of label: the shape, type and range of a
    target, the columns of a table, how labels move to another space and how those of a clip's frames make one of the
    clip. What needs torch (head, loss, metric) is registered under the space's `kind`; nothing else looks at `kind`.

    A new kind is a frozen dataclass that derives from this class, sets the class attributes and is decorated with
    `register_space`. `parse` reads what `name` writes, which is `kind:` and the labels.

    Attributes:
        kind: The kind of label, the key of the tables of losses and metrics.
        bare: A name need not begin with `kind:`.
        indexed: A target is one index, int64 `[...]`, and has no axis of labels.
        soft: Values between two labels are allowed. An indexed target may then be a distribution, float
            `[..., labels]`; any other target may hold probabilities.
        over_frames: The label of a clip, from those of its frames: the largest (`max`), the one that all annotated
            frames have (`agree`; the mean of distributions), or their mean (`mean`).
    """

    __slots__ = ()

    kind: ClassVar[str]
    bare: ClassVar[bool] = False
    indexed: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    over_frames: ClassVar[Literal["max", "agree", "mean"]]

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Read a space from text; the inverse of `name`.

        Args:
            text: The name.

        Raises:
            LabelSpaceError: No space of this kind is written so.
        """

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """The registered names of spaces of this kind."""
        return ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The text from which `label_space` makes an equal space."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The names of the labels in index order."""

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """The least and the largest value of a target that is no distribution."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels as columns of a table."""
        return self.labels

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self.labels)

    def check_same(self, other: LabelSpace) -> None:
        """Refuse a space whose values mean something else.

        Args:
            other: The space to compare with.

        Raises:
            LabelSpaceError: It is of another kind.
        """
        if type(other) is not type(self):
            raise LabelSpaceError(
                f"{self.name} cannot be read as {other.name}: one is of {self.kind}, the other of {other.kind}.",
                remedy="Give the two targets different names.",
            )

    def project(self, other: LabelSpace) -> Projection:
        """Map labels to those of another space by name.

        Args:
            other: The space in which the labels are wanted.

        Returns:
            Where a target has an axis of labels: for each label of `other` its index here, None where it is absent.
            Of an indexed space: for each label here its index in `other`, None where it must be masked.

        Raises:
            LabelSpaceError: Values of the two spaces do not mean the same.

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
        """The space in which targets of both meet in a batch: this one, where a kind does not say otherwise.

        Args:
            other: A space of the same kind.

        Raises:
            LabelSpaceError: Values of the two spaces do not mean the same.
        """
        self.check_same(other)
        return self

    def flip_permutation(self) -> tuple[int, ...]:
        """Where each label of the axis comes from after a horizontal flip: `flipped = labels[permutation]`."""
        return tuple(range(len(self)))


S = TypeVar("S", bound=LabelSpace)

_KINDS: Registry[LabelSpace] = Registry("kind of label")
_BARE: list[type[LabelSpace]] = []  # in the order in which they are asked
_SEPARATOR = ":"
_RANGE = "["  # what a kind may put between its own name and the colon begins with it


def register_space(cls: type[S]) -> type[S]:
    """Class decorator that makes `label_space` read a kind of label.

    Args:
        cls: A subclass of `LabelSpace` with all class attributes.

    Raises:
        ConfigError: Its `kind` is taken.
    """
    _KINDS.register(cls.kind)(cls)
    if cls.bare:
        _BARE.append(cls)
    return cls


def label_space(text: str) -> LabelSpace:
    """Read a label space from its name.

    Args:
        text: A registered name (`disfa8`, `rafdb7`, `va`), a comma list of action units or classes (`AU1,AU2`,
            `happiness,anger`), or a kind with its labels: `intensity:disfa8`, `levels:low,medium,high`,
            `dimensions:valence,arousal`, `dimensions[0,9]:arousal`.

    Raises:
        LabelSpaceError: No label space is written so; the message lists the registered names.

    Example:
        >>> label_space("disfa8").labels[:3]
        ('AU1', 'AU2', 'AU4')
        >>> label_space("intensity:AU6,AU12").columns
        ('AU06_i', 'AU12_i')
        >>> label_space("levels:low,high").kind, label_space("va").value_range
        ('levels', (-1.0, 1.0))
    """
    prefix, colon, _ = text.partition(_SEPARATOR)
    faults = []
    try:
        candidates = [_KINDS[prefix.partition(_RANGE)[0].strip()]] if colon else _BARE
    except ConfigError as error:
        candidates, faults = [], [error.fault]
    for cls in candidates:
        try:
            return cls.parse(text)
        except LabelSpaceError as error:
            faults.append(error.fault)
    raise LabelSpaceError(
        f"{text!r} is not a label space: {faults[-1] if colon else 'no kind of label is written so.'}",
        remedy="Use a comma list of action units or of classes, a kind with its labels such as levels:low,high, or "
        f"one of: {', '.join(name for cls in _BARE for name in cls.named())}.",
    )


def read_labels(text: str) -> tuple[str, ...]:
    """The labels of a comma list, in lower case and with single blanks."""
    return tuple(" ".join(label.casefold().split()) for label in text.split(","))


def check_labels(labels: Sequence[str], what: str, least: int) -> None:
    """Refuse labels that cannot be written in a name.

    Args:
        labels: Label names.
        what: What they are, for messages.
        least: The smallest number of them.

    Raises:
        LabelSpaceError: There are too few, one is doubled, or one is no lower-case word.
    """
    if len(labels) < least:
        raise LabelSpaceError(f"{len(labels)} {what} are too few.", remedy=f"Name at least {least}.")
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise LabelSpaceError(
                f"{label!r} cannot be the name of a label.",
                remedy="Use lower-case letters, digits, blanks, hyphens and underscores.",
            )
        if list(labels).count(label) > 1:
            raise LabelSpaceError(f"{label!r} is named more than once.", remedy="Name every label once.")
