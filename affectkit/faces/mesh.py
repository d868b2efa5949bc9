"""The mesh of a face: 478 points, blendshapes, lowered brows, head pose and gaze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from affectkit.faces.face import Face
from affectkit.faces.geometry import five_points
from affectkit.faces.pose import (
    LANDMARKS_68,
    Camera,
    Gaze,
    HeadPose,
    estimate_gaze,
    estimate_pose,
    head_points,
)

__all__ = ["BLENDSHAPES", "SIGNALS", "FaceMesh"]

BLENDSHAPES: Final = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft",
    "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft",
    "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""Names of the blendshapes after ARKit, in the network's order. Left and right are the subject's own sides."""
SIGNALS: Final = {"mesh": (478, 3), "blendshapes": (52,), "pose": (3,), "brow_lowering": (1,)}
"""Shapes per frame of `FaceMesh.signals`."""
# Two pairs of lid points an eye, first of the eye on the left of the picture; corners.
_LIDS: Final = ((160, 158, 385, 387), (144, 153, 380, 373), (33, 362), (133, 263))


@dataclass(frozen=True, eq=False)
class FaceMesh:
    """The mesh of one face in one frame.

    Args:
        points: float [478, 3]: x right and y down in pixels of the frame, integers at pixel centres; z away from the
            camera in the same scale, relative to the head. The last ten points are the irises: centre and four points
            of the rim each, first of the eye on the left of the picture.
        presence: How certain the network is that its region shows a face, 0 to 1.
        blendshapes: float [52], 0 to 1, in the order of `BLENDSHAPES`. Values of a neutral face are not 0: compare
            with the person's own baseline.
        brow_lowering: Intensity of AU4 estimated from the pixels of forehead and eyes, about 0 to 1.
        frame_size: Height and width of the frame in pixels.
    """

    points: Tensor
    presence: float
    blendshapes: Tensor
    brow_lowering: float
    frame_size: tuple[int, int]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height around all points, in pixels."""
        low, high = self.points[:, :2].amin(0), self.points[:, :2].amax(0)
        left, top, width, height = (*low.tolist(), *(high - low).tolist())
        return left, top, width, height

    @property
    def landmarks(self) -> Tensor:
        """The 68 iBUG landmarks, float [68, 2]."""
        return self.points[torch.tensor(LANDMARKS_68), :2]

    @property
    def five_points(self) -> Tensor:
        """Eye centres, nose tip and mouth corners as alignment needs them, float [5, 2]."""
        return five_points(self.landmarks)

    def face(self) -> Face:
        """A detected face with the box and points of this mesh."""
        return Face(self.box, self.presence, self.five_points, self)

    def blendshape(self, name: str) -> float:
        """One blendshape by its name in `BLENDSHAPES`."""
        return float(self.blendshapes[BLENDSHAPES.index(name)])

    @property
    def eye_openness(self) -> Tensor:
        """Distance of the lids as a share of the eye's width, float [2], first of the eye on the left of the picture.

        It is about 0.3 for open eyes and 0.1 or less for closed ones.
        """
        upper, lower, left, right = (self.points[torch.tensor(pairs)] for pairs in _LIDS)
        opening = (upper - lower).square().sum(-1).sqrt().reshape(2, 2).mean(-1)
        return opening / (left - right).square().sum(-1).sqrt()

    def signals(self) -> dict[str, Tensor]:
        """Measurements that models learn from, named by `SIGNALS`.

        Returns:
            `mesh`, float [478, 3] in axes of the head, see `affectkit.faces.head_points`; `blendshapes`, float [52];
            `pose`, float [3], rotation of the head in radians; and `brow_lowering`, float [1].
        """
        points, rotation = head_points(self.points)
        lowering = self.points.new_tensor([self.brow_lowering])
        return {"mesh": points, "blendshapes": self.blendshapes, "pose": rotation, "brow_lowering": lowering}

    def head_pose(self, camera: Camera | None = None) -> HeadPose:
        """Estimate position and orientation of the head.

        Args:
            camera: The camera; `Camera.for_frame` by default.
        """
        return estimate_pose(self.points, camera or Camera.for_frame(*self.frame_size))

    def gaze(self, camera: Camera | None = None) -> Gaze:
        """Estimate the directions of the eyes.

        Args:
            camera: The camera; `Camera.for_frame` by default.
        """
        return estimate_gaze(self.points, self.head_pose(camera))
