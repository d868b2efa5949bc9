"""Detected faces and the interface of detectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from affectkit.faces.mesh import FaceMesh

__all__ = ["Face", "FaceDetector", "detector_name", "find_faces", "largest_face"]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a frame.

    Args:
        box: Left, top, width and height in pixels; the frame's left and upper edges are at 0.
        score: Confidence of the detector, 0 to 1.
        points: float [5, 2], the points of `affectkit.faces.five_points` in pixels, integers at pixel centres; None if
            the detector does not provide them.
        mesh: The face's mesh; None if the detector does not provide one.
    """

    box: tuple[float, float, float, float]
    score: float
    points: Tensor | None = None
    mesh: FaceMesh | None = None


class FaceDetector(Protocol):
    """Interface of face detectors. Detectors that serve several processes must be picklable."""

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        """Detect the faces of each frame.

        Args:
            frames: uint8 [T, 3, H, W], RGB.

        Returns:
            T lists of faces in any order.
        """
        ...


def detector_name(detector: FaceDetector) -> str:
    """Return a detector's name for metadata: its `str` if it defines one, else its type."""
    described = type(detector).__str__ is not object.__str__
    return str(detector) if described else type(detector).__name__


def find_faces(detector: FaceDetector, frames: Tensor) -> list[list[Face]]:
    """Run a detector on frames, uint8 [T, 3, H, W], and drop boxes that are not finite or have no area."""
    return [
        [face for face in faces if all(map(isfinite, face.box)) and min(face.box[2:]) > 0]
        for faces in detector(frames)
    ]


def largest_face(faces: list[Face]) -> Face | None:
    """Return the face with the largest box; None without faces."""
    return max(faces, key=lambda face: face.box[2] * face.box[3], default=None)
