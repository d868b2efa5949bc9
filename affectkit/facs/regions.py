"""Where on a face an action unit shows: centres in a picture, computed from the 68 iBUG landmarks.

The points are numbered from 0, in pixels, with y growing downwards. A point's left and right are those of the
picture; the subject's left side is on the picture's right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from affectkit.errors import AnnotationError, LabelSpaceError
from affectkit.facs.units import ActionUnit

__all__ = [
    "AU_RCNN_GROUPS",
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
    """One centre of a unit: the mean of some landmarks, moved by a part of the table's unit of length.

    Args:
        points: Landmark indices, 0 to 67.
        down: How far down from their mean; negative is up.
        outward: How far away from the middle of the face, for centres that lie on one side.
        side: The side of the subject on which the centre lies, or None for one in the middle.
    """

    points: tuple[int, ...]
    down: float = 0.0
    outward: float = 0.0
    side: str | None = None


@dataclass(frozen=True, slots=True)
class RegionTable:
    """The centres of a published method.

    Args:
        length: The unit of length, in pixels, from the 68 points.
        centres: FACS number to the centres of the unit, the one on the picture's left first.
    """

    length: Callable[[Sequence[Point]], float]
    centres: Mapping[int, tuple[Centre, ...]]


def _pair(
    left: Sequence[int], right: Sequence[int], down: float = 0.0, outward: float = 0.0
) -> tuple[Centre, ...]:
    """Centres at the same place of both halves: the picture's left is the subject's right."""
    return Centre(tuple(left), down, outward, "R"), Centre(tuple(right), down, outward, "L")


def _middle(*points: int, down: float = 0.0) -> Centre:
    return Centre(points, down)


def _eye_corners_across(points: Sequence[Point]) -> float:
    return abs(points[39][0] - points[42][0])


def _eye_corners(points: Sequence[Point]) -> float:
    return math.dist(points[39], points[42])


_MOUTH_CORNERS = _pair([48], [54])
_LIPS = (_middle(51), _middle(57))
_EYES = _pair(range(36, 42), range(42, 48))

# JAA-Net (Shao et al. 2021), the released code. Its 49 points are given here as the 68 that hold them.
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

# FG-Net (Yin et al. 2024), the released code.
_FGNET: Mapping[int, tuple[Centre, ...]] = {
    1: _pair([21], [22]),
    2: _pair([17], [26]),
    4: _pair(range(17, 22), range(22, 27)),
    6: _pair(range(36, 42), range(42, 48), down=1),
    7: _pair([38], [43]),
    9: _pair([39], [42]),
    10: _pair([50], [52]),
    12: _MOUTH_CORNERS,
    14: _MOUTH_CORNERS,
    15: _MOUTH_CORNERS,
    17: _pair([58], [56], down=1 / 2),
    23: _LIPS,
    24: _LIPS,
    25: _LIPS,
    26: _pair([58], [56]),
}

# affectkit's default: JAA-Net's, and our own for units which it lacks.
_AFFECTKIT: Mapping[int, tuple[Centre, ...]] = {
    **_JAANET,
    5: _pair([37, 38], [43, 44]),
    16: (_middle(57, down=0.35),),
    18: _LIPS,
    20: _pair([48], [54], outward=0.15),
    22: _LIPS,
    27: (_middle(57, 8),),
    28: _LIPS,
    43: _EYES,
    45: _EYES,
}

REGIONS: Mapping[str, RegionTable] = MappingProxyType(
    {
        "affectkit": RegionTable(_eye_corners_across, MappingProxyType(_AFFECTKIT)),
        "jaanet": RegionTable(_eye_corners_across, MappingProxyType(_JAANET)),
        "fgnet": RegionTable(_eye_corners, MappingProxyType(_FGNET)),
    }
)

# AU R-CNN (Ma et al. 2019), the released configuration: units that share a region between landmarks.
AU_RCNN_GROUPS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "brows and eyes": frozenset({1, 2, 5, 7}),
        "brows and glabella": frozenset({4}),
        "lower eyelids and cheeks": frozenset({6}),
        "root and sides of the nose": frozenset({9}),
        "middle of the cheeks and mouth": frozenset({10, 11, 12, 13, 14, 15}),
        "below the mouth and chin": frozenset({17}),
        "lips": frozenset({18, 22, 23, 24, 28}),
        "lips and chin": frozenset({16, 20, 25, 26, 27}),
    }
)


def _mirror(*runs: range | Sequence[int]) -> tuple[int, ...]:
    """The permutation that reverses each run of indices and leaves the others."""
    order = list(range(_NUM_POINTS))
    for run in runs:
        for here, there in zip(run, reversed(run), strict=True):
            order[here] = there
    return tuple(order)


# Which landmark takes each index after a horizontal flip, `flipped[i] = mirror(points[FLIP_68[i]])`: jaw,
# brows, nostrils, eyes (one reversed into the other), and the rows of the lips. It is its own inverse.
FLIP_68: tuple[int, ...] = _mirror(
    range(17), range(17, 27), range(31, 36),
    [36, 37, 38, 39, 42, 43, 44, 45], [40, 41, 46, 47],
    range(48, 55), range(55, 60), range(60, 65), range(65, 68),
)  # fmt: skip

# The places among the 68 of shorter mark-ups, in their own order. The 49 of IntraFace (which BP4D ships) lack the
# jaw and the inner corners of the mouth; the 66 of DISFA's active appearance models lack those corners only.
POINTS_49: tuple[int, ...] = (*range(17, 60), 61, 62, 63, 65, 66, 67)
POINTS_66: tuple[int, ...] = (*range(60), 61, 62, 63, 65, 66, 67)


def region_centres(unit: ActionUnit, points: Sequence[Point], table: str = "affectkit") -> tuple[Point, ...]:
    """The centres in the picture of the regions where a unit shows.

    Each is the mean of some landmarks, moved down and outward by parts of the distance between the inner
    eye corners (points 39 and 42): across the picture in `affectkit` and `jaanet`, straight in `fgnet`.

    Args:
        unit: The unit; with a side, only the centres on that side of the subject are returned. Centres in
            the middle of the face belong to both sides.
        points: 68 `(x, y)` landmarks in pixels.
        table: The method, a key of `REGIONS`.

    Returns:
        `(x, y)` of each centre in pixels, the one on the picture's left first.

    Raises:
        LabelSpaceError: The table is unknown, or has no region for the unit.
        AnnotationError: There are not 68 points.

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
        raise AnnotationError(f"{len(points)} landmarks are given.", remedy="Give the 68 iBUG points.")
    length = regions.length(points)
    return tuple(
        _place(centre, points, length)
        for centre in regions.centres[unit.id]
        if unit.side is None or centre.side in (None, unit.side)
    )


def _place(centre: Centre, points: Sequence[Point], length: float) -> Point:
    xs, ys = zip(*(points[index] for index in centre.points), strict=True)
    to_the_right = {"R": -1.0, "L": 1.0, None: 0.0}[centre.side]
    x = math.fsum(xs) / len(xs) + to_the_right * centre.outward * length
    return x, math.fsum(ys) / len(ys) + centre.down * length
