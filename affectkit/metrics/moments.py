"""Metrics of continuous predictions, from exact sums of their moments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from affectkit.facs import LabelSpace
from affectkit.metrics.base import AMOUNT, GroupedMetric, by_label, register, with_means
from affectkit.metrics.intervals import Tally

__all__ = ["DimensionMetrics", "IntensityMetrics"]


class MomentMetric(GroupedMetric):
    """Base of metrics of pairs of numbers, computed from Σ1, Σx, Σy, Σx², Σy², Σxy and Σ|x − y| per group and label.

    Values are shifted by `middle`, divided by `scale`, rounded to `step` and summed as integers, so the order of
    summation never matters. A subclass sets the attributes.

    Attributes:
        step: Resolution of the scaled values, a power of 2.
        limit: Largest absolute scaled value; squares of larger ones could overflow 64-bit sums.
        powers: Power of `step` in each sum that is kept.
        count: Name of the result that counts the annotated labels.
    """

    step: ClassVar[float]
    limit: ClassVar[float]
    powers: ClassVar[tuple[int, ...]] = (0, 1, 1, 2, 2, 2)
    count: ClassVar[str]
    middle, scale = 0.0, 1.0
    both_reductions = True
    sums: Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        sums = torch.zeros(num_groups, len(self.labels), len(self.powers), dtype=torch.int64)
        self.add_state("sums", sums, dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Add one batch of predictions, values and masks [B, A] or [B, T, A], see `GroupedMetric`."""
        keep, group = self._observed(mask, group, valid, prediction=prediction, value=value)
        label = self._label_of(keep)
        pair = torch.stack([prediction.detach()[keep].float(), value[keep].float()])
        pair = (pair - self.middle) / self.scale
        if not (pair.abs() <= self.limit).all():
            low, high = (self.middle + sign * self.scale * self.limit for sign in (-1, 1))
            raise ValueError(f"values must be in the range {low:g} … {high:g}; NaN, or on another scale?")
        x, y = (pair / self.step).round().long()
        terms = [torch.ones_like(x), x, y, x * x, y * y, x * y, (x - y).abs()][: len(self.powers)]
        self.sums.index_put_((group, label), torch.stack(terms, -1), accumulate=True)

    def _tally(self) -> Tally:
        steps = torch.tensor([self.step**power for power in self.powers], dtype=torch.float64)
        results = partial(self._results, self.labels, self.scale)
        return Tally(self.labels, self.sums.cpu().double() * steps, results, ranges=self.ranges)

    @classmethod
    def _results(
        cls, labels: Sequence[str], scale: float, sums: Tensor, _areas: Tensor | None
    ) -> dict[str, Tensor]:
        """Compute named results [S] from sums [S, A, powers]."""
        n = sums[..., 0]
        named = with_means(cls._per_label(sums, scale), labels, n > 0)
        named[cls.count] = (n > 0).sum(-1).double()
        return named | by_label("annotated", n, labels)

    @staticmethod
    @abstractmethod
    def _per_label(sums: Tensor, scale: float) -> dict[str, Tensor]:
        """Compute results [S, A] by name."""


