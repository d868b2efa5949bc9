"""Ordered levels: weighted agreement and distance, from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from affectkit.metrics.base import AMOUNT
from affectkit.metrics.confusion import ConfusionMetric
from affectkit.metrics.intervals import Tally
from affectkit.metrics.registry import register

__all__ = ["LevelMetrics"]


@register("levels")
class LevelMetrics(ConfusionMetric):
    r"""Quadratically weighted kappa, mean absolute error and accuracies of one of K ordered levels.

    The likeliest level is the prediction. With O the counts of true level i and predicted level j, E the counts to be
    expected from their margins alone and :math:`d = |i - j|`, results of `compute`:

    - `qwk`: Cohen's kappa with quadratic weights, :math:`1 - \sum d^2 O / \sum d^2 E`; NaN where labels and
      predictions are all one level.
    - `mae`: mean of d, in levels.
    - `acc_adjacent`: share with d of at most 1.
    - `acc`: share of right predictions.
    - Baselines `mae_constant`, `acc_adjacent_constant`, `acc_constant`: always predicting the one level that is best
      for the number. For `qwk` it is 0.
    - `num_levels`: levels present in the truth; `support/level`: the rows of each level.

    Args:
        labels: Level names from the lowest to the highest, for example `Levels.labels`.
        num_groups: Number of groups: subjects, or clips where a corpus has no subject ids.

    Raises:
        LabelSpaceError: Empty or doubled labels.

    Example:
        >>> metric = LevelMetrics(["low", "medium", "high"], num_groups=1)
        >>> scores, truth = torch.eye(3)[[0, 1, 1, 2]], torch.tensor([0, 1, 2, 2])
        >>> metric.update(scores, truth, torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.int64))
        >>> results = metric.compute()
        >>> results["mae"].item(), results["acc_adjacent"].item()
        (0.25, 1.0)

    References:
        J. Cohen, "Weighted kappa", Psychological Bulletin 70, 1968. Tested against scikit-learn's
        `cohen_kappa_score` and `mean_absolute_error`.
    """

    logged = ("qwk", "mae", "acc_adjacent")
    monitor = "qwk"
    baselines: ClassVar = {
        "qwk": 0.0,
        "mae": "mae_constant",
        "acc_adjacent": "acc_adjacent_constant",
        "acc": "acc_constant",
    }
    ranges: ClassVar = {
        "qwk": (-1.0, 1.0),
        **dict.fromkeys(("mae", "mae_constant", "num_levels", "support"), AMOUNT),
    }

    def _tally(self) -> Tally:
        results = partial(_results, labels=self.labels)
        return Tally(self.labels, self.counts.cpu().double(), results, ranges=self.ranges)


def _results(confusion: Tensor, _areas: Tensor | None, labels: Sequence[str]) -> dict[str, Tensor]:
    """Named results [S] from confusion matrices [S, K, K]."""
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    total = true.sum(-1)
    level = torch.arange(len(labels), dtype=confusion.dtype)
    distance = (level[:, None] - level).abs()
    costs = {"mae": distance, "acc_adjacent": (distance <= 1).double(), "acc": (distance == 0).double()}
    expected = true.unsqueeze(-1) * predicted.unsqueeze(-2)
    weights = distance.square()
    named = {"qwk": 1 - total * (weights * confusion).sum((-2, -1)) / (weights * expected).sum((-2, -1))}
    named |= {name: (cost * confusion).sum((-2, -1)) / total for name, cost in costs.items()}
    for name, cost in costs.items():
        constant = true @ cost / total.unsqueeze(-1)  # [S, K], of always predicting one level
        named[f"{name}_constant"] = constant.amin(-1) if name == "mae" else constant.amax(-1)
    named["num_levels"] = (true > 0).sum(-1).double()
    return named | {f"support/{label}": true[..., i] for i, label in enumerate(labels)}
