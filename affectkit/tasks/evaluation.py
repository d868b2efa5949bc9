"""Metrics of one pass over validation or test data, one per corpus and head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from affectkit.data import ClipBatch, ClipRecord, Target
from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.metrics import (
    GroupedMetric,
    Groups,
    Result,
    Tally,
    ThresholdedMetric,
    ThresholdRule,
    collect_results,
    estimate,
    metric_of,
)
from affectkit.metrics.confusion import ConfusionMetric
from affectkit.models import Head
from affectkit.tasks.score import SCORE, Part, find_parts, join_parts, score_result

__all__ = ["Evaluation", "EvaluationData", "MetricStates", "align_levels", "groups_of", "mean_log_odds"]


@dataclass(frozen=True, slots=True)
class MetricStates:
    """Metric of one corpus with the names of its results, for merging the folds of a cross-validation.

    Args:
        dataset: Name of the corpus.
        title: Second part of the table's title: the head's name, or "au by rules".
        name: First part of the results' names: the head's name, or "au_rules".
        metric: The metric with its states.
        space: Label space of the results.
        note: Addition to the protocol.
        adds: Result that counts for the score of several targets, see `affectkit.tasks.score`; empty if none.
    """

    dataset: str
    title: str
    name: str
    metric: GroupedMetric
    space: LabelSpace
    note: str = ""
    adds: str = ""


class EvaluationData(Protocol):
    """Facts that an evaluation needs of a dataset; `affectkit.datasets.AffectDataset` provides them."""

    name: str

    @property
    def targets(self) -> Mapping[str, str]:
        """Name of the label space of each target."""
        ...

    @property
    def num_groups(self) -> int:
        """Number of independent groups of clips."""
        ...

    @property
    def groups_are(self) -> Groups:
        """Kind of these groups."""
        ...

    @property
    def clips(self) -> Sequence[ClipRecord]:
        """The clips, in order."""
        ...

    def people(self) -> Mapping[str, Sequence[str | None]]:
        """Values of attributes, such as "sex", for each subject; None if unknown."""
        ...


class Evaluation:
    """Metrics of the heads' predictions per corpus, and their results.

    Args:
        heads: Heads of the model by name; without any, there are no results.
        datasets: Datasets of the loaders, in their order, with unique names.
        device: Device of the metric states.

    Raises:
        ConfigError: No corpus annotates any head's target, or two corpora have the same name.
    """

    def __init__(
        self, heads: Mapping[str, Head], datasets: Sequence[EvaluationData], device: torch.device | str
    ) -> None:
        self.heads = heads
        self.datasets = datasets
        if len({data.name for data in datasets}) < len(datasets):
            raise ConfigError(
                "Two corpora of one evaluation have the same name.",
                remedy="Give the sources different names.",
            )
        self.metrics: dict[tuple[str, str], GroupedMetric] = {}
        for data in datasets:
            for name, head in heads.items():
                if head.target in data.targets:
                    self.metrics[data.name, name] = metric_of(head.space, data.num_groups).to(device)
        if heads and not self.metrics:
            raise ConfigError(
                f"None of the heads {sorted(heads)} has a target in {[data.name for data in datasets]}.",
                remedy="Compare each head's target with the corpus's label spaces.",
            )

    def update(self, loader: int, logits: Mapping[str, Tensor], batch: ClipBatch) -> None:
        """Update the metrics with one batch.

        Args:
            loader: Index of the loader.
            logits: By head, `[B, A]` or `[B, T, A]`.
            batch: Input of the logits.
        """
        data = self.datasets[loader]
        for name, head in self.heads.items():
            metric = self.metrics.get((data.name, name))
            if metric is None or head.target not in batch.targets:
                continue
            # Thresholded metrics rank log odds, because probabilities saturate.
            ranked = isinstance(metric, ThresholdedMetric)
            output, target = align_levels(
                head.scaled(logits[name]) if ranked else head.predict(logits[name].float()),
                batch.targets[head.target].project(head.space.name),
                batch.frame_mask,
                mean=mean_log_odds if ranked else masked_mean,
            )
            metric.update(output, target.value, target.mask, batch.subject, batch.valid)

    def values(self) -> dict[str, Tensor]:
        """Compute the values to log by `dataset/head/metric`, at the fixed threshold of 0.5.

        A corpus with all targets of `affectkit.tasks.score.ADDENDS` also has `dataset/mtl/score`.
        """
        values = {
            f"{dataset}/{name}/{key}": value
            for (dataset, name), metric in self.metrics.items()
            for key, value in metric.compute().items()
            if key in metric.logged
        }
        for dataset, parts in self._scored().items():
            addends = [values[f"{dataset}/{name}/{result}"] for name, result in parts.items()]
            values[f"{dataset}/{SCORE}/score"] = torch.stack(addends).sum()
        return values

    def metric_states(self) -> list[MetricStates]:
        """Return the metric states of every corpus and head."""
        scored = self._scored()
        return [
            MetricStates(
                dataset,
                name,
                name,
                metric,
                self.heads[name].space,
                adds=scored.get(dataset, {}).get(name, ""),
            )
            for (dataset, name), metric in self.metrics.items()
        ]

    def confusions(self) -> dict[str, tuple[Sequence[str], Tensor]]:
        """Return class names and confusion matrix, int64 [E, E], rows true, by `dataset/head`."""
        return {
            f"{dataset}/{name}": (metric.labels, metric.confusion().cpu())
            for (dataset, name), metric in self.metrics.items()
            if isinstance(metric, ConfusionMetric)
        }

    def _scored(self) -> dict[str, dict[str, str]]:
        """Corpora with a score of several targets, and the result that each head adds to it."""
        by_corpus: dict[str, dict[str, GroupedMetric]] = {}
        for (dataset, name), metric in self.metrics.items():
            by_corpus.setdefault(dataset, {})[name] = metric
        found = {dataset: find_parts(self.heads, metrics) for dataset, metrics in by_corpus.items()}
        return {dataset: parts for dataset, parts in found.items() if parts}

    def best_thresholds(self) -> dict[str, dict[str, float]]:
        """Find the thresholds that maximise each head's F1, on the first corpus with its target."""
        thresholds: dict[str, dict[str, float]] = {}
        for (_, name), metric in self.metrics.items():
            if name not in thresholds and isinstance(metric, ThresholdedMetric):
                thresholds[name] = metric.best_thresholds()
        return thresholds

    def results(
        self,
        *,
        rule: ThresholdRule,
        thresholds: Mapping[str, Mapping[str, float]],
        protocol: Callable[[str], str],
    ) -> dict[str, list[Result]]:
        """Compute every result with its interval, baseline, threshold rule and protocol.

        Args:
            rule: Threshold rule of the action units; results at 0.5 are always included.
            thresholds: Thresholds by head, chosen on validation data, for the rule `val`.
            protocol: Maps the name of a corpus to its protocol.

        Returns:
            Results of means and single labels by `dataset/head`, and of groups of people that the corpus knows by
            `dataset/head/sex=female`. The score of several targets is in `dataset/mtl`.

        Raises:
            ConfigError: A head has no thresholds for the rule `val`.
        """
        results: dict[str, list[Result]] = {}
        rules: tuple[ThresholdRule, ...] = ("fixed", rule)
        for (dataset, name), metric in self.metrics.items():
            for its_rule in dict.fromkeys(rules if isinstance(metric, ThresholdedMetric) else rules[:1]):
                for group, tally, note, over in self._by_group(
                    dataset, self._tally(dataset, name, its_rule, thresholds)
                ):
                    results.setdefault(f"{dataset}/{name}{group}", []).extend(
                        collect_results(
                            estimate(tally),
                            name,
                            type(metric),
                            protocol=protocol(dataset) + note,
                            threshold_rule=its_rule,
                            resampled=over,
                            per_label=True,
                        )
                    )
        for dataset, parts in self._scored().items():
            for its_rule in dict.fromkeys(rules):
                whole = join_parts(
                    [
                        Part(
                            type(self.metrics[dataset, name]),
                            result,
                            self._tally(dataset, name, its_rule, thresholds),
                        )
                        for name, result in parts.items()
                    ]
                )
                for group, tally, note, over in self._by_group(dataset, whole):
                    results.setdefault(f"{dataset}/{SCORE}{group}", []).append(
                        score_result(
                            estimate(tally),
                            protocol=protocol(dataset) + note,
                            threshold_rule=its_rule,
                            resampled=over,
                        )
                    )
        return results

    def _tally(
        self, dataset: str, name: str, rule: ThresholdRule, thresholds: Mapping[str, Mapping[str, float]]
    ) -> Tally:
        """Tally of a head by a threshold rule."""
        metric = self.metrics[dataset, name]
        if not isinstance(metric, ThresholdedMetric) or rule == "fixed":
            return metric.tally()
        if rule == "val" and name not in thresholds:
            raise ConfigError(
                f"The checkpoint has no thresholds from validation data for the head {name!r}.",
                remedy="Run `affectkit validate` first, or use `model.threshold: fixed`.",
            )
        return metric.tally(metric.best_thresholds() if rule == "oracle" else thresholds[name])

    def _by_group(self, dataset: str, tally: Tally) -> Iterator[tuple[str, Tally, str, Groups]]:
        """Tallies of a whole corpus ("") and of its groups of people (`/sex=female`), with a note and the units."""
        data = next(data for data in self.datasets if data.name == dataset)
        over = data.groups_are
        yield "", tally, "", over
        for group, rows in groups_of(data.people()).items():
            yield f"/{group}", tally.only(rows), f"; {group} alone, {len(rows)} {over}", over


