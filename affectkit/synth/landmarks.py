"""The 68 iBUG landmarks on the mean head.

Each point was placed on the mean head seen from the front. The nearest front-facing skin vertex carries it, so
that it follows identity, action units and pose. Points are listed for the image's left half (the subject's
right) and mirrored.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["landmark_vertices"]

# (x, z) in millimetres on the mean head; x < 0 is the image's left, z grows upwards.
_JAW: Final = (
    (-72.0, -122.0), (-71.0, -138.0), (-69.0, -154.0), (-65.0, -169.0), (-58.0, -184.0),
    (-49.0, -198.0), (-36.0, -211.0), (-19.0, -222.0), (0.0, -227.6),
)  # fmt: skip
_BROW: Final = ((-47.0, -102.0), (-40.0, -98.0), (-31.0, -96.5), (-22.0, -98.0), (-13.0, -101.0))
_NOSE: Final = ((0.0, -116.0), (0.0, -127.0), (0.0, -138.0), (0.0, -149.0))
_NOSTRILS: Final = ((-13.5, -160.5), (-7.0, -162.5), (0.0, -164.2))
_EYE: Final = (
    (-44.5, -115.7), (-35.1, -112.1), (-23.5, -113.5), (-14.8, -119.2), (-24.6, -119.8), (-35.5, -120.5),
)  # fmt: skip
_OUTER_LIP_TOP: Final = ((-22.6, -186.5), (-15.0, -181.0), (-6.0, -178.4), (0.0, -179.0))
_OUTER_LIP_BOTTOM: Final = ((0.0, -198.0), (-6.3, -197.5), (-13.5, -194.5))
_INNER_LIP: Final = ((-20.0, -185.9), (-8.1, -185.1), (0.0, -185.3))
_INNER_LIP_BOTTOM: Final = ((0.0, -187.1), (-5.5, -187.1))


def _mirror(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((-x, z) for x, z in reversed(points))


def landmark_points() -> npt.NDArray[np.float64]:
    """(x, z) of the 68 points on the mean head, float64 [68, 2] in millimetres."""
    right_eye = tuple((-x, z) for x, z in (_EYE[3], _EYE[2], _EYE[1], _EYE[0], _EYE[5], _EYE[4]))
    points = (
        _JAW + _mirror(_JAW[:8])
        + _BROW + _mirror(_BROW)
        + _NOSE + _NOSTRILS + _mirror(_NOSTRILS[:2])
        + _EYE + right_eye
        + _OUTER_LIP_TOP + _mirror(_OUTER_LIP_TOP[:3])
        + _mirror(_OUTER_LIP_BOTTOM[1:]) + _OUTER_LIP_BOTTOM
        + _INNER_LIP + _mirror(_INNER_LIP[:2])
        + _mirror(_INNER_LIP_BOTTOM[1:]) + _INNER_LIP_BOTTOM
    )  # fmt: skip
    return np.asarray(points, dtype=np.float64)


def landmark_vertices(
    mean: npt.NDArray[np.float32], normals: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Find the vertex of each landmark, int64 [68], in iBUG order.

    Args:
        mean: float32 [V, 3], vertices of the mean head in metres.
        normals: float32 [V, 3], unit vertex normals.
        allowed: bool [V], vertices that may carry a landmark (skin).
    """
    front = allowed & (normals[:, 1] < 0.15) & (mean[:, 1] < -0.04)
    points = landmark_points()
    places = mean[:, (0, 2)].astype(np.float64) * 1e3
    distance = np.hypot(points[:, None, 0] - places[None, :, 0], points[:, None, 1] - places[None, :, 1])
    distance[:, ~front] = np.inf
    # All but the outline lie on the front of the face, not in the eye sockets behind it.
    depth = mean[None, :, 1] * 1e3
    foremost = np.where(distance < 6.0, depth, np.inf).min(axis=1, keepdims=True)
    distance[17:][(depth > foremost + 12.0)[17:]] = np.inf
    nearest: npt.NDArray[np.int64] = distance.argmin(axis=1)
    return nearest
