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
    """An ordered scale of named levels, of which a clip shows one.

    A target is the index of a level, or a distribution over the levels. Scales with other levels are other scales:
    their labels are never carried over, since "high" out of three is not "high" out of five.

    Args:
        levels: Level names from the lowest to the highest; at least two, none twice.

    Raises:
        LabelSpaceError: Fewer than two levels, one twice, or one whose name is no lower-case word.

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
        """Read `levels:` and a comma list of names from the lowest to the highest.

        Args:
            text: Such as `levels:low,medium,high`.

        Raises:
            LabelSpaceError: It is not written so, or a name is not allowed.
        """
        if not text.strip().startswith(_PREFIX):
            raise LabelSpaceError(f"{text!r} is no scale.", remedy="Write it as levels:low,medium,high.")
        return cls(read_labels(text.strip().removeprefix(_PREFIX)))

    @property
    def name(self) -> str:
        """Name as recipes write it: the list of levels with its prefix."""
        return _PREFIX + ",".join(self.levels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The level names from the lowest to the highest."""
        return self.levels

    @property
    def value_range(self) -> tuple[float, float]:
        """From 0 to the highest level's index."""
        return 0, len(self.levels) - 1

    def check_same(self, other: LabelSpace) -> None:
        """Refuse another scale.

        Args:
            other: The space to compare with.

        Raises:
            LabelSpaceError: It is of another kind or has other levels.
        """
        LabelSpace.check_same(self, other)
        if other != self:
            raise LabelSpaceError(
                f"{self.name} cannot be read as {other.name}: the scales have different levels.",
                remedy="Give the two targets different names.",
            )
