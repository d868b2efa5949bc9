"""Continuous dimensions: agreement, correlation and error a dimension, from exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from affectkit.facs import LabelSpace
from affectkit.metrics.base import AMOUNT, GroupedMetric, with_means
from affectkit.metrics.intensity import centred
from affectkit.metrics.intervals import Tally
from affectkit.metrics.registry import register

__all__ = ["DimensionMetrics"]

_STEP = 2.0**-18  # of half the range; values are rounded to this, so that their sums are exact integers
_LIMIT = 4.0  # half ranges; squares of larger values could overflow 64-bit sums


@register("dimensions")
class DimensionMetrics(GroupedMetric):
    r"""Concordance, Pearson correlation and root mean squared error of continuous values.

    With x the prediction and y the label, all three follow from Σ1, Σx, Σy, Σx², Σy² and Σxy. Values are shifted to
    the middle of the range, divided by half of it, rounded to 2⁻¹⁸ and summed as integers, so the order of summation
    never matters.

    Results of `compute`, each a mean over dimensions and `name/valence` for every dimension:

    - `ccc`: Lin's concordance :math:`2 \, \mathrm{cov}(x, y) / (\mathrm{var}\,x + \mathrm{var}\,y +
      (\bar x - \bar y)^2)`; NaN where prediction and label are one and the same constant.
    - `pcc`: Pearson's r; NaN where the label does not vary, 0 where only the prediction does not.
    - `rmse`: root mean squared error, on the scale of the labels.
    - `rmse_mean`: the baseline that always predicts the mean of the labels, the best constant; for `ccc` and `pcc`
      it is 0.
    - `num_dimensions`: dimensions with any annotation; `annotated/valence`: their rows. Dimensions without have NaN,
      and NaN is left out of every mean.

    Args:
        labels: Names of the dimensions, for example `Dimensions.labels`.
        num_groups: Number of groups: subjects, or clips where a corpus has no subject ids.
        value_range: The least and the largest value of a label.

    Raises:
        LabelSpaceError: Empty or doubled labels.

    Example:
        >>> metric = DimensionMetrics(["valence"], num_groups=1)
        >>> prediction, label = torch.tensor([[0.0], [0.5], [1.0]]), torch.tensor([[-0.5], [0.0], [0.5]])
        >>> metric.update(prediction, label, torch.ones(3, 1, dtype=torch.bool), torch.zeros(3).long())
        >>> results = metric.compute()
        >>> results["ccc"].item(), results["pcc"].item(), results["rmse"].item()
        (0.5714285714285714, 1.0, 0.5)

    References:
        L. I. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989. Tested
        against its definition and `scipy.stats.pearsonr`.
    """

    logged = ("ccc", "pcc", "rmse")
    monitor = "ccc"
    baselines: ClassVar = {"ccc": 0.0, "pcc": 0.0, "rmse": "rmse_mean"}
    ranges: ClassVar = {
        **dict.fromkeys(("ccc", "pcc"), (-1.0, 1.0)),
        **dict.fromkeys(("rmse", "rmse_mean", "num_dimensions", "annotated"), AMOUNT),
    }
    both_reductions = True
    sums: Tensor

    def __init__(
        self,
        labels: Sequence[str],
        num_groups: int,
        *,
        value_range: tuple[float, float] = (-1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(labels, num_groups, **kwargs)
        low, high = value_range
        self.middle, self.reach = (low + high) / 2, (high - low) / 2
        zeros = torch.zeros(num_groups, len(self.labels), 6, dtype=torch.int64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    @classmethod
    def of(cls, space: LabelSpace, num_groups: int, **kwargs: Any) -> Self:
        """The metric of a label space.

        Args:
            space: The dimensions with their range.
            num_groups: Number of groups.
            kwargs: As for `torchmetrics.Metric`.
        """
        return cls(space.labels, num_groups, value_range=space.value_range, **kwargs)

    def update(
        self, prediction: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Add one batch.

        Args:
            prediction: Float [B, D] or [B, T, D], on the scale of the labels.
            value: Same shape, the labels.
            mask: Bool, same shape. What stands where it is false, NaN included, is ignored.
            group: Integer [B], the group of each row.
            valid: Bool [B], false for rows that only pad the batch. None means all true.

        Raises:
            ValueError: Shapes that disagree, a group out of range, or an annotated entry that is NaN or far beyond
                the range.
        """
        keep, group = self._observed(mask, group, valid, prediction=prediction, value=value)
        if mask.shape[-1] != len(self.labels):
            raise ValueError(
                f"prediction has {mask.shape[-1]} dimensions but the metric has {len(self.labels)}"
            )
        dimension = torch.arange(len(self.labels), device=keep.device).expand_as(keep)[keep]
        pair = torch.stack([prediction.detach()[keep].float(), value[keep].float()])
        pair = (pair - self.middle) / self.reach
        if not (pair.abs() <= _LIMIT).all():
            raise ValueError("values must lie near the range of the labels; NaN, or on another scale?")
        x, y = (pair / _STEP).round().long()
        terms = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], -1)
        self.sums.index_put_((group, dimension), terms, accumulate=True)

    def _tally(self) -> Tally:
        step = torch.tensor([1.0, _STEP, _STEP, _STEP**2, _STEP**2, _STEP**2], dtype=torch.float64)
        results = partial(_results, labels=self.labels, scale=self.reach)
        return Tally(self.labels, self.sums.cpu().double() * step, results, ranges=self.ranges)


def _results(sums: Tensor, _areas: Tensor | None, labels: Sequence[str], scale: float) -> dict[str, Tensor]:
    """Named results [S] from sums [S, D, 6] of values in half ranges; `scale` is half of the range."""
    n, x, y, xx, yy, xy = sums.unbind(-1)
    var_x, var_y, cov = centred(xx, x, n), centred(yy, y, n), xy - x * y / n
    apart = (x - y).square() / n
    r = torch.where(var_x > 0, cov / (var_x * var_y).sqrt(), 0.0)
    spread = var_x + var_y + apart
    per_dimension = {
        "ccc": torch.where(spread > 0, 2 * cov / spread, torch.nan),
        "pcc": r.masked_fill(var_y == 0, torch.nan),
        "rmse": scale * ((xx - 2 * xy + yy).clamp(min=0) / n).sqrt(),
        "rmse_mean": scale * (var_y / n).sqrt(),
    }
    unseen = n == 0
    named = with_means({name: x.masked_fill(unseen, torch.nan) for name, x in per_dimension.items()}, labels)
    named["num_dimensions"] = (~unseen).sum(-1).double()
    return named | {f"annotated/{label}": n[..., i] for i, label in enumerate(labels)}
