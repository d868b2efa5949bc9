"""Results on the test clips whose labels a rater accepts or rejects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.methods.engagement.reliability import assess
from affectkit.metrics import Result, collect_results, estimate, metric_of
from affectkit.metrics.confusion import ConfusionMetric
from affectkit.models import Head
from affectkit.tasks.evaluation import EvaluationData, MetricStates, align_levels

__all__ = ["PARTS", "RatedParts"]

PARTS = {"accepted": "accepts", "rejected": "rejects"}


class RatedParts:
    """Evaluation of a head on two parts of the test clips: accepted and rejected labels, see `assess`.

    Clips that nobody rated are in neither part. The labels are the given ones, as in all results.

    Args:
        head: A head of classes or levels, labelled per clip.
        rated: By clip, the rater's distribution over the labels, predicted from training clips.
        accept: Arguments of `assess`.
        datasets: The datasets of the loaders, in order; those without a rated clip are skipped.
        device: Device of the metrics.
    """

    def __init__(
        self,
        head: Head,
        rated: Mapping[str, Sequence[float]],
        accept: Mapping[str, float],
        datasets: Sequence[EvaluationData],
        device: torch.device | str,
    ) -> None:
        self.head, self.rated, self.accept, self.datasets = head, rated, accept, datasets
        self.metrics: dict[tuple[str, str], ConfusionMetric] = {
            (data.name, part): cast("ConfusionMetric", metric_of(head.space, data.num_groups)).to(device)
            for data in datasets
            if head.target in data.targets and any(record.clip in rated for record in data.clips)
            for part in PARTS
        }

    def update(self, loader: int, logits: Tensor, batch: ClipBatch) -> None:
        """Update the metrics with the logits of a batch of the loader with this index."""
        dataset = self.datasets[loader].name
        if (dataset, "accepted") not in self.metrics or self.head.target not in batch.targets:
            return
        output, target = align_levels(
            self.head.predict(logits.float()),
            batch.targets[self.head.target].project(self.head.space.name),
            batch.frame_mask,
        )
        given = target.likeliest()
        labels = torch.where(given.mask, given.value, -1).cpu()
        unrated = [torch.nan] * len(self.head.space)
        rows = [self.rated.get(clip, unrated) for clip in batch.meta["clip"]]
        rated = torch.tensor(rows, dtype=torch.float64)
        known = rated.isfinite().all(1)
        found = assess(labels, rated.nan_to_num(0.0), ordered=self.head.space.ordered, **self.accept)
        for part, inside in zip(PARTS, (found.accepted, ~found.accepted), strict=True):
            mask = target.mask & (inside & known).to(target.mask.device)
            self.metrics[dataset, part].update(output, target.value, mask, batch.subject, batch.valid)

    def metric_states(self, name: str) -> list[MetricStates]:
        """Metric states of every corpus and part, for the head with this name."""
        return [
            MetricStates(
                dataset,
                f"{name} with {part} labels",
                f"{name}_{part}",
                metric,
                self.head.space,
                self.note(part),
            )
            for (dataset, part), metric in self.metrics.items()
        ]

    @staticmethod
    def note(part: str) -> str:
        """Description of a part, printed next to its results."""
        return f"only clips whose label the rater {PARTS[part]}"

    def results(self, name: str, *, protocol: Callable[[str], str]) -> dict[str, list[Result]]:
        """Results with intervals and baselines, by `dataset/head with accepted labels`; without empty parts."""
        over = {data.name: data.groups_are for data in self.datasets}
        return {
            f"{dataset}/{name} with {part} labels": collect_results(
                estimate(metric.tally()),
                f"{name}_{part}",
                type(metric),
                protocol=f"{protocol(dataset)}; {self.note(part)}",
                threshold_rule="fixed",
                resampled=over[dataset],
                per_label=True,
            )
            for (dataset, part), metric in self.metrics.items()
            if metric.confusion().any()
        }
