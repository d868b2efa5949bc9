"""BlazeFace: a small detector whose boxes the mesh network was trained on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["decode_faces", "merge_faces"]

Floats = npt.NDArray[np.float32]

SIDE: Final = 128
"""Pixels of the sides of the network's input."""


def _anchors() -> Floats:
    """Centres of the 896 anchors, shares of the picture's side: two a cell of 8 pixels, six a cell of 16."""
    parts = []
    for cells, count in ((16, 2), (8, 6)):
        axis = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        parts.append(np.repeat(grid, count, axis=0))
    return np.concatenate(parts).astype(np.float32)


_ANCHORS: Final = _anchors()


def decode_faces(boxes: Floats, scores: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Candidates of one picture from the network's output.

    Args:
        boxes: float32 [896, 16]: centre, size and six points, pixels relative to the anchors.
        scores: float32 [896], logits.
        threshold: Least score, 0 to 1.

    Returns:
        float32 [N, 16]: left, top, right, bottom and six points as shares of the side (eyes first, left one in the
        picture first), and float32 [N], scores from 0 to 1; the highest first.
    """
    scores = (1 / (1 + np.exp(-np.clip(scores, -80, 80)))).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= threshold]
    places = (boxes[order] / SIDE).reshape(-1, 8, 2)
    anchors = _ANCHORS[order]
    centre, half = places[:, 0] + anchors, places[:, 1] / 2
    corners = np.stack([centre - half, centre + half], axis=1)
    points = places[:, 2:] + anchors[:, None]
    return np.concatenate([corners, points], axis=1).reshape(-1, 16), scores[order]


def merge_faces(faces: Floats, scores: Floats, overlap: float) -> tuple[Floats, Floats]:
    """Weighted non-maximum suppression: candidates that overlap the best one become their mean, weighted by score.

    Args:
        faces: float32 [N, 16], from `decode_faces`, the best first.
        scores: float32 [N].
        overlap: Intersection over union above which two candidates are one face.

    Returns:
        float32 [M, 16] and float32 [M], the score of the best candidate of each.
    """
    merged: list[Any] = []
    best: list[Any] = []
    while len(faces):
        low = np.maximum(faces[0, :2], faces[:, :2])
        high = np.minimum(faces[0, 2:4], faces[:, 2:4])
        common = np.clip(high - low, 0, None).prod(-1)
        areas = np.clip(faces[:, 2:4] - faces[:, :2], 0, None).prod(-1)
        same = common > overlap * (areas + areas[0] - common)
        same[0] = True
        merged.append(np.average(faces[same], axis=0, weights=scores[same]))
        best.append(scores[0])
        faces, scores = faces[~same], scores[~same]
    return np.asarray(merged, np.float32).reshape(-1, 16), np.asarray(best, np.float32)
