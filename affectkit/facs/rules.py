"""Published rules between action units and expressions, and the priors derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = [
    "DU_2014",
    "EMFACS",
    "OBJECTIVE_CLASSES",
    "Category",
    "Combination",
    "objective_class",
    "prior",
    "pspi",
]

Combination = frozenset[ActionUnit]
"""Units that act together."""


def _combinations(text: str) -> tuple[Combination, ...]:
    """Parse combinations such as `6+12 12`."""
    return tuple(frozenset(map(ActionUnit.parse, item.split("+"))) for item in text.split())


@dataclass(frozen=True, slots=True)
class Category:
    """Action units of one expression category in Du, Tao & Martinez (2014).

    Args:
        prototypical: FACS numbers that at least 70 % of the subjects showed.
        variants: Other FACS numbers, with the fraction of subjects from 0 to 1.
    """

    prototypical: tuple[int, ...]
    variants: Mapping[int, float]


def _category(prototypical: str, variants: str) -> Category:
    fractions = (item.split(":") for item in variants.split())
    return Category(
        tuple(map(int, prototypical.split())),
        MappingProxyType({int(number): float(fraction) for number, fraction in fractions}),
    )


# Du, Tao & Martinez, Compound facial expressions of emotion, PNAS 111(15), 2014: prototypical units, then
# variants with the fraction of the 230 subjects who showed them. The basic six have our class names.
DU_2014: Mapping[str, Category] = MappingProxyType(
    {
        "happiness": _category("12 25", "6:.51"),
        "sadness": _category("4 15", "1:.60 6:.50 11:.26 17:.67"),
        "fear": _category("1 4 20 25", "2:.57 5:.63 26:.33"),
        "anger": _category("4 7 24", "10:.26 17:.52 23:.29"),
        "surprise": _category("1 2 25 26", "5:.66"),
        "disgust": _category("9 10 17", "4:.31 24:.26"),
        "happily surprised": _category("1 2 12 25", "5:.64 26:.67"),
        "happily disgusted": _category("10 12 25", "4:.32 6:.61 9:.59"),
        "sadly fearful": _category("1 4 20 25", "2:.46 5:.24 6:.34 15:.30"),
        "sadly angry": _category("4 15", "6:.26 7:.48 11:.20 17:.50"),
        "sadly surprised": _category("1 4 25 26", "2:.27 6:.31"),
        "sadly disgusted": _category("4 10", "1:.49 6:.61 9:.20 11:.35 15:.54 17:.47 25:.43"),
        "fearfully angry": _category("4 20 25", "5:.40 7:.39 10:.30 11:.33"),
        "fearfully surprised": _category("1 2 5 20 25", "4:.47 10:.35 11:.22 26:.51"),
        "fearfully disgusted": _category("1 4 10 20 25", "2:.64 5:.50 6:.26 9:.28 15:.33"),
        "angrily surprised": _category("4 25 26", "5:.35 7:.50 10:.34"),
        "angrily disgusted": _category("4 10 17", "7:.60 9:.57 24:.36"),
        "disgustedly surprised": _category("1 2 5 10", "4:.45 9:.37 17:.66 24:.33"),
        "appalled": _category("4 10", "6:.25 9:.56 17:.67 24:.36"),
        "hatred": _category("4 10", "7:.57 9:.27 17:.63 24:.37"),
        "awed": _category("1 2 5 25", "4:.21 20:.62 26:.56"),
    }
)

# EMFACS (Friesen & Ekman 1983, unpublished): combinations that indicate an emotion. AU12 alone counts as happiness
# only when it is strong. Contempt is one-sided.
EMFACS: Mapping[str, tuple[Combination, ...]] = MappingProxyType(
    {
        "happiness": _combinations("6+12 12"),
        "sadness": _combinations("1+4+15 1+4+11+15 6+15"),
        "surprise": _combinations("1+2+5+26 1+2+5+27"),
        "fear": _combinations("1+2+4+5+20 1+2+4+5+20+25 1+2+4+5+20+26 1+2+4+5+20+27"),
        "anger": _combinations("4+5+7+23 4+5+7+24 4+5+7+10+22+23+25 4+5+7+10+22+23+26"),
        "disgust": _combinations("9 9+17 9+16+15 9+16+26 10 10+17 10+16+25 10+16+26"),
        "contempt": _combinations("14L 14R 12L+14L 12R+14R"),
    }
)


# Davison, Merghani & Yap, Objective classes for micro-facial expression recognition, J. Imaging 4(10), 2018.
# Class 7 (VII) holds all other combinations.
OBJECTIVE_CLASSES: Mapping[int, tuple[Combination, ...]] = MappingProxyType(
    {
        1: _combinations("6 12 6+12 6+7+12 7+12"),
        2: _combinations("1+2 5 25 1+2+25 25+26 5+24"),
        3: _combinations("23 4 4+7 4+5 4+5+7 17+24 4+6+7 4+38"),
        4: _combinations("10 9 4+9 4+40 4+5+40 4+7+9 4+9+17 4+7+10 4+5+7+9 7+10"),
        5: _combinations("1 15 1+4 6+15 15+17"),
        6: _combinations("1+2+4 20"),
    }
)


def objective_class(units: Iterable[ActionUnit]) -> int:
    """Return the objective class, 1 to 7, of the active units of a micro-expression (`OBJECTIVE_CLASSES`).

    Only the exact combination counts, regardless of sides; class 7 holds all unlisted combinations.

    Example:
        >>> objective_class([ActionUnit(7), ActionUnit(12, "L")]), objective_class([ActionUnit(14)])
        (1, 7)
    """
    combination = frozenset(unit.unsided() for unit in units)
    return next((number for number, members in OBJECTIVE_CLASSES.items() if combination in members), 7)


def pspi(intensity: Mapping[int, float]) -> float:
    """Return the Prkachin and Solomon pain score, `AU4 + max(AU6, AU7) + max(AU9, AU10) + AU43`, from 0 to 16.

    Args:
        intensity: FACS number to intensity, 0 to 5 (0 or 1 for 43); absent units count as 0.

    References:
        Prkachin & Solomon, The structure, reliability and validity of pain expression, Pain 139(2), 2008.

    Example:
        >>> pspi({4: 3, 6: 2, 7: 4, 9: 1, 43: 1})
        9.0
    """
    level = {number: float(intensity.get(number, 0.0)) for number in (4, 6, 7, 9, 10, 43)}
    return level[4] + max(level[6], level[7]) + max(level[9], level[10]) + level[43]


def prior(
    expressions: ExpressionSet,
    units: AUSet,
    *,
    prototypical: float = 0.85,
    absent: float = 0.05,
    neutral: float = 0.05,
) -> tuple[tuple[float, ...], ...]:
    """Return P(unit active | expression) after `DU_2014`, one row per expression and one column per unit.

    A variant has the fraction of subjects who showed it. A one-sided unit has the value of the unit.

    Args:
        expressions: Rows: `neutral` and categories of `DU_2014`.
        units: Columns.
        prototypical: Probability of a prototypical unit; the criterion of the study was 0.7 or more.
        absent: Probability of a unit that the study does not list for the expression.
        neutral: Probability of every unit on a neutral face.

    Raises:
        LabelSpaceError: The study lacks an expression.
        ConfigError: A probability is not between 0 and 1.

    References:
        Du, Tao & Martinez, Compound facial expressions of emotion, PNAS 111(15), 2014. The study gives no fractions
        for prototypical units, so all have the same value.

    Example:
        >>> prior(ExpressionSet.parse("happiness,neutral"), AUSet.of(1, 6, 12))
        ((0.05, 0.51, 0.85), (0.05, 0.05, 0.05))
    """
    for name, value in {"prototypical": prototypical, "absent": absent, "neutral": neutral}.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}={value} is not a probability.", remedy="Give a value from 0 to 1.")

    def row(expression: str) -> tuple[float, ...]:
        if expression == "neutral":
            return (neutral,) * len(units)
        if expression not in DU_2014:
            raise LabelSpaceError(
                f"No prior is published for {expression!r}.",
                remedy=f"There is one for neutral and for: {', '.join(DU_2014)}.",
            )
        values = {
            **DU_2014[expression].variants,
            **dict.fromkeys(DU_2014[expression].prototypical, prototypical),
        }
        return tuple(values.get(unit.id, absent) for unit in units)

    return tuple(map(row, expressions.classes))
