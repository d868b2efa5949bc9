"""Faces as a detector finds them."""

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
        box: Left, top, width and height in pixels; the frame's own left and upper edges are at 0.
        score: How sure the detector is, 0 to 1.
        points: float [5, 2], the points of `affectkit.faces.five_points` in pixels, integers at pixel centres;
            None where the detector has none.
        mesh: The 478 points and what follows from them; None where the detector has none.
    """

    box: tuple[float, float, float, float]
    score: float
    points: Tensor | None = None
    mesh: FaceMesh | None = None


class FaceDetector(Protocol):
    """Finds faces. To serve several processes at once, a detector must be picklable."""

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        """Find the faces of each frame.

        Args:
            frames: uint8 [T, 3, H, W], RGB.

        Returns:
            T lists of faces, in any order; empty where there is none.
        """
        ...


def detector_name(detector: FaceDetector) -> str:
    """What to call a detector in metadata: as it calls itself, else its type.

    Args:
        detector: A detector.
    """
    described = type(detector).__str__ is not object.__str__  # an address in memory says nothing
    return str(detector) if described else type(detector).__name__


def find_faces(detector: FaceDetector, frames: Tensor) -> list[list[Face]]:
    """Ask a detector, and leave out boxes that are not finite or have no area.

    Args:
        detector: A detector.
        frames: uint8 [T, 3, H, W], RGB.

    Returns:
        T lists of faces.
    """
    return [
        [face for face in faces if all(map(isfinite, face.box)) and min(face.box[2:]) > 0]
        for faces in detector(frames)
    ]


def largest_face(faces: list[Face]) -> Face | None:
    """The face with the largest box, as corpora show one person at a time; None where there is none."""
    return max(faces, key=lambda face: face.box[2] * face.box[3], default=None)
