"""Metrics of one class out of several, from confusion matrices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from affectkit.metrics.base import AMOUNT, GroupedMetric, by_label, register, with_means
from affectkit.metrics.intervals import Tally

__all__ = ["ConfusionMetric", "ExpressionMetrics", "LevelMetrics"]


class ConfusionMetric(GroupedMetric):
    """Base of metrics computed from a confusion matrix per group.

    The class with the highest score is the prediction, and the likeliest class of a distribution is the label; the
    first of equal ones.
    """

    higher_is_better = True
    counts: Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        counts = torch.zeros(num_groups, len(self.labels), len(self.labels), dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(
        self, probs: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Count one batch, see `GroupedMetric`.

        Scores are float [B, E] or [B, T, E]: probabilities or anything that grows with them. Values are class indices
        [B] or [B, T], or distributions of the scores' shape. The mask is [B] or [B, T].
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
            raise ValueError(f"a true class is outside 0 … {classes - 1}")
        self.counts.index_put_((group, truth, scores.argmax(-1)), torch.ones_like(truth), accumulate=True)

    def confusion(self) -> Tensor:
        """Return the confusion matrix over all processes, int64 [E, E]: rows are true, columns predicted classes."""
        with self._synced():
            return self.counts.sum(0)

    def _tally(self) -> Tally:
        results = partial(self._results, self.labels)
        return Tally(self.labels, self.counts.cpu().double(), results, ranges=self.ranges)

    @classmethod
    def _results(cls, labels: Sequence[str], confusion: Tensor, _areas: Tensor | None) -> dict[str, Tensor]:
        return cls._named(confusion, labels) | by_label("support", confusion.sum(-1), labels)

    @staticmethod
    @abstractmethod
    def _named(confusion: Tensor, labels: Sequence[str]) -> dict[str, Tensor]:
        """Compute named results [S] from confusion matrices [S, E, E]."""


@register("categories")
class ExpressionMetrics(ConfusionMetric):
    """UAR, WAR and UF1 of exclusive classes, such as expressions.

    Results of `compute`:

    - `uar`: mean recall over the classes present in the truth, and `recall/class` for each.
    - `war`: share of right predictions (accuracy).
    - `uf1`: mean of `f1/class` = 2TP / (2TP + FP + FN) over the classes present in the truth.
    - Baselines `uar_majority`, `war_majority`, `uf1_majority`: always predicting the most frequent class.
      `uar_majority` is also the chance level, 1 / (number of classes present).
    - `num_classes`: classes present in the truth; an absent class has NaN and is left out of the means.
    - `support/class`: rows of each class.

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

    logged = ("uar", "war", "uf1")
    monitor = "uar"
    baselines: ClassVar = {"uar": "uar_majority", "war": "war_majority", "uf1": "uf1_majority"}
    ranges: ClassVar = dict.fromkeys(("num_classes", "support"), AMOUNT)

    @staticmethod
    def _named(confusion: Tensor, labels: Sequence[str]) -> dict[str, Tensor]:
        right, true, predicted = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)
        total, majority = true.sum(-1), true.amax(-1)
        present = true > 0
        named = with_means({"recall": right / true, "f1": 2 * right / (true + predicted)}, labels, present)
        named["uar"], named["uf1"] = named.pop("recall"), named.pop("f1")
        named["war"] = right.sum(-1) / total
        named["num_classes"] = present.sum(-1).double()
        named["uar_majority"] = present.any(-1) / named["num_classes"]
        named["war_majority"] = majority / total
        named["uf1_majority"] = 2 * majority / (majority + total) / named["num_classes"]
        return named


@register("levels")
class LevelMetrics(ConfusionMetric):
    r"""Quadratically weighted kappa, mean absolute error, macro-F1 and accuracies of one of K ordered levels.

    With O the counts of true level i and predicted level j, E the counts expected from their margins alone and
    :math:`d = |i - j|`, results of `compute`:

    - `qwk`: Cohen's kappa with quadratic weights, :math:`1 - \sum d^2 O / \sum d^2 E`; NaN if labels and
      predictions are all one level.
    - `mae`: mean of d, in levels.
    - `acc_adjacent`: share with d of at most 1.
    - `acc`: share of right predictions.
    - `f1_macro`: mean of `f1/level` = 2TP / (2TP + FP + FN) over the levels present in the truth.
    - Baselines `mae_constant`, `acc_adjacent_constant`, `acc_constant`, `f1_macro_constant`: always predicting the one
      level that is best for the result, for accuracy and F1 the most frequent one. The baseline of `qwk` is 0.
    - `num_levels`: levels present in the truth; `support/level`: rows of each level.

    Labels are ordered from the lowest level to the highest.

    Example:
        >>> metric = LevelMetrics(["low", "medium", "high"], num_groups=1)
        >>> scores, truth = torch.eye(3)[[0, 1, 1, 2]], torch.tensor([0, 1, 2, 2])
        >>> metric.update(scores, truth, torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.int64))
        >>> results = metric.compute()
        >>> results["mae"].item(), results["acc_adjacent"].item()
        (0.25, 1.0)

    References:
        J. Cohen, "Weighted kappa", Psychological Bulletin 70, 1968. Tested against scikit-learn's
        `cohen_kappa_score`, `mean_absolute_error` and `f1_score`.
    """

    logged = ("qwk", "mae", "acc_adjacent", "acc", "f1_macro")
    monitor = "qwk"
    errors = frozenset({"mae"})
    baselines: ClassVar = {
        "qwk": 0.0,
        "mae": "mae_constant",
        "acc_adjacent": "acc_adjacent_constant",
        "acc": "acc_constant",
        "f1_macro": "f1_macro_constant",
    }
    ranges: ClassVar = {
        "qwk": (-1.0, 1.0),
        **dict.fromkeys(("mae", "mae_constant", "num_levels", "support"), AMOUNT),
    }

    @staticmethod
    def _named(confusion: Tensor, labels: Sequence[str]) -> dict[str, Tensor]:
        true, predicted = confusion.sum(-1), confusion.sum(-2)
        total = true.sum(-1)
        level = torch.arange(confusion.shape[-1], dtype=confusion.dtype)
        distance = (level[:, None] - level).abs()
        costs = {"mae": distance, "acc_adjacent": (distance <= 1).double(), "acc": (distance == 0).double()}
        expected = true.unsqueeze(-1) * predicted.unsqueeze(-2)
        weights = distance.square()
        named = {"qwk": 1 - total * (weights * confusion).sum((-2, -1)) / (weights * expected).sum((-2, -1))}
        named |= {name: (cost * confusion).sum((-2, -1)) / total for name, cost in costs.items()}
        for name, cost in costs.items():
            constant = true @ cost / total.unsqueeze(-1)  # [S, K], of always predicting one level
            named[f"{name}_constant"] = constant.amin(-1) if name == "mae" else constant.amax(-1)
        right = confusion.diagonal(dim1=-2, dim2=-1)
        named |= with_means({"f1": 2 * right / (true + predicted)}, labels, true > 0)
        named["f1_macro"] = named.pop("f1")
        named["num_levels"] = (true > 0).sum(-1).double()
        named["f1_macro_constant"] = 2 * true.amax(-1) / (true.amax(-1) + total) / named["num_levels"]
        return named
