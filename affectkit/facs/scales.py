"""Label spaces of ordered levels and of continuous dimensions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import cast

from affectkit.errors import LabelSpaceError
from affectkit.facs.spaces import LabelSpace, check_labels, read_labels, register_space

__all__ = ["VALENCE_AROUSAL", "Dimensions", "Levels"]

_PREFIX = "levels:"
_FORM = re.compile(r"dimensions(?:\[([^,\]]*),([^,\]]*)\])?:(.*)", re.DOTALL)
_NAMED = "va"


@register_space
@dataclass(frozen=True, slots=True)
class Levels(LabelSpace):
    """An ordered scale of named levels; each clip has one level.

    A target is the index of a level or a distribution over the levels. Labels are never mapped to a scale with other
    levels: "high" of three levels is not "high" of five.

    Args:
        levels: At least two unique, lower-case names from the lowest to the highest level.

    Raises:
        LabelSpaceError: The names are invalid.

    Example:
        >>> engagement = Levels.parse("levels: Low, Medium, High")
        >>> engagement.name, len(engagement), engagement.value_range
        ('levels:low,medium,high', 3, (0, 2))
    """

    kind = "levels"
    indexed = True
    soft = True
    ordered = True
    over_frames = "agree"

    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        check_labels(self.levels, "levels", 2)

    @classmethod
    def parse(cls, text: str) -> Levels:
        """See `LabelSpace`: `levels:` and a comma list from the lowest to the highest level."""
        if not text.strip().startswith(_PREFIX):
            raise LabelSpaceError(f"{text!r} is not a scale.", remedy="Write it as levels:low,medium,high.")
        return cls(read_labels(text.strip().removeprefix(_PREFIX)))

    @property
    def name(self) -> str:
        """See `LabelSpace`: `levels:` and the levels."""
        return _PREFIX + ",".join(self.levels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Level names from the lowest to the highest."""
        return self.levels

    def check_same(self, other: LabelSpace) -> None:
        """See `LabelSpace`: scales with different levels differ in meaning."""
        LabelSpace.check_same(self, other)
        if other != self:
            raise LabelSpaceError(
                f"{self.name} cannot be read as {other.name}: the scales have different levels.",
                remedy="Give the two targets different names.",
            )


@register_space
@dataclass(frozen=True, slots=True)
class Dimensions(LabelSpace):
    """An ordered, immutable set of continuous dimensions with a common value range.

    A target holds one number per dimension. A clip label is the mean of the annotated frames.

    Args:
        dimensions: At least one unique name, in label order.
        low: Smallest value.
        high: Largest value.

    Raises:
        LabelSpaceError: A name is invalid, or the range is empty or infinite.

    Example:
        >>> Dimensions.parse("va").labels, Dimensions.parse("dimensions[0,9]:arousal").value_range
        (('valence', 'arousal'), (0.0, 9.0))
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
                f"The range {self.low} to {self.high} is empty or infinite.",
                remedy="Give the smallest and the largest value, such as dimensions[0,9]:arousal.",
            )

    @classmethod
    def parse(cls, text: str) -> Dimensions:
        """See `LabelSpace`: such as `va`, `dimensions:dominance` or `dimensions[0,9]:valence,arousal`."""
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
        """See `LabelSpace`: `va`."""
        return (_NAMED,)

    @property
    def name(self) -> str:
        """See `LabelSpace`: `va`, or the prefix with the range and the dimensions."""
        if self == VALENCE_AROUSAL:
            return _NAMED
        span = ",".join(repr(float(end)).removesuffix(".0") for end in self.value_range)
        return f"dimensions{'' if span == '-1,1' else f'[{span}]'}:{','.join(self.dimensions)}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return self.dimensions

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.low, self.high

    def check_same(self, other: LabelSpace) -> None:
        """See `LabelSpace`: dimensions with different ranges differ in meaning."""
        LabelSpace.check_same(self, other)
        if other.value_range != self.value_range:
            raise LabelSpaceError(
                f"{self.name} cannot be read as {other.name}: the values have different ranges.",
                remedy="Rescale the values of one dataset, or give the two targets different names.",
            )

    def join(self, other: LabelSpace) -> Dimensions:
        """See `LabelSpace`: these dimensions, then the new ones of `other`."""
        self.check_same(other)
        names = dict.fromkeys([*self.dimensions, *cast("Dimensions", other).dimensions])
        return Dimensions(tuple(names), self.low, self.high)


VALENCE_AROUSAL = Dimensions(("valence", "arousal"))
"""Valence and arousal from -1 to 1, named `va`."""
