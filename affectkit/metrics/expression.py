"""Expression classification: recalls, accuracy and F1 from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from affectkit.metrics.base import GroupedMetric, with_means
from affectkit.metrics.intervals import Tally

__all__ = ["ExpressionMetrics"]


class ExpressionMetrics(GroupedMetric):
    """UAR, WAR and UF1 of one class out of several, from a confusion matrix a group.

    The class with the highest score is the prediction, the first of equal ones. Results of `compute`:

    - `uar`: mean recall over the classes present in the truth, and `recall/class` for each.
    - `war`: the share of right predictions (accuracy).
    - `uf1`: mean of `f1/class` = 2TP / (2TP + FP + FN) over the classes present in the truth.
    - Baselines `uar_majority`, `war_majority`, `uf1_majority`: always predicting the commonest class.
      `uar_majority` is also the chance level, 1 / (number of classes present).
    - `num_classes`: classes present in the truth; an absent class has NaN and is left out of the means.
    - `support/class`: the rows of each class.

    Args:
        labels: Class names, for example `ExpressionSet.labels`.
        num_groups: Number of groups: subjects, or clips where a corpus has no subject ids.

    Raises:
        LabelSpaceError: Empty or doubled labels.

    Example:
        >>> metric = ExpressionMetrics(["happiness", "sadness"], num_groups=1)
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> truth = torch.tensor([0, 1, 1])
        >>> metric.update(scores, truth, torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64))
        >>> metric.compute()["uar"].item()
        0.75

    References:
        Tested against scikit-learn's `recall_score`, `accuracy_score`, `f1_score` and `confusion_matrix`.
        See et al., MEGC 2019 – the Second Facial Micro-Expressions Grand Challenge, FG 2019 (UF1 and UAR).
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
            value: Integer [B] or [B, T], the index of the true class.
            mask: Bool, the shape of `value`. What stands where it is false is ignored.
            group: Integer [B], the group of each row.
            valid: Bool [B], false for rows that only pad the batch. None means all true.

        Raises:
            ValueError: Shapes that disagree, a class or group out of range, or NaN among the scores of an
                annotated entry.
        """
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

    def _tally(self) -> Tally:
        return Tally(self.labels, self.counts.cpu().double(), partial(_results, labels=self.labels))


def _results(confusion: Tensor, _areas: Tensor | None, labels: Sequence[str]) -> dict[str, Tensor]:
    """Named results [S] from confusion matrices [S, E, E]."""
    right, true, predicted = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)
    total, majority = true.sum(-1), true.amax(-1)
    present = true > 0
    per_class = {"recall": right / true, "f1": 2 * right / (true + predicted)}
    named = with_means({k: v.masked_fill(~present, torch.nan) for k, v in per_class.items()}, labels)
    named["uar"], named["uf1"] = named.pop("recall"), named.pop("f1")
    named["war"] = right.sum(-1) / total
    named["num_classes"] = present.sum(-1).double()
    named["uar_majority"] = present.any(-1) / named["num_classes"]
    named["war_majority"] = majority / total
    named["uf1_majority"] = 2 * majority / (majority + total) / named["num_classes"]
    return named | {f"support/{label}": true[..., i] for i, label in enumerate(labels)}
