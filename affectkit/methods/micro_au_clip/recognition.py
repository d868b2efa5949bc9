"""Recognition of emotions from predicted action units by rules, without emotion labels in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.facs import AUSet, ExpressionSet
from affectkit.facs.recognition import ClassRules, class_rules
from affectkit.metrics import ExpressionMetrics, Result, collect_results, estimate
from affectkit.models import Head
from affectkit.tasks.evaluation import EvaluationData, MetricStates

__all__ = ["RuleRecognition", "rules_of"]

TARGET = "expression"


class RuleRecognition:
    """Evaluation of the classes that rules find in predicted action units.

    Args:
        head: The head of action units.
        classes: Name of the classes, see `affectkit.facs.recognition.class_rules`.
        datasets: The datasets of the loaders, in order; those without expressions are skipped.
        device: Device of the metrics.

    Raises:
        ConfigError: The head is not for action units, or no dataset annotates expressions.
        LabelSpaceError: There is no rule for any of the classes.
    """

    def __init__(
        self, head: Head, classes: str, datasets: Sequence[EvaluationData], device: torch.device | str
    ) -> None:
        self.head = head
        self.rules = rules_of(head, classes)
        self.space = ExpressionSet(self.rules.labels).name
        self.datasets = datasets
        self.metrics: dict[str, ExpressionMetrics] = {
            data.name: ExpressionMetrics(self.rules.labels, data.num_groups).to(device)
            for data in datasets
            if TARGET in data.targets
        }
        if not self.metrics:
            raise ConfigError(
                f"None of {[data.name for data in datasets]} annotates expressions.",
                remedy="Remove `recognition`, or evaluate on a corpus with emotions.",
            )

    def update(self, loader: int, logits: Tensor, batch: ClipBatch) -> None:
        """Update the metrics with one batch.

        Args:
            loader: Index of the loader.
            logits: [B, A] or [B, T, A], of the head; probabilities are averaged over real frames.
            batch: The batch.
        """
        metric = self.metrics.get(self.datasets[loader].name)
        if metric is None or TARGET not in batch.targets:
            return
        target = batch.targets[TARGET].project(self.space)
        probabilities = self.head.predict(logits.float())
        if probabilities.ndim == 3:
            real = batch.frame_mask[..., None].to(probabilities.dtype)
            probabilities = (probabilities * real).sum(1) / real.sum(1).clamp(min=1)
        scores = torch.tensor([self.rules.scores(row) for row in probabilities.tolist()])
        metric.update(scores.to(logits.device), target.value, target.mask, batch.subject, batch.valid)

    def values(self, name: str) -> Mapping[str, Tensor]:
        """UF1 and UAR for the log, by `dataset/head/rules_metric`."""
        return {
            f"{dataset}/{name}/rules_{key}": metric.compute()[key]
            for dataset, metric in self.metrics.items()
            for key in ("uf1", "uar")
        }

    @property
    def note(self) -> str:
        """Description of the method, printed next to every result."""
        missing = f"; never found: {', '.join(self.rules.undecidable)}" if self.rules.undecidable else ""
        return f"emotions by FACS rules from predicted units, no emotion label in training{missing}"

    def metric_states(self, name: str) -> list[MetricStates]:
        """Metric states of every corpus, for the head with this name."""
        return [
            MetricStates(
                dataset,
                f"{name} by rules",
                f"{name}_rules",
                metric,
                ExpressionSet(self.rules.labels),
                self.note,
            )
            for dataset, metric in self.metrics.items()
        ]

    def results(self, name: str, *, protocol: Callable[[str], str]) -> dict[str, list[Result]]:
        """Results with intervals and baselines, by `dataset/head by rules`."""
        found = {}
        for data in self.datasets:
            if data.name in self.metrics:
                found[f"{data.name}/{name} by rules"] = collect_results(
                    estimate(self.metrics[data.name].tally()),
                    f"{name}_rules",
                    ExpressionMetrics,
                    protocol=f"{protocol(data.name)}; {self.note}",
                    threshold_rule="fixed",
                    resampled=data.groups_are,
                    per_label=True,
                )
        return found


def rules_of(head: Head, classes: str) -> ClassRules:
    """Rules for classes over the units of a head; raises the same errors as `RuleRecognition`."""
    if not isinstance(head.space, AUSet):
        raise ConfigError("Rules need the occurrence of action units.", remedy="Name an AU head.")
    return class_rules(head.space, classes)
