"""F1, AUC and accuracy of action-unit occurrence, exact for any threshold and any scale of the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.metrics.base import AMOUNT, ThresholdedMetric, Thresholds, by_label, register, with_means
from affectkit.metrics.intervals import Tally
from affectkit.metrics.ranking import Ranking

__all__ = ["AUMetrics"]


@register("occurrence")
class AUMetrics(ThresholdedMetric):
    """F1, AUC and accuracy of action units, unit by unit and as means over units.

    Each logit is kept in float32 with its label, unit and group, in 8 bytes, so results are exact for any scale of the
    outputs. A unit is predicted if its probability σ(z), rounded to float32, is at least the threshold. The AUC,
    P(z⁺ > z⁻) + ½ P(z⁺ = z⁻), ranks the logits, which do not saturate.

    Memory grows only with the annotated labels: 14 MB for BP4D's 147,000 frames and 12 units, 1 GB for 10 million
    frames of 12 units. Each of several processes gathers all labels while it computes. Intervals briefly need about 16
    times as much on the CPU.

    Results of `compute`, each a mean over units and `name/AU12` for every unit:

    - `f1_pos`: 2TP / (2TP + FP + FN); 0 for a unit without positives (see its support).
    - `f1_macro2`: mean of `f1_pos` and the same with the classes exchanged.
    - `auc`: area under the ROC curve; NaN, and not in the mean, for a unit with only one class.
    - `acc`: (TP + TN) / all.
    - Baselines: `f1_all_positive` (every row predicted positive), `f1_macro2_majority` and `acc_majority`
      (every row predicted as the unit's more frequent class).
    - `num_units`: units with any annotation. The others have NaN and are left out of every mean.
    - `support/AU12` and `annotated/AU12`: the unit's positives and its annotated rows.

    Example:
        >>> metric = AUMetrics(["AU1", "AU12"], num_groups=2)
        >>> logits = torch.tensor([[2.0, -1.5], [0.0, 0.8]])
        >>> value = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> metric.update(logits, value, mask, group=torch.tensor([0, 1]))
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
    ranges: ClassVar = dict.fromkeys(("num_units", "support", "annotated"), AMOUNT)
    higher_is_better = True
    entries: list[Tensor] | Tensor

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        super().__init__(labels, num_groups, **kwargs)
        # Int64 [n] a batch: the bits of the float32 logit above, (group · units + unit) · 2 + label below.
        self.add_state("entries", [], dist_reduce_fx="cat")

    def update(
        self, logits: Tensor, value: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None
    ) -> None:
        """Keep one batch of logits, values and masks [B, A] or [B, T, A], see `GroupedMetric`.

        Logits may be infinite. Values of at least 0.5 are positive, so soft labels count by their likelier class.
        """
        keep, group = self._observed(mask, group, valid, logits=logits, value=value)
        unit = self._label_of(keep)
        z = logits.detach()[keep].float()
        if z.isnan().any():
            raise ValueError("the logit of an annotated entry is NaN")
        place = (group * len(self.labels) + unit) * 2 + (value[keep] >= 0.5)
        bits = (z + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
        if isinstance(self.entries, Tensor):  # loaded from a state dict
            self.entries = [self.entries]
        self.entries.append((bits << 32) | place)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Concatenate the batches, so that a process without any gives an empty tensor, and gather all processes."""
        self.entries = [self._joined()]
        super().sync(*args, **kwargs)

    def best_thresholds(self) -> dict[str, float]:
        """Find the threshold of each unit, by label, that maximises its F1 on the data seen so far.

        Candidates are 0.5 and the middle of two neighbouring probabilities; of equally good ones the nearest to 0.5
        wins. A unit without positives gets 0.5. Thresholds fitted on validation data follow the rule "val"; those
        fitted on the test data are an "oracle", an upper bound that must be labelled so.
        """
        with self._synced():
            ranking = self._ranking()
        p, positive = _probability(ranking.score), ranking.place % 2
        of_unit = [ranking.place // 2 % len(self.labels) == i for i in range(len(self.labels))]
        thresholds = [_best_threshold(p[rows], positive[rows]) for rows in of_unit]
        return dict(zip(self.labels, thresholds, strict=True))

    def _joined(self) -> Tensor:
        if isinstance(self.entries, Tensor):  # gathered or loaded
            return self.entries
        return torch.cat([torch.empty(0, dtype=torch.int64, device=self.device), *self.entries])

    def _ranking(self) -> Ranking:
        entries = self._joined().cpu()
        score = (entries >> 32).int().view(torch.float32)
        return Ranking(score, entries & 0xFFFFFFFF, self.num_groups, len(self.labels))

    def _tally(self, thresholds: Thresholds = 0.5) -> Tally:
        ranking, units = self._ranking(), len(self.labels)
        found = _probability(ranking.score) >= self._by_unit(thresholds)[ranking.place // 2 % units]
        counts = torch.bincount(2 * ranking.place + found, minlength=4 * units * self.num_groups)
        sums = counts.view(self.num_groups, units, 4).double()  # TN, FP, FN, TP
        return Tally(self.labels, sums, partial(_results, labels=self.labels), ranking, self.ranges)

    def _by_unit(self, thresholds: Thresholds) -> Tensor:
        """Thresholds as float32 [A]."""
        if isinstance(thresholds, Mapping):
            if set(thresholds) != set(self.labels):
                raise LabelSpaceError(
                    f"Thresholds are for {sorted(thresholds)} but the metric has {sorted(self.labels)}."
                )
            thresholds = [thresholds[label] for label in self.labels]
        given = torch.as_tensor(thresholds, dtype=torch.float32)
        if given.ndim and given.shape != (len(self.labels),):
            raise LabelSpaceError(f"There are {len(given)} thresholds for {len(self.labels)} units.")
        if not ((given >= 0) & (given <= 1)).all():
            raise ConfigError(f"Thresholds must be in 0–1, not {thresholds}.")
        return given.expand(len(self.labels))


def _probability(logits: Tensor) -> Tensor:
    """σ(z) rounded to float32 once, so that it does not depend on the place of z in a tensor."""
    return logits.double().sigmoid().float()


def _best_threshold(p: Tensor, positive: Tensor) -> float:
    """Find the threshold with the best F1 from probabilities float32 [N] and labels int64 [N]."""
    packed = torch.from_numpy(np.sort((p.view(torch.int32).long() * 2 + positive).numpy()))
    bits, counts = (packed // 2).unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
    values, before = bits.int().view(torch.float32), counts.cumsum(0) - counts
    hits = (packed % 2).sum() - torch.cat([torch.zeros(1, dtype=torch.int64), (packed % 2).cumsum(0)])[before]
    f1 = _ratio(2 * hits.double(), (len(packed) - before + positive.sum()).double())
    lower = torch.cat([torch.zeros(1), values[:-1]])[: len(values)]
    cut = ((lower.double() + values.double()) / 2).float()
    cut = torch.where(cut > lower, cut, values)
    half = torch.tensor([0.5])
    f1_at_half = torch.cat([f1, torch.zeros(1)])[torch.searchsorted(values, half)]
    cut, f1 = torch.cat([half, cut]), torch.cat([f1_at_half, f1])
    return float(cut[torch.where(f1 == f1.max(), (cut - 0.5).abs(), torch.inf).argmin()])


def _results(sums: Tensor, areas: Tensor | None, labels: Sequence[str]) -> dict[str, Tensor]:
    """Compute named results [S] from confusion matrices [S, A, 4] and areas [S, A]."""
    tn, fp, fn, tp = sums.unbind(-1)
    positives, negatives = tp + fn, tn + fp
    annotated = positives + negatives
    majority = torch.maximum(positives, negatives)
    f1_pos, f1_neg = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)
    per_unit = {
        "f1_pos": f1_pos,
        "f1_macro2": (f1_pos + f1_neg) / 2,
        "auc": cast(Tensor, areas),
        "acc": _ratio(tp + tn, annotated),
        "f1_all_positive": _ratio(2 * positives, positives + annotated),
        "f1_macro2_majority": _ratio(majority, majority + annotated),
        "acc_majority": _ratio(majority, annotated),
    }
    named = with_means(per_unit, labels, annotated > 0)
    named["num_units"] = (annotated > 0).sum(-1).double()
    return named | by_label("support", positives, labels) | by_label("annotated", annotated, labels)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient; 0 if the denominator is 0."""
    return numerator / denominator.clamp(min=1)
