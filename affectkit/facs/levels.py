"""Ordered classes, such as degrees of engagement."""

from __future__ import annotations

from dataclasses import dataclass

from affectkit.errors import LabelSpaceError
from affectkit.facs.spaces import LabelSpace, check_labels, read_labels, register_space

__all__ = ["Levels"]

_PREFIX = "levels:"


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
