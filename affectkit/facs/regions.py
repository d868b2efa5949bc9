"""Face regions of action units: centres in a picture, computed from the 68 iBUG landmarks.

Landmarks are numbered from 0, in pixels, with y growing downwards. Left and right of a landmark refer to the picture;
the subject's left side is on the right of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from affectkit.errors import AnnotationError, LabelSpaceError
from affectkit.facs.units import ActionUnit, Side

__all__ = [
    "FLIP_68",
    "POINTS_49",
    "POINTS_66",
    "REGIONS",
    "Centre",
    "Point",
    "RegionTable",
    "region_centres",
]

Point = tuple[float, float]

_NUM_POINTS = 68


@dataclass(frozen=True, slots=True)
class Centre:
    """One centre of a unit: the mean of some landmarks, shifted by a multiple of the table's unit of length.

    Args:
        points: Landmark indices, 0 to 67.
        down: Shift downwards; negative is up.
        outward: Shift away from the middle of the face, for centres on one side.
        side: Side of the subject, or None for the middle.
    """

    points: tuple[int, ...]
    down: float = 0.0
    outward: float = 0.0
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class RegionTable:
    """The centres of a published method.

    Args:
        centres: FACS number to the centres of the unit, the one on the left of the picture first.
        is_horizontal: Whether the unit of length is the horizontal, not the Euclidean, distance of inner eye corners.
    """

    centres: Mapping[int, tuple[Centre, ...]]
    is_horizontal: bool = True


def _pair(
    left: Sequence[int], right: Sequence[int], down: float = 0.0, outward: float = 0.0
) -> tuple[Centre, ...]:
    """Build symmetric centres; the left of the picture is the subject's right."""
    return Centre(tuple(left), down, outward, "R"), Centre(tuple(right), down, outward, "L")


_MOUTH_CORNERS = _pair([48], [54])
_LIPS = (Centre((51,)), Centre((57,)))
_EYES = _pair(range(36, 42), range(42, 48))

# JAA-Net (Shao et al. 2021), released code, with its 49 points converted to indices of the 68.
_JAANET: Mapping[int, tuple[Centre, ...]] = {
    1: _pair([21], [22], down=-1 / 2),
    2: _pair([18], [25], down=-1 / 3),
    4: _pair([19], [24], down=1 / 3),
    6: _pair([41], [46], down=1),
    7: _pair([38], [43]),
    9: _pair([32], [34], down=-1 / 2),
    10: _pair([61], [63]),
    12: _MOUTH_CORNERS,
    14: _MOUTH_CORNERS,
    15: _MOUTH_CORNERS,
    17: _pair([58], [56], down=1 / 2),
    23: _LIPS,
    24: _LIPS,
    25: _LIPS,
    26: _pair([58], [56], down=1 / 2),
}

# FG-Net (Yin et al. 2024), released code: the units of JAA-Net, some of them elsewhere.
_FGNET: Mapping[int, tuple[Centre, ...]] = {
    **_JAANET,
    1: _pair([21], [22]),
    2: _pair([17], [26]),
    4: _pair(range(17, 22), range(22, 27)),
    6: _pair(range(36, 42), range(42, 48), down=1),
    9: _pair([39], [42]),
    10: _pair([50], [52]),
    26: _pair([58], [56]),
}

# affectkit's default: JAA-Net, with our own centres for further units.
_AFFECTKIT: Mapping[int, tuple[Centre, ...]] = {
    **_JAANET,
    5: _pair([37, 38], [43, 44]),
    16: (Centre((57,), down=0.35),),
    18: _LIPS,
    20: _pair([48], [54], outward=0.15),
    22: _LIPS,
    27: (Centre((57, 8)),),
    28: _LIPS,
    43: _EYES,
    45: _EYES,
}

REGIONS: Mapping[str, RegionTable] = MappingProxyType(
    {
        "affectkit": RegionTable(MappingProxyType(_AFFECTKIT)),
        "jaanet": RegionTable(MappingProxyType(_JAANET)),
        "fgnet": RegionTable(MappingProxyType(_FGNET), is_horizontal=False),
    }
)


