"""Emotions told from action units by rule, on evaluation data, with no emotion label in training."""

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
    """Counts how often the classes that rules find in predicted action units are the annotated ones.

    Args:
        head: The head of action units.
        classes: Name of the classes that rules shall find, see `affectkit.facs.recognition.class_rules`.
        datasets: The datasets of the loaders, in their order; those without expressions are passed over.
        device: Where the counts are kept.

    Raises:
        ConfigError: The head is not of action units, or no dataset annotates expressions.
        LabelSpaceError: No rule speaks for any of the classes.
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
                f"None of {[data.name for data in datasets]} annotates expressions to compare rules with.",
                remedy="Leave `recognition` out, or evaluate on a corpus with emotions.",
            )

    def update(self, loader: int, logits: Tensor, batch: ClipBatch) -> None:
        """Count one batch of the loader with this index.

        Args:
            loader: Index of the loader.
            logits: [B, A] or [B, T, A], of the head; the clip's are the mean over its real frames.
            batch: What they were computed from.
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
        """UF1 and UAR to log, by `dataset/head/rules_metric`."""
        return {
            f"{dataset}/{name}/rules_{key}": metric.compute()[key]
            for dataset, metric in self.metrics.items()
            for key in ("uf1", "uar")
        }

    @property
    def note(self) -> str:
        """What a reader of the numbers must know."""
        missing = f"; never found: {', '.join(self.rules.undecidable)}" if self.rules.undecidable else ""
        return f"emotions by FACS rules from predicted units, no emotion label in training{missing}"

    def metric_states(self, name: str) -> list[MetricStates]:
        """The counts of every corpus, of the head with this name."""
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
        """Every number with its interval and baseline, by `dataset/head rules`."""
        found = {}
        for data in self.datasets:
            if data.name in self.metrics:
                found[f"{data.name}/{name} by rules"] = collect_results(
                    estimate(self.metrics[data.name].tally()),
                    f"{name}_rules",
                    ExpressionMetrics,
                    protocol=f"{protocol(data.name)}; {self.note}",
                    threshold_rule="fixed",
                    resampled="subjects" if data.has_subjects else "clips",
                    per_label=True,
                )
        return found


def rules_of(head: Head, classes: str) -> ClassRules:
    """The rules for classes over the units of a head; raises what `RuleRecognition` does of them."""
    if not isinstance(head.space, AUSet):
        raise ConfigError("Rules need the occurrence of action units.", remedy="Name an AU head.")
    return class_rules(head.space, classes)
