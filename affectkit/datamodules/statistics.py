"""How often labels occur in a dataset, counted without decoding a frame."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.datasets import AffectDataset
from affectkit.facs import label_space

__all__ = ["count_labels"]


def count_labels(dataset: AffectDataset, target: str, space: str) -> tuple[Tensor, Tensor] | None:
    """Count positives and annotations of every label.

    Args:
        dataset: The corpus part to count.
        target: Name of a target of action units, such as `au`.
        space: Name of the label space in which to count.

    Returns:
        float64 `[A]` each: the number of positives (labels of at least 0.5) and of annotated labels, over clips or,
        where labels are given by frame, over frames. None where the corpus has no such target of action units.
    """
    if target not in dataset.spaces or label_space(space).kind == "multiclass":
        return None
    positives, annotated = torch.zeros(2, 1, dtype=torch.float64)
    for record in dataset.clips:
        stop = record.stop or record.num_frames or record.start + 1
        labels = dataset.labels(record, range(record.start, stop))[target].project(space)
        rows = labels.value.reshape(-1, labels.value.shape[-1])
        positives = positives + (rows >= 0.5).double().sum(0)
        annotated = annotated + labels.mask.reshape(rows.shape).double().sum(0)
    return positives, annotated
