"""Temperatures and thresholds of a model's heads, fitted on validation subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.metrics import (
    ThresholdedMetric,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    metric_of,
)
from affectkit.models import AffectModel, Head
from affectkit.tasks.base import model_inputs
from affectkit.tasks.evaluation import align_levels

__all__ = ["LabelledLogits", "calibrate", "collect_logits", "measure"]


@dataclass(frozen=True, slots=True)
class LabelledLogits:
    """Logits of one head with the labels of the same entries.

    Args:
        logits: float32 [N, ...].
        value: [N, A], or [N] for classes.
        mask: bool, the shape of `value`, True for annotated entries.
    """

    logits: Tensor
    value: Tensor
    mask: Tensor

    def evidence(self, head: Head) -> tuple[Tensor, Tensor] | None:
        """Return the annotated logits and truth for `affectkit.metrics.log_loss`, see `Head.evidence`."""
        return head.evidence(self.logits[self.mask], self.value[self.mask])


@torch.inference_mode()
def collect_logits(model: AffectModel, loaders: Iterable[Iterable[ClipBatch]]) -> dict[str, LabelledLogits]:
    """Collect the logits of all heads for the clips that annotate their targets.

    Args:
        model: Used on its device, in evaluation mode.
        loaders: Loaders of validation or test data.

    Returns:
        By head; heads without any label or without probabilities are left out.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
    try:
        for batch in (batch for loader in loaders for batch in loader):
            logits = model(**model_inputs(batch.to(device)))
            for name in model.heads:
                head = model.head(name)
                if head.target in batch.targets:
                    parts.setdefault(name, []).append(_rows(head, logits[name].float().cpu(), batch))
    finally:
        model.train(training)
    joined = {
        name: LabelledLogits(*(torch.cat(part) for part in zip(*rows, strict=True)))
        for name, rows in parts.items()
    }
    return {
        name: rows
        for name, rows in joined.items()
        if rows.mask.any() and rows.evidence(model.head(name)) is not None
    }


def _rows(head: Head, logits: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor]:
    target = batch.targets[head.target].project(head.space.name)
    logits, target = align_levels(logits, target, batch.frame_mask, axes=head.logit_axes)
    target = target.likeliest()
    mask = target.mask & batch.valid.reshape(-1, *[1] * (target.mask.ndim - 1))
    last = target.leading - 1
    return logits.flatten(0, last), target.value.flatten(0, last), mask.flatten(0, last)


def calibrate(model: AffectModel, collected: Mapping[str, LabelledLogits]) -> None:
    """Fit and set the temperature of each head and the thresholds of action units.

    The temperature maximises the likelihood of a head's labels; the threshold of a unit, on the calibrated
    probability, maximises its F1.

    Args:
        model: Model whose heads are changed.
        collected: From `collect_logits`, on validation data.

    Raises:
        ConfigError: `collected` is empty.
    """
    if not collected:
        raise ConfigError(
            "None of the heads has a label in these data.", remedy="Compare their targets with the corpus's."
        )
    for name, rows in collected.items():
        head = model.head(name)
        head.calibrate(temperature=fit_temperature(*_evidence(rows, head)))
        if head.has_thresholds:
            metric = cast("ThresholdedMetric", metric_of(head.space, 1))
            group = torch.zeros(len(rows.value), dtype=torch.int64)
            metric.update(head.scaled(rows.logits), rows.value, rows.mask, group)
            best = metric.best_thresholds()
            head.calibrate(thresholds=[best[label] for label in head.labels])


def _evidence(rows: LabelledLogits, head: Head) -> tuple[Tensor, Tensor]:
    return cast("tuple[Tensor, Tensor]", rows.evidence(head))  # `collect_logits` leaves others out


def measure(model: AffectModel, collected: Mapping[str, LabelledLogits]) -> dict[str, dict[str, Any]]:
    """Measure the calibration of each head, with its temperature and without.

    Returns:
        By head: `ece` and `nll`, `ece_before` and `nll_before` (with a temperature of 1), and the number of `labels`.
    """
    measured: dict[str, dict[str, Any]] = {}
    for name, rows in collected.items():
        logits, truth = _evidence(rows, model.head(name))
        measured[name] = {"labels": len(truth)}
        for suffix, temperature in (("_before", 1.0), ("", model.head(name).temperature)):
            measured[name][f"ece{suffix}"] = expected_calibration_error(logits, truth, temperature)
            measured[name][f"nll{suffix}"] = log_loss(logits, truth, temperature)
    return measured