def groups_of(people: Mapping[str, Sequence[str | None]]) -> dict[str, list[int]]:
    """Group people by their attributes.

    Args:
        people: By attribute, the value of each person; None if unknown.

    Returns:
        By `attribute=value`, the indices of the people; attributes with a single value are left out.

    Example:
        >>> groups_of({"sex": ["female", "male", None, "female"]})
        {'sex=female': [0, 3], 'sex=male': [1]}
    """
    return {
        f"{attribute}={value}": [i for i, one in enumerate(values) if one == value]
        for attribute, values in people.items()
        if len(known := sorted({one for one in values if one is not None})) > 1
        for value in known
    }


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average values `[B, T, ...]` over the frames with weight 1 to `[B, ...]`."""
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def mean_log_odds(logits: Tensor, weight: Tensor) -> Tensor:
    """Compute the log odds of the mean probability over frames, exact even if probabilities round to 0 or 1.

    Args:
        logits: Float `[B, T, ...]`.
        weight: Float with the same number of axes; 1 for frames that count, else 0.

    Returns:
        Float `[B, ...]`; 0 if no frame counts.

    Example:
        >>> mean_log_odds(torch.tensor([[0.0, 200.0]]), torch.ones(1, 2))  # 3 to 1
        tensor([1.0986])
    """
    out = weight == 0
    yes, no = (logsigmoid(z).masked_fill(out, -torch.inf).logsumexp(1) for z in (logits, -logits))
    return torch.where(out.all(1), 0.0, yes - no)


def align_levels(
    prediction: Tensor,
    target: Target,
    frame_mask: Tensor,
    *,
    axes: int = 1,
    mean: Callable[[Tensor, Tensor], Tensor] = masked_mean,
) -> tuple[Tensor, Target]:
    """Bring a head's output and its target to the same level, both per frame or both per clip.

    Labels of clips go with the mean of the frames' outputs. Outputs of clips go with the label of all their frames, see
    `Target.over_frames`: for units the strongest, for classes the one on which all annotated frames agree.

    Args:
        prediction: Head output, float `[B, L]` or `[B, T, L]`.
        target: Batched target in the head's label space.
        frame_mask: bool `[B, T]`, False for padding frames.
        axes: Axes of `prediction` after clips and frames; `Head.logit_axes` for logits.
        mean: Reduces outputs `[B, T, ...]` over frames by weights `[B, T, 1, ...]`.
    """
    by_frame, labelled_by_frame = prediction.ndim - axes == 2, target.leading == 2
    if by_frame and not labelled_by_frame:
        weight = frame_mask.reshape(*frame_mask.shape, *[1] * axes).to(prediction.dtype)
        return mean(prediction, weight), target
    return prediction, target.over_frames() if labelled_by_frame and not by_frame else target