def _mirror(*runs: range | Sequence[int]) -> tuple[int, ...]:
    """Build the permutation that reverses each run of indices and keeps all others."""
    order = list(range(_NUM_POINTS))
    for run in runs:
        for here, there in zip(run, reversed(run), strict=True):
            order[here] = there
    return tuple(order)


# Landmark order after a horizontal flip, `flipped[i] = mirror(points[FLIP_68[i]])`: jaw, brows, nostrils, eyes, and
# the rows of the lips. It is an involution.
FLIP_68: tuple[int, ...] = _mirror(
    range(17), range(17, 27), range(31, 36),
    [36, 37, 38, 39, 42, 43, 44, 45], [40, 41, 46, 47],
    range(48, 55), range(55, 60), range(60, 65), range(65, 68),
)  # fmt: skip

# Indices among the 68 of shorter mark-ups, in order. The 49 points of IntraFace (shipped with BP4D) lack the jaw and
# the inner mouth corners; the 66 of the active appearance models of DISFA lack only those corners.
POINTS_49: tuple[int, ...] = (*range(17, 60), 61, 62, 63, 65, 66, 67)
POINTS_66: tuple[int, ...] = (*range(60), 61, 62, 63, 65, 66, 67)


def region_centres(unit: ActionUnit, points: Sequence[Point], table: str = "affectkit") -> tuple[Point, ...]:
    """Compute the centres of the regions in which a unit shows.

    Each is the mean of some landmarks, shifted down and outward by a multiple of the distance between the inner eye
    corners (points 39 and 42): the horizontal distance in `affectkit` and `jaanet`, the Euclidean one in `fgnet`.

    Args:
        unit: The unit; a one-sided unit has the centres on that side of the subject and in the middle.
        points: 68 `(x, y)` landmarks in pixels.
        table: Method, a key of `REGIONS`.

    Returns:
        `(x, y)` of each centre in pixels, the one on the left of the picture first.

    Raises:
        LabelSpaceError: The table does not exist, or has no region for the unit.
        AnnotationError: The number of points is not 68.

    References:
        Shao et al., JAA-Net: joint facial action unit detection and face alignment via adaptive attention,
        IJCV 2021. Yin et al., FG-Net: facial action unit detection with generalizable pyramidal features,
        WACV 2024.

    Example:
        >>> points = [(float(i), 0.0) for i in range(68)]
        >>> region_centres(ActionUnit(12), points)
        ((48.0, 0.0), (54.0, 0.0))
        >>> region_centres(ActionUnit(1, "L"), points)
        ((22.0, -1.5),)
    """
    if table not in REGIONS:
        raise LabelSpaceError(
            f"{table!r} is not a table of regions.", remedy=f"Use one of: {', '.join(REGIONS)}."
        )
    regions = REGIONS[table]
    if unit.id not in regions.centres:
        known = ", ".join(f"AU{number}" for number in sorted(regions.centres))
        raise LabelSpaceError(f"The table {table} has no region for {unit}.", remedy=f"It has: {known}.")
    if len(points) != _NUM_POINTS:
        raise AnnotationError(
            f"The number of landmarks is {len(points)}, not 68.", remedy="Give the 68 iBUG points."
        )
    left, right = points[39], points[42]
    length = abs(left[0] - right[0]) if regions.is_horizontal else math.dist(left, right)
    placed = []
    for centre in regions.centres[unit.id]:
        if unit.side is None or centre.side in (None, unit.side):
            xs, ys = zip(*(points[index] for index in centre.points), strict=True)
            sign = {"R": -1.0, "L": 1.0, None: 0.0}[centre.side]
            x = math.fsum(xs) / len(xs) + sign * centre.outward * length
            placed.append((x, math.fsum(ys) / len(ys) + centre.down * length))
    return tuple(placed)
