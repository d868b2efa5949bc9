"""Landmarks, head pose and gaze of a table as lines on its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import degrees
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ConfigError
from affectkit.faces.pose import Camera
from affectkit.inference.pictures.clip_table import ClipTable, Reading

__all__ = ["Draw", "Drawing", "Line"]

Draw = Literal["mesh", "gaze", "pose"]
"""Parts that can be drawn."""

Floats = NDArray[np.float64]

_COLUMNS: Final = {
    "mesh": tuple(f"{axis}_{k}" for k in range(68) for axis in "xy"),
    "gaze": tuple(f"gaze_{eye}_{axis}" for eye in range(2) for axis in "xyz"),
    "pose": tuple(f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"),
}
_NAMES: Final = {
    "mesh": "68 landmarks (x_0 … y_67)",
    "gaze": "gaze (gaze_0_x …)",
    "pose": "head pose (pose_Rx …)",
}
# Runs of landmarks that are joined; the last number says whether the run is closed.
_RUNS: Final = (
    *((0, 17, 0), (17, 22, 0), (22, 27, 0), (27, 31, 0), (31, 36, 0)),
    *((36, 42, 1), (42, 48, 1), (48, 60, 1), (60, 68, 1)),
)
_LEFT_EYE, _RIGHT_EYE, _NOSE = slice(36, 42), slice(42, 48), 30
# Millimetres in axes of the average head, whose origin is the middle of its landmarks.
_EYES: Final = np.array([[-31.8, -37.6, -1.6], [31.8, -37.6, -1.6]])
_NOSE_TIP: Final = np.array([0.0, -6.6, -40.9])
_AXES: Final = np.array([[45.0, 0.0, 0.0], [0.0, 45.0, 0.0], [0.0, 0.0, -75.0]])  # right, down, ahead
_REACH: Final = 75.0  # millimetres of a gaze
_NEAREST: Final = 50.0  # millimetres: no camera sees a face from there
_WHITE, _GAZE = (235, 238, 242), (240, 228, 66)
_AXIS_COLORS: Final = ((213, 94, 0), (0, 158, 115), (86, 180, 233))  # of Okabe and Ito


@dataclass(frozen=True, slots=True)
class Line:
    """A line through some points of a face.

    Args:
        places: Indices of the points, in order; a closed line repeats the first one.
        color: Red, green and blue, 0 to 255.
        wide: Whether it is twice as wide as the lines of the landmarks.
    """

    places: tuple[int, ...]
    color: tuple[int, int, int]
    wide: bool = False


class Drawing:
    """Lines on the faces of a clip.

    "mesh" joins the 68 landmarks. "pose" shows the axes of the head at the tip of the nose: orange towards the right of
    the picture for a head that faces the camera, green down, blue ahead. "gaze" is a yellow line from the middle of
    each eye. Directions are relative to the axis of the camera, as in the table. Without landmarks, positions follow
    from the pose and the camera that OpenFace assumes.

    Args:
        clip: A table with the columns of OpenFace for the wanted parts.
        draw: The parts.
        size: Height and width of the frames in pixels.

    Attributes:
        draw: The parts.
        lines: Lines through the points.

    Raises:
        ConfigError: A part is unknown, or the table lacks its columns.
    """

    def __init__(self, clip: ClipTable, draw: Sequence[Draw], size: tuple[int, int]) -> None:
        self.draw = tuple(dict.fromkeys(draw))
        for part in self.draw:
            if part not in get_args(Draw):
                remedy = f"Choose from {', '.join(get_args(Draw))}."
                raise ConfigError(f"{part!r} cannot be drawn.", remedy=remedy)
            if clip.columns(_COLUMNS[part]) is None:
                raise _lacking(clip, part)
        landmarks, pose, gaze = (self._columns(clip, part) for part in ("mesh", "pose", "gaze"))
        if "gaze" in self.draw and landmarks is None and pose is None:
            raise _lacking(clip, "pose")
        self._pose = pose if "pose" in self.draw else None
        self._gaze = gaze if "gaze" in self.draw else None
        camera, points, lines = Camera.for_frame(*size), [np.empty((clip.rows, 0, 2))], list[Line]()
        marks = None if landmarks is None else landmarks.reshape(-1, 68, 2)
        if "mesh" in self.draw and marks is not None:
            points.append(marks)
            runs = ((*range(a, b), *([a] if closed else [])) for a, b, closed in _RUNS)
            lines += [Line(run, _WHITE) for run in runs]
        start = sum(part.shape[1] for part in points)
        if self._pose is not None:
            points.append(_axes(self._pose, camera, marks))
            lines += [Line((start, start + k + 1), _AXIS_COLORS[k], wide=True) for k in range(3)]
            start += 4
        if self._gaze is not None:
            points.append(_gazes(self._gaze, pose, camera, marks))
            lines += [Line((start + k, start + k + 1), _GAZE, wide=True) for k in (0, 2)]
        self.lines = tuple(lines)
        self._points = np.concatenate(points, axis=1)
        self._points[~np.isfinite(self._points).all(axis=2)] = np.nan

    @staticmethod
    def _columns(clip: ClipTable, part: Draw) -> Floats | None:
        return clip.columns(_COLUMNS[part])

    def points(self, reading: Reading) -> Floats:
        """Points of one face in one frame, float64 [P, 2] in pixels; NaN where unknown."""
        points: Floats = self._points[reading.row]
        return points

    def over_time(self, clip: ClipTable, face: int) -> Floats:
        """Points of one face, float64 [N, P, 2]; NaN where unknown."""
        flat = clip.over_time(face, self._points.reshape(len(self._points), -1))
        return flat.reshape(len(clip), -1, 2)

    def describe(self, reading: Reading) -> list[str]:
        """Head pose and gaze of one face in words, one line each, in degrees."""
        lines = []
        if self._pose is not None:
            down, left, clockwise = self._pose[reading.row, 3:]
            words = (
                _turn(down, "down", "up"),
                _turn(left, "left", "right"),
                _turn(clockwise, "clockwise", "anticlockwise"),
            )
            lines.append("Head " + ", ".join(words))
        if self._gaze is not None:
            x, y, z = self._gaze[reading.row].reshape(2, 3).mean(axis=0)
            across, down = np.arctan2(x, -z), np.arctan2(y, -z)
            lines.append(f"Gaze {_turn(down, 'down', 'up')}, {_turn(across, 'right', 'left')}")
        return lines


def _lacking(clip: ClipTable, part: str) -> ConfigError:
    return ConfigError(
        f"The table has no columns of the {_NAMES[part]}.",
        path=clip.path,
        remedy="Use a table that has them, such as one of `predict --format openface`, or leave the part out.",
    )


def _turn(angle: float, positive: str, negative: str) -> str:
    """An angle in radians as degrees with a direction."""
    if not np.isfinite(angle):
        return "–"
    rounded = round(degrees(angle))
    return f"{abs(rounded)}° {positive if rounded >= 0 else negative}"


def _matrices(pose: Floats) -> Floats:
    """R = Rx Ry Rz of every row, float64 [rows, 3, 3]."""
    (a, b, c), (d, e, f) = np.cos(pose[:, 3:]).T, np.sin(pose[:, 3:]).T
    one, zero = np.ones_like(a), np.zeros_like(a)
    x = np.stack([one, zero, zero, zero, a, -d, zero, d, a], axis=1).reshape(-1, 3, 3)
    y = np.stack([b, zero, e, zero, one, zero, -e, zero, b], axis=1).reshape(-1, 3, 3)
    z = np.stack([c, -f, zero, f, c, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    product: Floats = x @ y @ z
    return product


def _scale(pose: Floats, camera: Camera) -> Floats:
    """Pixels for a millimetre at the depth of the head, [rows, 1, 1]."""
    depth = np.where(pose[:, 2] > _NEAREST, pose[:, 2], np.nan)
    return (camera.focal / depth)[:, None, None]


def _place(pose: Floats, points: Floats, camera: Camera) -> Floats:
    """Points of the head, [n, 3] in millimetres, in pixels, [rows, n, 2].

    The projection is parallel, so that lines have the directions that the angles of the table have.
    """
    turned = points @ _matrices(pose).transpose(0, 2, 1)
    placed: Floats = (pose[:, None, :2] + turned[..., :2]) * _scale(pose, camera) + (camera.x, camera.y)
    return placed


def _axes(pose: Floats, camera: Camera, landmarks: Floats | None) -> Floats:
    """Tip of the nose and ends of the axes, [rows, 4, 2]."""
    points = _place(pose, np.vstack([_NOSE_TIP, _NOSE_TIP + _AXES]), camera)
    if landmarks is not None:
        points += landmarks[:, [_NOSE]] - points[:, :1]
    return points


def _gazes(gaze: Floats, pose: Floats | None, camera: Camera, landmarks: Floats | None) -> Floats:
    """Start and end of both gazes, [rows, 4, 2]."""
    if landmarks is not None:
        eyes = np.stack([landmarks[:, _LEFT_EYE].mean(1), landmarks[:, _RIGHT_EYE].mean(1)], axis=1)
        apart = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1) / (_EYES[1, 0] - _EYES[0, 0])
        scale = apart[:, None, None]
    if pose is not None:
        scale = _scale(pose, camera)
        eyes = _place(pose, _EYES, camera) if landmarks is None else eyes
    ends = eyes + _REACH * scale * gaze.reshape(-1, 2, 3)[:, :, :2]
    return np.stack([eyes[:, 0], ends[:, 0], eyes[:, 1], ends[:, 1]], axis=1)
