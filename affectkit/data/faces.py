"""Faces as a detector finds them, and the way from a frame to a picture of fixed size around a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from affectkit.data.align import estimate_similarity, reference_points

__all__ = ["Face", "FaceDetector", "box_transform", "detector_name", "face_transform", "largest_face"]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a frame.

    Args:
        box: Left, top, width and height in pixels; the frame's own left and upper edges are at 0.
        score: How sure the detector is, 0 to 1.
        points: float [5, 2], the points of `affectkit.data.five_points` in pixels, integers at pixel centres;
            None where the detector has none.
    """

    box: tuple[float, float, float, float]
    score: float
    points: Tensor | None = None


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


def largest_face(faces: list[Face]) -> Face | None:
    """The face with the largest box, as corpora show one person at a time; None where there is none."""
    return max(faces, key=lambda face: face.box[2] * face.box[3], default=None)


def face_transform(points: Tensor, size: int, *, margin: float = 0.0, mask: Tensor | None = None) -> Tensor:
    """The similarity that brings a face to its place in a square picture.

    Args:
        points: float [..., 5, 2], as `affectkit.data.five_points` gives them.
        size: Pixels of the picture's sides.
        margin: What is added around the tight picture of `reference_points`, as a share of its side, at each side.
        mask: bool [..., 5], the points that are known; all by default.

    Returns:
        float [..., 2, 3].

    Raises:
        AnnotationError: Fewer than two distinct points are known.

    Example:
        >>> matrix = face_transform(reference_points(size=112), 224)
        >>> matrix[:, :2].abs().round().tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    tight = size / (1 + 2 * margin)
    # Pixel centres are half a pixel from the edge, which the border moves.
    goal = (reference_points(size=112) + 0.5) * (tight / 112) + margin * tight - 0.5
    return estimate_similarity(points, goal, mask)


def box_transform(
    box: tuple[float, float, float, float], size: int | tuple[int, int], *, margin: float = 0.0
) -> Tensor:
    """The scale and shift that brings a box to a picture.

    Args:
        box: Left, top, width and height in pixels.
        size: Pixels of the picture's sides: the box is widened to a square about its centre; or height and width,
            which the box is stretched to.
        margin: What is added at each side, as a share of the box's side.

    Returns:
        float [2, 3].

    Example:
        >>> box_transform((10, 20, 4, 8), 16).tolist()
        [[2.0, 0.0, -15.5], [0.0, 2.0, -39.5]]
    """
    x, y, w, h = box
    height, width = (size, size) if isinstance(size, int) else size
    if isinstance(size, int):
        x, y, w, h = x + (w - max(w, h)) / 2, y + (h - max(w, h)) / 2, max(w, h), max(w, h)
    across, down = width / ((1 + 2 * margin) * w), height / ((1 + 2 * margin) * h)
    left, top = x - margin * w, y - margin * h
    return torch.tensor(
        [
            [across, 0.0, (0.5 - left) * across - 0.5],
            [0.0, down, (0.5 - top) * down - 0.5],
        ]
    )
