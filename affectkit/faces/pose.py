"""Head pose and gaze from the points of a face mesh, with the conventions of OpenFace.

Camera axes are x right, y down, z away from the camera. A head that faces the camera has rotation 0 and gaze
(0, 0, -1). Rotations are right-handed and composed as R = Rx Ry Rz: positive Rx looks down, positive Ry turns to the
left of the picture, positive Rz tilts clockwise in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import asin, atan2
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "LANDMARKS_68",
    "Camera",
    "Gaze",
    "HeadPose",
    "average_face",
    "estimate_gaze",
    "estimate_pose",
    "head_points",
]

Floats = npt.NDArray[np.float64]

LANDMARKS_68: Final = (
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 195, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)  # fmt: skip
"""The mesh points that correspond to the 68 iBUG landmarks."""

_EYES: Final = (
    (33, 133, 468),
    (362, 263, 473),
)  # left and right corner and centre of the iris, as in the picture
_STEPS: Final = 3  # after which depth and scale of a face agree to less than a thousandth

# Place of the iris in millimetres and axes of the head (outwards or right, down, back), fitted to rendered faces of
# known gaze: offset from the middle of the eye's corners, and shift by the gaze. The mesh follows less up and down.
_OFFSET: Final = np.array([1.49, -1.97, 2.3])
_SHIFT: Final = np.array([12.6, 5.0, 6.0])


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera without distortion.

    Args:
        focal: Focal length in pixels.
        x: Principal point, to the right, in pixels.
        y: Principal point, down.
    """

    focal: float
    x: float
    y: float

    @classmethod
    def for_frame(cls, height: int, width: int) -> Camera:
        """OpenFace's assumption for unknown cameras: 500 pixels of focal length at 640 by 480, and a centred axis."""
        return cls(250 * (width / 640 + height / 480), (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True, eq=False)
class HeadPose:
    """Position and orientation of a head in camera axes.

    Args:
        rotation: float [3], Rx (pitch), Ry (yaw) and Rz (roll) in radians, see `affectkit.faces.pose`.
        translation: float [3], the middle of the 68 landmarks in millimetres, for a face of average size. Depth is
            proportional to the focal length of the camera.
        matrix: float [3, 3], R = Rx Ry Rz, from axes of the head to those of the camera.
    """

    rotation: Tensor
    translation: Tensor
    matrix: Tensor


@dataclass(frozen=True, eq=False)
class Gaze:
    """Directions of the eyes in camera axes.

    Args:
        vectors: float [2, 3], unit vectors, first of the eye on the left of the picture.
        angles: float [2], x and y in radians, of the mean of both: positive to the right of the picture and down.
    """

    vectors: Tensor
    angles: Tensor


@lru_cache(maxsize=1)
def _canonical() -> tuple[Floats, Floats]:
    """The average face, float64 [468, 3] in millimetres around its landmarks, and what each vertex weighs, [468, 1]."""
    asset = resources.files("affectkit.faces") / "assets" / "face_geometry.npz"
    with resources.as_file(asset) as path, np.load(path, allow_pickle=False) as data:
        vertices = data["vertices"].astype(np.float64) * (
            10.0,
            -10.0,
            -10.0,
        )  # from centimetres, y up, z to the camera
        weights = data["weights"].astype(np.float64)
    return vertices - vertices[list(LANDMARKS_68)].mean(0), (weights / weights.sum())[:, None]


def average_face() -> Tensor:
    """The average face, float32 [468, 3] in millimetres: x right (0 in its middle), y down, z away from the camera."""
    face = torch.from_numpy(_canonical()[0]).float()
    return face - face.new_tensor([float(face[4, 0]), 0.0, 0.0])  # the tip of the nose


def estimate_pose(points: Tensor, camera: Camera) -> HeadPose:
    """Fit the average face to a mesh.

    The mesh's depths are relative and as large as a parallel projection makes them. They are placed at the distance at
    which the face has the size of the average one, its points are moved along the camera's rays to these depths, and
    the similarity that brings the average face nearest to them in the sense of least squares is the pose; three such
    steps agree on size and distance. Vertices count by how little expressions move them.

    Args:
        points: float [478, 3], from `FaceMesh`.
        camera: The camera.

    References:
        The average face and its weights are those of MediaPipe's face geometry module.
    """
    mesh = points[:468].double().numpy()
    face, weights = _canonical()
    plane = mesh[:, :2] - (camera.x, camera.y)
    rotation, scale, shift = _similarity(face, mesh, weights)
    middle = shift[2]
    for _ in range(_STEPS):
        depth = (mesh[:, 2:] - middle + camera.focal) / scale
        lifted = np.concatenate([plane * depth / camera.focal, depth], axis=1)
        rotation, size, shift = _similarity(face, lifted, weights)
        scale *= size
    matrix = torch.from_numpy(rotation).float()
    return HeadPose(torch.tensor(_angles(rotation)), torch.from_numpy(shift).float(), matrix)


def head_points(points: Tensor) -> tuple[Tensor, Tensor]:
    """Move a mesh into axes of the head: position, size and rotation are removed, the expression and identity stay.

    The similarity of a parallel projection takes the average face nearest to the mesh. Unlike `estimate_pose`, it needs
    no camera.

    Args:
        points: float [478, 3], from `FaceMesh`.

    Returns:
        float32 [478, 3], the mesh in decimetres, with the size of the average face; and float32 [3], the removed
        rotation Rx, Ry, Rz in radians.
    """
    mesh = points.double().numpy()
    face, weights = _canonical()
    rotation, scale, shift = _similarity(face, mesh[:468], weights)
    moved = (mesh - shift) @ rotation / (100 * scale)
    return torch.from_numpy(moved).float(), torch.tensor(_angles(rotation))


def estimate_gaze(points: Tensor, pose: HeadPose) -> Gaze:
    """Read the direction of each eye from the place of its iris between the corners.

    An iris is displaced from the middle of its eye's corners by `R (offset + shift * h)`, where h is the gaze in axes
    of the head and R the head's rotation. Offset and shift were fitted to rendered faces whose gaze is known. Errors
    there were 2 degrees across and 4.5 degrees up and down; closed eyes have no gaze.

    Args:
        points: float [478, 3], from `FaceMesh`.
        pose: From `estimate_pose`.
    """
    mesh, rotation = points.double().numpy(), pose.matrix.double().numpy()
    face, weights = _canonical()
    scale = _similarity(face, mesh[:468], weights)[1]  # pixels a millimetre
    vectors = []
    for side, (left, right, iris) in zip((-1.0, 1.0), _EYES, strict=True):
        seen = (mesh[iris] - (mesh[left] + mesh[right]) / 2)[:2] / scale
        axes = (rotation * _SHIFT)[:2]
        seen = seen - rotation[:2] @ (_OFFSET * (side, 1.0, 1.0))
        ahead = -1.0
        for _ in range(3):
            across, down = np.linalg.solve(axes[:, :2], seen - axes[:, 2] * ahead)
            ahead = -(max(0.2, 1 - across**2 - down**2) ** 0.5)
        direction = rotation @ (across, down, ahead)
        vectors.append(direction / np.linalg.norm(direction))
    x, y, z = np.mean(vectors, axis=0)
    angles = torch.tensor([atan2(x, -z), atan2(y, -z)])
    return Gaze(torch.from_numpy(np.stack(vectors)).float(), angles)


def _similarity(source: Floats, target: Floats, weights: Floats) -> tuple[Floats, float, Floats]:
    """Rotation, scale and shift that take points [N, 3] nearest to others; weights [N, 1] have a sum of 1.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    """
    middle, goal = (weights * source).sum(0), (weights * target).sum(0)
    centred = source - middle
    u, values, v = np.linalg.svd((weights * (target - goal)).T @ centred)
    values[2] *= (sign := np.sign(np.linalg.det(u @ v)))
    rotation = u * (1.0, 1.0, sign) @ v
    scale = float(values.sum() / (weights * centred**2).sum())
    return rotation, scale, goal - scale * rotation @ middle


def _angles(rotation: Floats) -> tuple[float, float, float]:
    """Rx, Ry and Rz of R = Rx Ry Rz, in radians."""
    r = rotation
    return atan2(-r[1, 2], r[2, 2]), asin(min(1.0, max(-1.0, r[0, 2]))), atan2(-r[0, 1], r[0, 0])
