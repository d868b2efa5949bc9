"""Alignment of faces by their landmarks.

A similarity (rotation, scale and shift without reflection) is a matrix [2, 3] that maps a point (x, y, 1) in pixels,
integers at pixel centres.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import AnnotationError, ConfigError

__all__ = ["align_frames", "estimate_similarity", "five_points", "reference_points", "transform_points"]

# Eyes, nose tip and mouth corners, left ones first, in a picture of 112 by 112 pixels, as published with InsightFace
# (J. Deng et al., "ArcFace", CVPR 2019).
_ARCFACE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def five_points(landmarks: Tensor) -> Tensor:
    """Reduce 68 iBUG landmarks to eye centres, nose tip and mouth corners.

    Args:
        landmarks: float [..., 68, 2].

    Returns:
        float [..., 5, 2]: left eye, right eye, nose, left and right mouth corner, left and right as in the picture.
    """
    eyes = [landmarks[..., first : first + 6, :].mean(-2) for first in (36, 42)]
    return torch.stack([*eyes, *(landmarks[..., point, :] for point in (30, 48, 54))], dim=-2)


def reference_points(kind: Literal["arcface"] = "arcface", size: int = 112) -> Tensor:
    """Return the five points of an aligned face.

    Args:
        kind: The convention.
        size: Side of the aligned picture in pixels.

    Returns:
        float [5, 2], in the order of `five_points`.

    Example:
        >>> reference_points(size=224)[2].round().tolist()  # the nose, just below the centre
        [113.0, 144.0]
    """
    if kind != "arcface":
        raise ConfigError(f"Unknown reference points '{kind}'.", remedy="Use 'arcface'.")
    return (torch.tensor(_ARCFACE) + 0.5) * (size / 112) - 0.5


def estimate_similarity(source: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the least-squares similarity from points to target points.

    With points as complex numbers it is `z ↦ a·z + b`, where `a = Σ conj(z')·w' / Σ |z'|²` over centred points and `b`
    maps mean to mean.

    Args:
        source: float [..., N, 2].
        target: float [..., N, 2], or [N, 2] for all.
        mask: bool [..., N], True for points to use; all by default.

    Returns:
        float [..., 2, 3].

    Raises:
        AnnotationError: A face has fewer than two distinct points.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> estimate_similarity(square, 2 * square + 3).abs().tolist()
        [[2.0, 0.0, 3.0], [0.0, 2.0, 3.0]]

    References:
        S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. In
        the plane, the singular value decomposition reduces to the closed form above.
    """
    weight = torch.ones_like(source[..., 0]) if mask is None else mask.to(source.dtype)
    total = weight.sum(-1, keepdim=True).clamp(min=1)
    target = torch.where(weight[..., None] > 0, target.to(source), 0.0)
    mean_z = (weight[..., None] * source).sum(-2, keepdim=True) / total[..., None]
    mean_w = (weight[..., None] * target).sum(-2, keepdim=True) / total[..., None]
    zx, zy = ((source - mean_z) * weight[..., None]).unbind(-1)
    wx, wy = ((target - mean_w) * weight[..., None]).unbind(-1)
    spread = (zx.square() + zy.square()).sum(-1)
    if (spread <= 0).any():
        raise AnnotationError(
            "A face has fewer than two distinct landmarks.", remedy="Exclude frames without landmarks."
        )
    real = (zx * wx + zy * wy).sum(-1) / spread
    imaginary = (zx * wy - zy * wx).sum(-1) / spread
    turn = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], -2)
    shift = mean_w.squeeze(-2) - (turn @ mean_z.transpose(-1, -2)).squeeze(-1)
    return torch.cat([turn, shift[..., None]], dim=-1)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Map points, float [..., N, 2], by a similarity, float [..., 2, 3]."""
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]


def align_frames(frames: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Warp frames by a similarity into square pictures; pixels outside the frame are black.

    Sampling is bilinear, and antialiased if the similarity reduces the frame.

    Args:
        frames: uint8 [T, C, H, W].
        matrix: float [2, 3] or [T, 2, 3], from pixels of the frame to pixels of the result.
        size: Side of the result in pixels.

    Returns:
        uint8 [T, C, size, size].
    """
    T = len(frames)
    pixels = frames.float()
    matrix = matrix.expand(T, 2, 3)
    scale = float(matrix[:, 0, :2].norm(dim=-1).min())
    shrink = max(1, int(1 / scale))  # average whole blocks of pixels before interpolating
    if shrink > 1:
        pixels = F.avg_pool2d(pixels, shrink, ceil_mode=True, count_include_pad=False)
    axis = torch.arange(size, dtype=torch.float32, device=frames.device)
    goal = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(1, -1, 2)
    turn = torch.linalg.inv(matrix[:, :, :2])
    source = (goal - matrix[:, None, :, 2]) @ turn.transpose(-1, -2)
    h, w = pixels.shape[-2:]
    grid = (source + 0.5) * (2 / shrink) / torch.tensor([w, h], device=frames.device) - 1
    warped = F.grid_sample(pixels, grid.reshape(T, size, size, 2), align_corners=False)
    return warped.round().clamp(0, 255).to(torch.uint8)
