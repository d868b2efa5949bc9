"""Display geometry of video pixels: square, turned and mirrored."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

__all__ = ["Matrix", "display_matrix", "orient", "square_size"]

Matrix = tuple[int, int, int, int]
"""Upper left part (a, b, c, d) of a display matrix: pixel (x, y) is shown at (a x + c y, b x + d y)."""

_UPRIGHT: Matrix = (1, 0, 0, 1)
_WIDEST = 4  # largest plausible aspect of a pixel; a larger one is damage


def display_matrix(frame: VideoFrame | None) -> Matrix:
    """Read the display matrix of a frame; upright if absent or degenerate."""
    side_data: Any = None if frame is None else frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return _UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side_data))
    return (a, b, c, d) if a * d != b * c else _UPRIGHT


def orient(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Turn and mirror a picture [H, W, 3] by the multiple of 90° nearest to a display matrix."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, across, down = image.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels, given the pixel aspect (width : height); neither side shrinks."""
    if not aspect or not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
