"""Mirror the signals of a face mesh."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from affectkit.data.transforms import MIRRORS
from affectkit.faces.mesh import BLENDSHAPES
from affectkit.faces.pose import average_face

__all__ = ["mirror_blendshapes", "mirror_mesh", "mirror_pose"]

# Centre and rim of each iris: those of the other eye, the rim's right and left points exchanged.
_IRISES: Final = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)
_SIDES: Final = {"Left": "Right", "Right": "Left"}


@lru_cache(maxsize=1)
def _mesh_order() -> Tensor:
    """The point of the other side for each of the 478 points."""
    face = average_face()
    nearest = torch.cdist(face, face * torch.tensor([-1.0, 1.0, 1.0])).argmin(1)
    return torch.cat([nearest, torch.tensor(_IRISES)])


@lru_cache(maxsize=1)
def _blendshape_order() -> Tensor:
    swapped = [re.sub(r"(Left|Right)$", lambda side: _SIDES[side[0]], name) for name in BLENDSHAPES]
    return torch.tensor([BLENDSHAPES.index(name) for name in swapped])


def mirror_mesh(points: Tensor) -> Tensor:
    """Mirror meshes in axes of the head, float [..., 478, 3], see `FaceMesh.signals`."""
    return points[..., _mesh_order(), :] * points.new_tensor([-1.0, 1.0, 1.0])


def mirror_blendshapes(values: Tensor) -> Tensor:
    """Exchange the blendshapes of the left and the right side, float [..., 52]."""
    return values[..., _blendshape_order()]


def mirror_pose(angles: Tensor) -> Tensor:
    """Mirror rotations of the head, Rx, Ry, Rz in radians, float [..., 3]."""
    return angles * angles.new_tensor([1.0, -1.0, -1.0])


MIRRORS.update(mesh=mirror_mesh, blendshapes=mirror_blendshapes, pose=mirror_pose, brow_lowering=torch.clone)
