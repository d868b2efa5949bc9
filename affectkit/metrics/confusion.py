"""Counts of true against predicted classes, for metrics of one class out of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affectkit.metrics.base import GroupedMetric

__all__ = ["ConfusionMetric"]


class ConfusionMetric(GroupedMetric):
    """A metric of one class out of several, from a confusion matrix a group.

    The class with the highest score is the prediction, the first of equal ones; of a true distribution over the
    classes the likeliest counts in the same way.

    Args:
        labels: Class names.
        num_groups: Number of groups: subjects, or clips where a corpus has no subject ids.

    Raises:
        LabelSpaceError: Empty or doubled labels.
    """

    higher_is_better = True
    counts: Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        classes = len(self.labels)
        self.add_state(
            "counts", torch.zeros(num_groups, classes, classes, dtype=torch.int64), dist_reduce_fx="sum"
        )

    def update(
        self, probs: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Count one batch.

        Args:
            probs: Float [B, E] or [B, T, E]: probabilities or any other scores that grow with them.
            value: Integer [B] or [B, T], the index of the true class; or float [B, E] or [B, T, E], a distribution.
            mask: Bool [B] or [B, T]. What stands where it is false is ignored.
            group: Integer [B], the group of each row.
            valid: Bool [B], false for rows that only pad the batch. None means all true.

        Raises:
            ValueError: Shapes that disagree, a class or group out of range, or NaN among the scores of an
                annotated entry.
        """
        if value.is_floating_point() and value.ndim == mask.ndim + 1:
            value = value.argmax(-1)
        keep, group = self._observed(mask, group, valid, value=value)
        classes = len(self.labels)
        if probs.shape != (*mask.shape, classes):
            raise ValueError(f"probs has the shape {list(probs.shape)}, not {[*mask.shape, classes]}")
        scores, truth = probs.detach()[keep], value[keep].long()
        if scores.isnan().any():
            raise ValueError("the scores of an annotated entry are NaN")
        if ((truth < 0) | (truth >= classes)).any():
            raise ValueError(f"a true class lies outside 0 … {classes - 1}")
        self.counts.index_put_((group, truth, scores.argmax(-1)), torch.ones_like(truth), accumulate=True)

    def confusion(self) -> Tensor:
        """The confusion matrix over all processes, int64 [E, E]: rows are true, columns predicted classes."""
        with self._synced():
            return self.counts.sum(0)