@register("intensity")
class IntensityMetrics(MomentMetric):
    """ICC(3,1), Pearson correlation and mean absolute error of intensities on the 0–5 scale.

    For two raters the two-way mixed, single-rater consistency ICC reduces to 2 cov(x, y) / (var x + var y). Values are
    rounded to 2⁻¹⁶; annotated entries beyond ±10 are refused.

    Results of `compute`, each a mean over units and `name/AU12` for every unit:

    - `icc31`: ICC(3,1), −1 … 1; NaN if neither prediction nor label varies.
    - `pcc`: Pearson's r; NaN if the label does not vary, 0 if only the prediction does not.
    - `mae`: mean absolute error, on the scale of the labels.
    - `mae_all_zero`: baseline that predicts 0 everywhere; the baseline of `icc31` and `pcc` is 0.
    - `num_units`: units with any annotation; `annotated/AU12`: their rows. Units without have NaN, and NaN is
      left out of every mean.

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

    logged = ("icc31", "pcc", "mae")
    monitor = "icc31"
    errors = frozenset({"mae"})
    baselines: ClassVar = {"icc31": 0.0, "pcc": 0.0, "mae": "mae_all_zero"}
    ranges: ClassVar = {
        **dict.fromkeys(("icc31", "pcc"), (-1.0, 1.0)),
        **dict.fromkeys(("mae", "mae_all_zero", "num_units", "annotated"), AMOUNT),
    }
    step, limit = 2.0**-16, 10.0
    powers = (*MomentMetric.powers, 1)
    count = "num_units"

    @staticmethod
    def _per_label(sums: Tensor, scale: float) -> dict[str, Tensor]:
        var_x, var_y, cov, pcc = _correlation(sums)
        return {
            "icc31": torch.where(var_x + var_y > 0, 2 * cov / (var_x + var_y), torch.nan),
            "pcc": pcc,
            "mae": sums[..., 6] / sums[..., 0],
            "mae_all_zero": sums[..., 2] / sums[..., 0],
        }


@register("dimensions")
class DimensionMetrics(MomentMetric):
    r"""Concordance, Pearson correlation and root mean squared error of continuous values.

    Values are shifted to the middle of their range, divided by half of it and rounded to 2⁻¹⁸; annotated entries
    farther than four half ranges from the middle are refused.

    Results of `compute`, each a mean over dimensions and `name/valence` for every dimension:

    - `ccc`: Lin's concordance :math:`2 \, \mathrm{cov}(x, y) / (\mathrm{var}\,x + \mathrm{var}\,y +
      (\bar x - \bar y)^2)`; NaN if prediction and label are one and the same constant.
    - `pcc`: Pearson's r; NaN if the label does not vary, 0 if only the prediction does not.
    - `rmse`: root mean squared error, on the scale of the labels.
    - `rmse_mean`: baseline that always predicts the mean of the labels, the best constant; the baseline of `ccc` and
      `pcc` is 0.
    - `num_dimensions`: dimensions with any annotation; `annotated/valence`: their rows. Dimensions without have NaN,
      and NaN is left out of every mean.

    Args:
        labels: See `GroupedMetric`.
        num_groups: See `GroupedMetric`.
        value_range: Lowest and highest value of a label.

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
    errors = frozenset({"rmse"})
    baselines: ClassVar = {"ccc": 0.0, "pcc": 0.0, "rmse": "rmse_mean"}
    ranges: ClassVar = {
        **dict.fromkeys(("ccc", "pcc"), (-1.0, 1.0)),
        **dict.fromkeys(("rmse", "rmse_mean", "num_dimensions", "annotated"), AMOUNT),
    }
    step, limit = 2.0**-18, 4.0
    count = "num_dimensions"

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
        self.middle, self.scale = (low + high) / 2, (high - low) / 2

    @classmethod
    def of(cls, space: LabelSpace, num_groups: int, **options: Any) -> Self:
        """Build the metric of dimensions with their range."""
        return cls(space.labels, num_groups, value_range=space.value_range, **options)

    @staticmethod
    def _per_label(sums: Tensor, scale: float) -> dict[str, Tensor]:
        n, x, y, xx, yy, xy = sums.unbind(-1)
        var_x, var_y, cov, pcc = _correlation(sums)
        spread = var_x + var_y + (x - y).square() / n
        return {
            "ccc": torch.where(spread > 0, 2 * cov / spread, torch.nan),
            "pcc": pcc,
            "rmse": scale * ((xx - 2 * xy + yy).clamp(min=0) / n).sqrt(),
            "rmse_mean": scale * (var_y / n).sqrt(),
        }


def _correlation(sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ(x − x̄)², Σ(y − ȳ)², Σ(x − x̄)(y − ȳ) and Pearson's r, each [S, A], from sums [S, A, powers]."""
    n, x, y, xx, yy, xy = sums[..., :6].unbind(-1)
    var_x, var_y, cov = _centred(xx, x, n), _centred(yy, y, n), xy - x * y / n
    r = torch.where(var_x > 0, cov / (var_x * var_y).sqrt(), 0.0)
    return var_x, var_y, cov, r.masked_fill(var_y == 0, torch.nan)


def _centred(raw: Tensor, total: Tensor, n: Tensor) -> Tensor:
    """Σ(a − ā)² from Σa² and Σa; exactly 0 if only rounding is left."""
    squares = raw - total * total / n
    return torch.where(squares > 1e-12 * raw, squares, 0.0)
