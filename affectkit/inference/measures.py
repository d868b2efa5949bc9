"""Numbers of a face mesh in tables: head pose, gaze, blinks and landmarks, named and scaled as in OpenFace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import torch

from affectkit.errors import ConfigError
from affectkit.faces import LANDMARKS_68, Camera, FaceMesh, estimate_gaze

__all__ = ["COLUMNS", "LANDMARKS", "MEASURED", "OPENFACE", "columns_of", "measure"]

COLUMNS: Final = {
    "gaze": (
        *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
        *(f"gaze_angle_{axis}" for axis in "xy"),
    ),
    "pose": (*(f"pose_T{axis}" for axis in "xyz"), *(f"pose_R{axis}" for axis in "xyz")),
    "landmarks": tuple(f"{axis}_{k}" for axis in "xy" for k in range(68)),
    "landmarks_3d": tuple(f"{axis}_{k}" for axis in "XYZ" for k in range(68)),
    "blink": ("blink",),
}
"""Columns by group, in OpenFace's order; `blink` is ours."""

MEASURED: Final = ("gaze", "pose", "blink")
"""Groups of every table whose faces have meshes."""

LANDMARKS: Final = (*MEASURED, "landmarks")
"""Groups of a table with landmarks."""

OPENFACE: Final = tuple(COLUMNS)
"""Groups of a table with OpenFace's columns."""


def columns_of(groups: Iterable[str]) -> list[str]:
    """Names of the columns of groups.

    Raises:
        ConfigError: A group does not exist.

    Example:
        >>> columns_of(["blink", "pose"])[:3]
        ['blink', 'pose_Tx', 'pose_Ty']
    """
    groups = list(groups)
    if unknown := [name for name in groups if name not in COLUMNS]:
        raise ConfigError(f"There is no group {unknown[0]!r}.", remedy=f"Choose from {', '.join(COLUMNS)}.")
    return [name for group in groups for name in COLUMNS[group]]


def measure(mesh: FaceMesh, groups: Sequence[str]) -> list[float]:
    """Values of `columns_of(groups)` for a mesh.

    `gaze_0` belongs to the eye on the left of the picture; vectors have length 1, angles and `pose_R` are in radians,
    `pose_T`, `X`, `Y` and `Z` in millimetres for a face of average size, `x` and `y` in pixels. `blink` is the mean of
    the blendshapes `eyeBlinkLeft` and `eyeBlinkRight`, 0 (open) to 1 (closed). The camera is unknown and assumed as in
    OpenFace, see `affectkit.faces.Camera`.
    """
    values: list[float] = []
    pose = mesh.head_pose() if {"gaze", "pose", "landmarks_3d"} & {*groups} else None
    for group in groups:
        if group == "blink":
            values.append((mesh.blendshape("eyeBlinkLeft") + mesh.blendshape("eyeBlinkRight")) / 2)
        elif group == "landmarks":
            values += mesh.landmarks.T.flatten().tolist()
        elif pose is None:
            raise AssertionError(group)
        elif group == "gaze":
            gaze = estimate_gaze(mesh.points, pose)
            values += [*gaze.vectors.flatten().tolist(), *gaze.angles.tolist()]
        elif group == "pose":
            values += [*pose.translation.tolist(), *pose.rotation.tolist()]
        else:
            # Depths come from the mesh, places from its projection, so that both sets of landmarks agree.
            camera = Camera.for_frame(*mesh.frame_size)
            head = 100 * mesh.signals()["mesh"][torch.tensor(LANDMARKS_68)]
            depth = head @ pose.matrix[2] + pose.translation[2]
            places = (mesh.landmarks - torch.tensor([camera.x, camera.y])) * depth[:, None] / camera.focal
            values += [*places.T.flatten().tolist(), *depth.tolist()]
    return values
