"""Relations between action units: units that act together, that rarely do, and that share a part of the face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.facs.rules import prior
from affectkit.facs.sets import AUSet

__all__ = ["OFTEN_TOGETHER", "RARELY_TOGETHER", "UnitRelations", "unit_relations"]

_LIFT: Final = 1.1  # of the rate, so that units without known partners have none

Rows = tuple[tuple[float, ...], ...]
Table = tuple[tuple[bool, ...], ...]
Pair = tuple[int, int]


def _pairs(text: str) -> frozenset[Pair]:
    return frozenset((int(a), int(b)) for a, b in (item.split("-") for item in text.split()))


# Zhao, Chu, De la Torre, Cohn & Zhang, Joint patch and multi-label learning for facial action unit and holistic
# expression recognition, IEEE TIP 25(8), 2016: pairs that correlate on BP4D.
OFTEN_TOGETHER: Final = _pairs("1-2 6-7 6-10 7-10 6-12 7-12 10-12 17-24")
RARELY_TOGETHER: Final = _pairs("1-6 1-7 2-6 2-7 10-17 10-23 10-24 12-15 12-17 12-23 12-24 15-23 15-24 23-24")


@dataclass(frozen=True, slots=True)
class UnitRelations:
    """Relations between the units of a set; matrices of A rows and columns, one for each unit.

    Args:
        cooccurrence: P(unit j | unit i) in row i, from `affectkit.facs.prior` with equally frequent expressions.
        together: Whether two units often act together.
        exclude: Whether two units rarely act together.
        region: Whether two units are in the same area of the face.
    """

    cooccurrence: Rows
    together: Table
    exclude: Table
    region: Table


def unit_relations(units: AUSet, *, least: float = 0.3) -> UnitRelations:
    """Return the relations between the units of a set; no unit is related to itself.

    Units act together often if they are in `OFTEN_TOGETHER`, or if P(j | i) or P(i | j) is above `least` and a tenth
    above the unconditional rate, and they are not in `RARELY_TOGETHER`.

    Args:
        units: The units. One-sided ones have the relations of the unit.
        least: Smallest co-occurrence of units that act together often.

    Example:
        >>> relations = unit_relations(AUSet.parse("AU1,AU2,AU12,AU15"))
        >>> relations.together[0], relations.exclude[2]
        ((False, True, False, True), (False, False, False, True))
    """
    rates = prior(EXPRESSION_SETS["basic7"], units)
    columns: Rows = tuple(zip(*rates, strict=True))
    usual = [sum(one) / len(one) for one in columns]
    cooccurrence: Rows = tuple(
        tuple(sum(a * b for a, b in zip(one, other, strict=True)) / sum(one) for other in columns)
        for one in columns
    )
    ids = [unit.id for unit in units]
    areas = [unit.facts.area for unit in units]

    def matrix(related: Callable[[int, int], bool]) -> Table:
        size = range(len(units))
        return tuple(tuple(i != j and related(i, j) for j in size) for i in size)

    def listed(i: int, j: int, pairs: frozenset[Pair]) -> bool:
        return (min(ids[i], ids[j]), max(ids[i], ids[j])) in pairs

    def attracts(i: int, j: int) -> bool:
        return cooccurrence[i][j] > max(least, _LIFT * usual[j])

    def rare(i: int, j: int) -> bool:
        return listed(i, j, RARELY_TOGETHER)

    def common(i: int, j: int) -> bool:
        return listed(i, j, OFTEN_TOGETHER) or (not rare(i, j) and (attracts(i, j) or attracts(j, i)))

    return UnitRelations(
        cooccurrence, matrix(common), matrix(rare), matrix(lambda i, j: areas[i] == areas[j])
    )
