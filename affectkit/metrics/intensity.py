"""Action-unit intensity: agreement, correlation and error a unit, from exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from affectkit.metrics.base import GroupedMetric, with_means
from affectkit.metrics.intervals import Tally

__all__ = ["IntensityMetrics"]

_STEP = 2.0**-16  # values are rounded to this, so that their sums are exact integers
_LIMIT = 10.0  # squares of larger values could overflow 64-bit sums


class IntensityMetrics(GroupedMetric):
    """ICC(3,1), Pearson correlation and mean absolute error of intensities on the 0–5 scale.

    With x the prediction and y the label, all three follow from Σ1, Σx, Σy, Σx², Σy², Σxy and Σ|x − y|.
    For two raters the two-way mixed, single-rater consistency ICC reduces to 2 cov(x, y) / (var x + var y).
    Values are rounded to 2⁻¹⁶ and summed as integers, so the order of summation never matters.

    Results of `compute`, each a mean over units and `name/AU12` for every unit:

    - `icc31`: ICC(3,1), −1 … 1; NaN where neither prediction nor label varies.
    - `pcc`: Pearson's r; NaN where the label does not vary, 0 where only the prediction does not.
    - `mae`: mean absolute error, on the scale of the labels.
    - `mae_all_zero`: the baseline that predicts 0 everywhere; for `icc31` and `pcc` it is 0.
    - `num_units`: units with any annotation; `annotated/AU12`: their rows. Units without have NaN, and NaN is
      left out of every mean.

    Args:
        labels: Unit names, for example `AUSet.labels`.
        num_groups: Number of groups (subjects) in the data set.

    Raises:
        LabelSpaceError: Empty or doubled labels.

    Example:
        >>> metric = IntensityMetrics(["AU12"], num_groups=1)
        >>> prediction, label = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [5.0]])
        >>> metric.update(prediction, label, torch.ones(3, 1, dtype=torch.bool), torch.zeros(3).long())
        >>> results = metric.compute()
        >>> results["icc31"].item(), results["mae"].item()
        (1.0, 1.0)

    References:
        Shrout and Fleiss, Intraclass correlations: uses in assessing rater reliability, 1979. Tested against
        their analysis of variance.
    """

    sums: Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        zeros = torch.zeros(num_groups, len(self.labels), 7, dtype=torch.int64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Add one batch.

        Args:
            prediction: Float [B, A] or [B, T, A], intensities on the scale 0–5.
            value: Same shape, the labels.
            mask: Bool, same shape. What stands where it is false, NaN included, is ignored.
            group: Integer [B], the group (subject) of each row.
            valid: Bool [B], false for rows that only pad the batch. None means all true.

        Raises:
            ValueError: Shapes that disagree, a group out of range, or an annotated entry that is NaN or
                beyond ±10.
        """
        keep, group = self._observed(mask, group, valid, prediction=prediction, value=value)
        if mask.shape[-1] != len(self.labels):
            raise ValueError(f"prediction has {mask.shape[-1]} units but the metric has {len(self.labels)}")
        unit = torch.arange(len(self.labels), device=keep.device).expand_as(keep)[keep]
        pair = torch.stack([prediction.detach()[keep].float(), value[keep].float()])
        if not (pair.abs() <= _LIMIT).all():
            raise ValueError(f"intensities must lie within ±{_LIMIT:g}; NaN, or not on the scale 0–5?")
        x, y = (pair / _STEP).round().long()
        terms = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y, (x - y).abs()], -1)
        self.sums.index_put_((group, unit), terms, accumulate=True)

    def _tally(self) -> Tally:
        step = torch.tensor([1.0, _STEP, _STEP, _STEP**2, _STEP**2, _STEP**2, _STEP], dtype=torch.float64)
        return Tally(self.labels, self.sums.cpu().double() * step, partial(_results, labels=self.labels))


def _results(sums: Tensor, _areas: Tensor | None, labels: Sequence[str]) -> dict[str, Tensor]:
    """Named results [S] from sums [S, A, 7]."""
    n, x, y, xx, yy, xy, error = sums.unbind(-1)
    var_x, var_y, cov = _squares(xx, x, n), _squares(yy, y, n), xy - x * y / n
    r = torch.where(var_x > 0, cov / (var_x * var_y).sqrt(), 0.0)
    per_unit = {
        "icc31": torch.where(var_x + var_y > 0, 2 * cov / (var_x + var_y), torch.nan),
        "pcc": r.masked_fill(var_y == 0, torch.nan),
        "mae": error / n,
        "mae_all_zero": y / n,
    }
    unseen = n == 0
    named = with_means({name: x.masked_fill(unseen, torch.nan) for name, x in per_unit.items()}, labels)
    named["num_units"] = (~unseen).sum(-1).double()
    return named | {f"annotated/{label}": n[..., i] for i, label in enumerate(labels)}


def _squares(raw: Tensor, total: Tensor, n: Tensor) -> Tensor:
    """Σ(a − ā)² from Σa² and Σa; exactly 0 where only rounding is left."""
    centred = raw - total * total / n
    return torch.where(centred > 1e-12 * raw, centred, 0.0)
