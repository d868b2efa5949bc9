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
from affectkit.tasks.base import seen
from affectkit.tasks.evaluation import align_levels

__all__ = ["Answered", "answers", "calibrate", "measure"]


@dataclass(frozen=True, slots=True)
class Answered:
    """Logits of one head beside the labels, of everything annotated.

    Args:
        logits: float32 [N, ...], the head's.
        value: [N, A], or [N] for classes.
        mask: bool, as `value`.
    """

    logits: Tensor
    value: Tensor
    mask: Tensor

    def evidence(self, head: Head) -> tuple[Tensor, Tensor] | None:
        """Logits beside truth as `affectkit.metrics.log_loss` takes them, see `Head.evidence`."""
        return head.evidence(self.logits[self.mask], self.value[self.mask])


@torch.inference_mode()
def answers(model: AffectModel, loaders: Iterable[Iterable[ClipBatch]]) -> dict[str, Answered]:
    """What every head says of all clips of some loaders, where its target is annotated.

    Args:
        model: In evaluation mode while it answers; its device is used.
        loaders: Of validation or test data.

    Returns:
        By head; those without any label or without probabilities are left out.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
    try:
        for loader in loaders:
            for batch in loader:
                logits = model(*(part.to(device) for part in seen(batch)))
                for name in model.heads:
                    head = model.head(name)
                    if head.target in batch.targets:
                        found.setdefault(name, []).append(_rows(head, logits[name].float().cpu(), batch))
    finally:
        model.train(training)
    joined = {
        name: Answered(*(torch.cat(part) for part in zip(*rows, strict=True))) for name, rows in found.items()
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
    value, mask = target.value, target.mask
    mask = mask & batch.valid.reshape(-1, *[1] * (mask.ndim - 1))
    rows = target.leading
    return logits.flatten(0, rows - 1), value.flatten(0, rows - 1), mask.flatten(0, rows - 1)


def calibrate(model: AffectModel, found: Mapping[str, Answered]) -> None:
    """Fit the temperature of each head, and the thresholds of action units, and set them in the model.

    A head's temperature is the one under which its labels are likeliest; a unit's threshold, on the calibrated
    probability, the one of the best F1.

    Args:
        model: Whose heads.
        found: From `answers`, on validation data.

    Raises:
        ConfigError: There is nothing to fit by.
    """
    if not found:
        raise ConfigError(
            "None of the heads has a label in these data.", remedy="Compare its target with the corpus's."
        )
    for name, rows in found.items():
        head = model.head(name)
        head.calibrate(temperature=fit_temperature(*_known(rows, head)))
        if head.has_thresholds:
            metric = cast("ThresholdedMetric", metric_of(head.space, 1))
            nobody = torch.zeros(len(rows.value), dtype=torch.int64)
            metric.update(head.scaled(rows.logits), rows.value, rows.mask, nobody)
            best = metric.best_thresholds()
            head.calibrate(thresholds=[best[label] for label in head.labels])


def _known(rows: Answered, head: Head) -> tuple[Tensor, Tensor]:
    return cast("tuple[Tensor, Tensor]", rows.evidence(head))  # `answers` leaves others out


def measure(model: AffectModel, found: Mapping[str, Answered]) -> dict[str, dict[str, Any]]:
    """How well each head's probabilities are calibrated, with its temperature and without.

    Args:
        model: Whose heads.
        found: From `answers`.

    Returns:
        By head: `ece` and `nll`, `ece_before` and `nll_before` (with a temperature of 1), and `labels`, how many.
    """
    measured: dict[str, dict[str, Any]] = {}
    for name, rows in found.items():
        logits, truth = _known(rows, model.head(name))
        measured[name] = {"labels": len(truth)}
        for suffix, temperature in (("_before", 1.0), ("", model.head(name).temperature)):
            measured[name][f"ece{suffix}"] = expected_calibration_error(logits, truth, temperature)
            measured[name][f"nll{suffix}"] = log_loss(logits, truth, temperature)
    return measured
