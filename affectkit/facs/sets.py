"""Ordered sets of action units: which units a corpus codes and a model answers for, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self, cast

from affectkit.errors import LabelSpaceError
from affectkit.facs.spaces import LabelSpace, register_space
from affectkit.facs.units import ActionUnit

__all__ = ["AU_SETS", "AUIntensitySet", "AUSet", "UnitSpace"]


@dataclass(frozen=True, slots=True)
class UnitSpace(LabelSpace):
    """An ordered, immutable set of action units; the base of occurrence and intensity.

    Args:
        units: The units in the order of the label vector; at least one, none twice.

    Raises:
        LabelSpaceError: No unit is given, or one twice.
    """

    prefix: ClassVar[str] = ""
    over_frames = "max"  # a clip shows what one of its frames shows

    units: tuple[ActionUnit, ...]

    def __post_init__(self) -> None:
        if not self.units:
            raise LabelSpaceError("A set of action units is empty.", remedy="Name at least one unit.")
        doubled = [str(unit) for unit in dict.fromkeys(self.units) if self.units.count(unit) > 1]
        if doubled:
            raise LabelSpaceError(
                f"Named more than once: {', '.join(doubled)}.", remedy="Name every action unit once."
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a registered name or a comma list of units, behind `intensity:` for intensities.

        Args:
            text: Such as `disfa8`, `AU1,AU2,AU12L`; `intensity:disfa8` for an `AUIntensitySet`.

        Raises:
            LabelSpaceError: Neither a registered name nor a list of units.
        """
        body = text.strip().removeprefix(cls.prefix)
        try:
            if text.strip() != cls.prefix + body:
                raise LabelSpaceError(f"it does not begin with {cls.prefix!r}.")
            return cls(
                AU_SETS[body].units if body in AU_SETS else tuple(map(ActionUnit.parse, body.split(",")))
            )
        except LabelSpaceError as error:
            raise LabelSpaceError(
                f"{text!r} is not a set of action units: {error.fault}",
                remedy=f"Use a list such as AU1,AU2,AU12L or one of: {', '.join(AU_SETS)}.",
            ) from error

    @property
    def name(self) -> str:
        """The registered name where there is one, else the units joined by commas; `parse` reads both."""
        return self.prefix + _NAMES.get(self.units, ",".join(self.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """The units as text: `AU1`, `AU12L`."""
        return tuple(map(str, self.units))

    @property
    def columns(self) -> tuple[str, ...]:
        """The units as table columns: `AU01`, `AU12L`."""
        return tuple(unit.column for unit in self.units)

    def __iter__(self) -> Iterator[ActionUnit]:
        return iter(self.units)

    def __contains__(self, unit: object) -> bool:
        return unit in self.units

    def index(self, unit: ActionUnit) -> int:
        """The position of a unit in the label vector.

        Args:
            unit: The unit, with its side where the set has sides.

        Raises:
            LabelSpaceError: The unit is not in the set.
        """
        if unit not in self.units:
            raise LabelSpaceError(
                f"{unit} is not in the set {self.name}.", remedy=f"It holds: {', '.join(self.labels)}."
            )
        return self.units.index(unit)

    def union(self, other: Self) -> Self:
        """Both sets in one: this set's order first, then the new units in ascending order.

        Args:
            other: A set of the same kind.

        Raises:
            LabelSpaceError: One set is of occurrence and the other of intensity.
        """
        self.check_same(other)
        return type(self)(self.units + tuple(sorted(set(other.units) - set(self.units))))

    def join(self, other: LabelSpace) -> Self:
        """The space in which targets of both meet in a batch: their union.

        Args:
            other: A set of the same kind.

        Raises:
            LabelSpaceError: It is of another kind.
        """
        self.check_same(other)
        return self.union(cast("Self", other))

    def as_intensity(self) -> AUIntensitySet:
        """The same units with intensities from 0 to 5."""
        return AUIntensitySet(self.units)

    def as_occurrence(self) -> AUSet:
        """The same units, each present or absent."""
        return AUSet(self.units)

    def flip_permutation(self) -> tuple[int, ...]:
        """Where each label of the axis comes from after a horizontal flip: `flipped = labels[permutation]`.

        Units without a side stay; L and R change places. Applied twice it is the identity.

        Raises:
            LabelSpaceError: A one-sided unit's partner is not in the set: a flipped clip has no label for it.
        """
        return tuple(self.index(unit.mirrored()) for unit in self.units)


@register_space
@dataclass(frozen=True, slots=True)
class AUSet(UnitSpace):
    """A set of action units of which each is present (1) or absent (0); probabilities lie between.

    Args:
        units: The units in the order of the label vector; at least one, none twice.

    Raises:
        LabelSpaceError: No unit is given, or one twice.

    Example:
        >>> units = AUSet.parse("AU1,AU2,AU12L,AU12R")
        >>> units.columns
        ('AU01', 'AU02', 'AU12L', 'AU12R')
        >>> units.flip_permutation()
        (0, 1, 3, 2)
        >>> AUSet.parse("1,2,4,6,9,12,25,26").name
        'disfa8'
    """

    kind = "occurrence"
    bare = True
    soft = True

    @classmethod
    def of(cls, *ids: int) -> AUSet:
        """The set of the given FACS numbers, both sides.

        Args:
            ids: FACS numbers in label order.
        """
        return cls(tuple(map(ActionUnit, ids)))

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """The registered names, `AU_SETS`."""
        return tuple(AU_SETS)

    @property
    def value_range(self) -> tuple[float, float]:
        """From 0 (absent) to 1 (present)."""
        return 0.0, 1.0


@register_space
@dataclass(frozen=True, slots=True)
class AUIntensitySet(UnitSpace):
    """A set of action units with intensities from 0 (absent) to 5, the FACS letters A to E.

    Args:
        units: The units in the order of the label vector; at least one, none twice.

    Raises:
        LabelSpaceError: No unit is given, or one twice.

    Example:
        >>> AUIntensitySet.parse("intensity:AU6,AU12L").columns
        ('AU06_i', 'AU12L_i')
        >>> AUSet.parse("6,10,12,14,17").as_intensity().name
        'intensity:bp4d5'
    """

    kind = "intensity"
    prefix = "intensity:"

    @property
    def columns(self) -> tuple[str, ...]:
        """The units as table columns: `AU01_i`, `AU12L_i`."""
        return tuple(f"{unit.column}_i" for unit in self.units)

    @property
    def value_range(self) -> tuple[float, float]:
        """From 0 (absent) to 5 (E)."""
        return 0.0, 5.0


# The units and their order as the corpora's protocols give them. The names that end in a number say how many.
AU_SETS: Mapping[str, AUSet] = MappingProxyType(
    {
        # BP4D occurrence protocol: JAA-Net, ME-GraphAU, FMAE.
        "bp4d12": AUSet.of(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
        # Every unit BP4D and BP4D+ code (header of the AU_OCC files).
        "bp4d34": AUSet.of(1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40)),
        # BP4D intensity (AU_INT; Valstar et al., FERA 2015).
        "bp4d5": AUSet.of(6, 10, 12, 14, 17),
        # FERA 2015 occurrence sub-challenge on BP4D: the twelve without 24.
        "fera2015_11": AUSet.of(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23),
        # DISFA occurrence protocol (positive at intensity 2 or more): JAA-Net, ME-GraphAU, FMAE.
        "disfa8": AUSet.of(1, 2, 4, 6, 9, 12, 25, 26),
        # Every unit DISFA and DISFA+ code (Mavadati et al. 2013).
        "disfa12": AUSet.of(1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26),
        # GFT, as JAA-Net uses it.
        "gft10": AUSet.of(1, 2, 4, 6, 10, 12, 14, 15, 23, 24),
        # Aff-Wild2 (columns of the AU challenge files).
        "affwild2_12": AUSet.of(1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26),
        # Micro-expression sets: Varanka et al., MEB (arXiv 2211.11425).
        "casme_4": AUSet.of(1, 4, 9, 14),
        "casme2_8": AUSet.of(1, 2, 4, 7, 12, 14, 15, 17),
        "samm_4": AUSet.of(2, 4, 7, 12),
        "mmew_8": AUSet.of(1, 2, 4, 5, 7, 10, 12, 14),
        "4dme_8": AUSet.of(1, 2, 4, 6, 7, 12, 17, 45),
        "cd6me_12": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17),
        # OpenFace 2 output: 17 intensities, and 28 in occurrence only.
        "openface17": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45),
        "openface18": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45),
        # Every unit that affectkit's own face rig shows.
        "rendered": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 24, 25, 26),
    }
)

_NAMES: Mapping[tuple[ActionUnit, ...], str] = {units.units: name for name, units in AU_SETS.items()}
