"""Action-unit occurrence: F1, AUC and accuracy a unit, from histograms of the probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.metrics.base import ThresholdedMetric, Thresholds, with_means
from affectkit.metrics.bootstrap import Tally
from affectkit.metrics.registry import register

__all__ = ["AUMetrics"]

_TAIL = torch.linspace(
    5, 12, 29, dtype=torch.float64
).sigmoid()  # cells for confident models, in steps of 1/4
_FINE_CELLS, _FINE_LIMIT = 4096, 16.0  # logits -16 … 16 in steps of 1/128


@register("occurrence")
class AUMetrics(ThresholdedMetric):
    """F1, AUC and accuracy of action-unit probabilities, unit by unit and as means over units.

    Probabilities are counted in histograms, one for each group, unit and true class, whose cells begin at
    k / `bins`. Every threshold k / `bins` then gives exact counts TP, FP, FN, TN; a probability equal to the
    threshold is positive, compared in the precision of the probabilities. The AUC, P(s⁺ > s⁻) + ½ P(s⁺ = s⁻),
    comes from a finer histogram over logits.

    Results of `compute`, each a mean over units and `name/AU12` for every unit:

    - `f1_pos`: 2TP / (2TP + FP + FN); 0 where a unit has no positive (see its support).
    - `f1_macro2`: mean of `f1_pos` and the same with the classes exchanged.
    - `auc`: within 1e-3 of the exact area; NaN, and out of the mean, where a unit shows only one class.
    - `acc`: (TP + TN) / all.
    - Baselines: `f1_all_positive` (every row predicted positive), `f1_macro2_majority` and `acc_majority`
      (every row predicted as the unit's commoner class).
    - `num_units`: units that were annotated at all. The others have NaN and are left out of every mean.
    - `support/AU12` and `annotated/AU12`: the unit's positives and its annotated rows.

    Args:
        labels: Unit names, for example `AUSet.labels`.
        num_groups: Number of groups (subjects) in the data set.
        bins: Thresholds are multiples of 1 / `bins`.

    Raises:
        LabelSpaceError: Empty or doubled labels.

    Example:
        >>> metric = AUMetrics(["AU1", "AU12"], num_groups=2)
        >>> probs = torch.tensor([[0.9, 0.2], [0.5, 0.7]])
        >>> value = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> metric.update(probs, value, mask, group=torch.tensor([0, 1]))
        >>> metric.compute()["f1_pos/AU1"].item()
        1.0

    References:
        Tested against scikit-learn's `f1_score`, `roc_auc_score` and `accuracy_score`.
    """

    logged = ("f1_pos", "f1_macro2", "auc", "acc", "f1_all_positive")
    monitor = "f1_pos"
    baselines: ClassVar = {
        "f1_pos": "f1_all_positive",
        "f1_macro2": "f1_macro2_majority",
        "auc": 0.5,
        "acc": "acc_majority",
    }
    thresholded = frozenset({"f1_pos", "f1_macro2", "acc"})
    higher_is_better = True
    histogram: Tensor
    fine: Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, *, bins: int = 100, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        if bins < 2:
            raise ValueError(f"bins must be at least 2, not {bins}")
        self.bins = bins
        grid = torch.arange(1, bins + 1, dtype=torch.float64) / bins
        tail = _TAIL[_TAIL.gt(1 - 1 / bins)]
        self._edges = torch.cat([(1 - tail).flip(0), grid[:-1], tail, grid[-1:]])
        # The first cell at or above each threshold k / bins, for k = 0 … bins.
        self._first_cell = torch.cat([torch.zeros(1), torch.searchsorted(self._edges, grid) + 1]).long()
        units, cells = len(self.labels), len(self._edges) + 1
        zeros = partial(torch.zeros, dtype=torch.int64)
        self.add_state("histogram", zeros(num_groups, units, cells, 2), dist_reduce_fx="sum")
        self.add_state("fine", zeros(units, _FINE_CELLS, 2), dist_reduce_fx="sum")

    def update(
        self, probs: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Count one batch.

        Args:
            probs: Float [B, A] or [B, T, A] in 0–1.
            value: Same shape; at least 0.5 is positive, so soft labels count by their likelier class.
            mask: Bool, same shape. What `probs` and `value` hold where it is false, NaN included, is ignored.
            group: Integer [B], the group (subject) of each row.
            valid: Bool [B], false for rows that only pad the batch. None means all true.

        Raises:
            ValueError: Shapes that disagree, a group out of range, or an annotated entry whose probability is
                NaN or outside 0–1.
        """
        keep, group = self._observed(mask, group, valid, probs=probs, value=value)
        if mask.shape[-1] != len(self.labels):
            raise ValueError(f"probs has {mask.shape[-1]} units but the metric has {len(self.labels)}")
        unit = torch.arange(len(self.labels), device=keep.device).expand_as(keep)[keep]
        positive = (value[keep] >= 0.5).long()
        p = probs.detach()[keep]
        p = p if p.dtype == torch.float64 else p.float()
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError("probabilities must lie in 0–1; NaN, or logits instead of probabilities?")
        cell = torch.bucketize(p, self._edges.to(p), right=True)
        fine = ((p.float().logit() + _FINE_LIMIT) * (_FINE_CELLS / (2 * _FINE_LIMIT))).floor()
        fine_cell = fine.clamp(0, _FINE_CELLS - 1).long()
        one = torch.ones_like(unit)
        self.histogram.index_put_((group, unit, cell, positive), one, accumulate=True)
        self.fine.index_put_((unit, fine_cell, positive), one, accumulate=True)

    def compute(self, thresholds: Thresholds = 0.5) -> dict[str, Tensor]:
        """All results by name.

        Args:
            thresholds: One threshold for all units, one a unit in label order, or by label; multiples of
                1 / `bins`.

        Returns:
            Float64 scalars; the class lists the names.

        Raises:
            ConfigError: A threshold that is not a multiple of 1 / `bins` in 0–1.
            LabelSpaceError: Thresholds for other units than the metric's.
        """
        return self._named(self._tally(thresholds))

    def tally(self, thresholds: Thresholds = 0.5) -> Tally:
        """The sums of every group over all processes, ready for `estimate`, `pooled` and `mean_of_folds`.

        Where several processes evaluate, all of them must call it.

        Args:
            thresholds: As for `compute`.
        """
        with self._synced():
            return self._tally(thresholds)

    def best_thresholds(self) -> dict[str, float]:
        """The threshold of each unit, by label, that maximises its F1 on the data seen so far.

        Of several equally good thresholds the one nearest to 0.5 is taken; a unit without positives gets 0.5.
        Fitted on validation data and applied to test data, this is the rule "val"; fitted on the test data
        themselves it is "oracle", an upper bound that must be labelled so wherever it is shown.
        """
        with self._synced():
            counts = self.histogram.sum(0).cpu()
        above = counts.flip(1).cumsum(1).flip(1)[:, self._first_cell[1 : self.bins]]  # [A, bins - 1, 2]
        tp, fp, positives = above[..., 1], above[..., 0], counts[..., 1].sum(1, keepdim=True)
        f1 = _ratio(2 * tp.double(), (tp + fp + positives).double())
        grid = torch.arange(1, self.bins, dtype=torch.float64) / self.bins
        distance = (grid - 0.5).abs()
        best = torch.where(f1 == f1.amax(1, keepdim=True), distance, torch.inf).argmin(1)
        return dict(zip(self.labels, grid[best].tolist(), strict=True))

    def _tally(self, thresholds: Thresholds = 0.5) -> Tally:
        histogram = self.histogram.cpu().double()
        above = torch.arange(histogram.shape[2]) >= self._cells_of(thresholds)[:, None]  # [A, cells]
        predicted = torch.stack([~above, above], -1).double()
        confusion = torch.einsum("gact,acp->gatp", histogram, predicted)
        sums = torch.cat([confusion.flatten(2), histogram.flatten(2)], -1)
        return Tally(self.labels, sums, partial(_results, labels=self.labels), self.fine.cpu().double())

    def _cells_of(self, thresholds: Thresholds) -> Tensor:
        """The first positive cell of each unit, int64 [A]."""
        if isinstance(thresholds, Mapping):
            if set(thresholds) != set(self.labels):
                raise LabelSpaceError(
                    f"Thresholds are given for {sorted(thresholds)} but the metric has {sorted(self.labels)}."
                )
            thresholds = [thresholds[label] for label in self.labels]
        steps = torch.as_tensor(thresholds, dtype=torch.float64) * self.bins
        if steps.ndim and steps.shape != (len(self.labels),):
            raise LabelSpaceError(f"{len(steps)} thresholds are given for {len(self.labels)} units.")
        rounded = steps.round()
        # The tolerance lets thresholds pass that went through float32, as in a saved model.
        if not ((steps - rounded).abs() < 1e-4).all() or ((rounded < 0) | (rounded > self.bins)).any():
            raise ConfigError(f"Thresholds must be multiples of 1/{self.bins} in 0–1, not {thresholds}.")
        return self._first_cell[rounded.long()].expand(len(self.labels))


def _results(sums: Tensor, fine: Tensor | None, labels: Sequence[str]) -> dict[str, Tensor]:
    """Named results [S] from sums [S, A, 4 + 2 cells]: the confusion matrix, then the histogram."""
    tn, fp, fn, tp = sums[..., :4].unbind(-1)
    positives, negatives = tp + fn, tn + fp
    annotated = positives + negatives
    majority = torch.maximum(positives, negatives)
    auc = _auc(
        sums[..., 4:].reshape(*sums.shape[:2], -1, 2) if fine is None else fine.expand(len(sums), -1, -1, -1)
    )
    f1_pos, f1_neg = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)
    per_unit = {
        "f1_pos": f1_pos,
        "f1_macro2": (f1_pos + f1_neg) / 2,
        "auc": auc,
        "acc": _ratio(tp + tn, annotated),
        "f1_all_positive": _ratio(2 * positives, positives + annotated),
        "f1_macro2_majority": _ratio(majority, majority + annotated),
        "acc_majority": _ratio(majority, annotated),
    }
    unseen = annotated == 0
    named = with_means({name: x.masked_fill(unseen, torch.nan) for name, x in per_unit.items()}, labels)
    named["num_units"] = (~unseen).sum(-1).double()
    for i, label in enumerate(labels):
        named[f"support/{label}"] = positives[..., i]
        named[f"annotated/{label}"] = annotated[..., i]
    return named


def _auc(histogram: Tensor) -> Tensor:
    """Area under the ROC curve [...] from counts [..., cells, 2]; NaN where a class is absent."""
    negative, positive = histogram.unbind(-1)
    below = negative.cumsum(-1) - negative / 2
    return (positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    return numerator / denominator.clamp(min=1)
