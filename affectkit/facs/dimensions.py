"""Continuous dimensions of affect, such as valence and arousal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import cast

from affectkit.errors import LabelSpaceError
from affectkit.facs.spaces import LabelSpace, check_labels, read_labels, register_space

__all__ = ["VALENCE_AROUSAL", "Dimensions"]

_FORM = re.compile(r"dimensions(?:\[([^,\]]*),([^,\]]*)\])?:(.*)", re.DOTALL)
_NAMED = "va"


@register_space
@dataclass(frozen=True, slots=True)
class Dimensions(LabelSpace):
    """An ordered, immutable set of continuous dimensions with one range of values.

    A target is a number a dimension. The label of a clip is the mean of its annotated frames.

    Args:
        dimensions: Names in the order of the label vector; at least one, none twice.
        low: The least value.
        high: The largest value.

    Raises:
        LabelSpaceError: No dimension is named, one twice, or the range is empty or infinite.

    Example:
        >>> label_names = Dimensions.parse("va").labels
        >>> Dimensions.parse("dimensions[0,9]:arousal").value_range, label_names
        ((0.0, 9.0), ('valence', 'arousal'))
        >>> Dimensions(("valence", "arousal")).name, Dimensions(("pleasure",), 1, 5).name
        ('va', 'dimensions[1,5]:pleasure')
    """

    kind = "dimensions"
    bare = True
    over_frames = "mean"

    dimensions: tuple[str, ...]
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_labels(self.dimensions, "dimensions", 1)
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise LabelSpaceError(
                f"No value lies between {self.low} and {self.high}.",
                remedy="Give the least and the largest value, such as dimensions[0,9]:arousal.",
            )

    @classmethod
    def parse(cls, text: str) -> Dimensions:
        """Read `va`, or `dimensions:` and a comma list of names, with another range in brackets.

        Args:
            text: Such as `va`, `dimensions:dominance`, `dimensions[0,9]:valence,arousal`.

        Raises:
            LabelSpaceError: It is not written so, or a name or the range is not allowed.
        """
        if text.strip() == _NAMED:
            return VALENCE_AROUSAL
        match = _FORM.fullmatch(text.strip())
        try:
            if match is None:
                raise ValueError
            low, high, names = match.groups()
            span = (-1.0, 1.0) if low is None else (float(low), float(high))
        except ValueError as error:
            raise LabelSpaceError(
                f"{text!r} does not name dimensions.",
                remedy="Write them as dimensions:valence,arousal or dimensions[0,9]:valence,arousal.",
            ) from error
        return cls(read_labels(names), *span)

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """The registered name, `va`."""
        return (_NAMED,)

    @property
    def name(self) -> str:
        """Name as recipes write it: `va`, or the list of dimensions with its prefix and range."""
        if self == VALENCE_AROUSAL:
            return _NAMED
        span = ",".join(repr(float(end)).removesuffix(".0") for end in self.value_range)
        return f"dimensions{'' if span == '-1,1' else f'[{span}]'}:{','.join(self.dimensions)}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the dimensions."""
        return self.dimensions

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the largest value."""
        return self.low, self.high

    def check_same(self, other: LabelSpace) -> None:
        """Refuse another range.

        Args:
            other: The space to compare with.

        Raises:
            LabelSpaceError: It is of another kind or its values have another range.
        """
        LabelSpace.check_same(self, other)
        if other.value_range != self.value_range:
            raise LabelSpaceError(
                f"{self.name} cannot be read as {other.name}: the values have different ranges.",
                remedy="Rescale the values of one where they are read, or name the two targets apart.",
            )

    def join(self, other: LabelSpace) -> Dimensions:
        """The space in which targets of both meet in a batch: these dimensions, then the other's new ones.

        Args:
            other: Dimensions with the same range.

        Raises:
            LabelSpaceError: It is of another kind or has another range.
        """
        self.check_same(other)
        names = dict.fromkeys([*self.dimensions, *cast("Dimensions", other).dimensions])
        return Dimensions(tuple(names), self.low, self.high)


VALENCE_AROUSAL = Dimensions(("valence", "arousal"))
"""Valence and arousal from -1 to 1, named `va`."""
