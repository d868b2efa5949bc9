"""Ordered sets of action units: the units of a corpus or a model, in label order."""

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
        units: At least one unit, without duplicates, in label order.

    Raises:
        LabelSpaceError: The set is empty or holds duplicates.
    """

    prefix: ClassVar[str] = ""  # of names
    suffix: ClassVar[str] = ""  # of table columns
    high: ClassVar[float]  # largest target value; the smallest is 0
    over_frames = "max"  # a clip shows each unit that one of the frames shows

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
        """See `LabelSpace`: such as `disfa8` or `AU1,AU2,AU12L`; `intensity:disfa8` for an `AUIntensitySet`."""
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
        """See `LabelSpace`: the registered name if there is one, else the units."""
        return self.prefix + _NAMES.get(self.units, ",".join(self.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """Units as text: `AU1`, `AU12L`."""
        return tuple(map(str, self.units))

    @property
    def columns(self) -> tuple[str, ...]:
        """Table columns: `AU01`, `AU12L`; `AU01_i`, `AU12L_i` for intensities."""
        return tuple(unit.column + self.suffix for unit in self.units)

    @property
    def value_range(self) -> tuple[float, float]:
        """0 (absent), and 1 (present) or 5 (intensity E)."""
        return 0.0, self.high

    def __iter__(self) -> Iterator[ActionUnit]:
        return iter(self.units)

    def __contains__(self, unit: object) -> bool:
        return unit in self.units

    def index(self, unit: ActionUnit) -> int:
        """Return the index of a unit.

        Raises:
            LabelSpaceError: The unit is not in the set.
        """
        if unit not in self.units:
            raise LabelSpaceError(
                f"{unit} is not in the set {self.name}.", remedy=f"It holds: {', '.join(self.labels)}."
            )
        return self.units.index(unit)

    def join(self, other: LabelSpace) -> Self:
        """See `LabelSpace`: the union, with the new units of `other` at the end in ascending order."""
        self.check_same(other)
        return type(self)(self.units + tuple(sorted(set(cast("Self", other).units) - set(self.units))))

    def as_intensity(self) -> AUIntensitySet:
        """Return the same units with intensities."""
        return AUIntensitySet(self.units)

    def as_occurrence(self) -> AUSet:
        """Return the same units, each present or absent."""
        return AUSet(self.units)

    def flip_permutation(self) -> tuple[int, ...]:
        """See `LabelSpace`: L and R change places; applied twice, it is the identity.

        Raises:
            LabelSpaceError: The set lacks the other side of a one-sided unit.
        """
        return tuple(self.index(unit.mirrored()) for unit in self.units)


@register_space
@dataclass(frozen=True, slots=True)
class AUSet(UnitSpace):
    """A set of action units, each present (1) or absent (0); values between are probabilities.

    Example:
        >>> units = AUSet.parse("AU1,AU2,AU12L,AU12R")
        >>> units.columns, units.flip_permutation()
        (('AU01', 'AU02', 'AU12L', 'AU12R'), (0, 1, 3, 2))
        >>> AUSet.parse("1,2,4,6,9,12,25,26").name
        'disfa8'
    """

    kind = "occurrence"
    bare = True
    soft = True
    high = 1.0

    @classmethod
    def of(cls, *ids: int) -> AUSet:
        """Build a set of units without sides from FACS numbers in label order."""
        return cls(tuple(map(ActionUnit, ids)))

    @classmethod
    def named(cls) -> tuple[str, ...]:
        """See `LabelSpace`: the keys of `AU_SETS`."""
        return tuple(AU_SETS)


@register_space
@dataclass(frozen=True, slots=True)
class AUIntensitySet(UnitSpace):
    """A set of action units with intensities from 0 (absent) to 5, the FACS grades A to E.

    Example:
        >>> AUIntensitySet.parse("intensity:AU6,AU12L").columns
        ('AU06_i', 'AU12L_i')
        >>> AUSet.parse("6,10,12,14,17").as_intensity().name
        'intensity:bp4d5'
    """

    kind = "intensity"
    prefix = "intensity:"
    suffix = "_i"
    high = 5.0


# Units in the order of the published protocols.
AU_SETS: Mapping[str, AUSet] = MappingProxyType(
    {
        # BP4D occurrence protocol: JAA-Net, ME-GraphAU, FMAE.
        "bp4d12": AUSet.of(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
        # All coded units of BP4D and BP4D+ (header of the AU_OCC files).
        "bp4d34": AUSet.of(1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40)),
        # BP4D intensity (AU_INT; Valstar et al., FERA 2015).
        "bp4d5": AUSet.of(6, 10, 12, 14, 17),
        # FERA 2015 occurrence sub-challenge on BP4D: the twelve without AU24.
        "fera2015_11": AUSet.of(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23),
        # DISFA occurrence protocol (positive at intensity 2 or more): JAA-Net, ME-GraphAU, FMAE.
        "disfa8": AUSet.of(1, 2, 4, 6, 9, 12, 25, 26),
        # All coded units of DISFA and DISFA+ (Mavadati et al. 2013).
        "disfa12": AUSet.of(1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26),
        # GFT, protocol of JAA-Net.
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
        # OpenFace 2 output: 17 intensities; AU28 as occurrence only.
        "openface17": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45),
        "openface18": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45),
        # All units of affectkit's face rig.
        "rendered": AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 24, 25, 26),
    }
)

_NAMES: Mapping[tuple[ActionUnit, ...], str] = {units.units: name for name, units in AU_SETS.items()}
