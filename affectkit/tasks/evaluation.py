"""The metrics of one pass over validation or test data: a metric for every corpus and head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from affectkit.data import ClipBatch, Target
from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.metrics import (
    GroupedMetric,
    Result,
    ThresholdedMetric,
    ThresholdRule,
    collect_results,
    estimate,
    metric_of,
)
from affectkit.models import Head

__all__ = ["Counted", "Evaluation", "EvaluationData", "align_levels", "groups_of"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of one corpus, and what its numbers are called; folds of a cross-validation are joined by it.

    Args:
        dataset: Name of the corpus.
        title: What stands behind it over the numbers: the head's name, or "au by rules".
        name: The first part of the numbers' names: the head's name, or "au_rules".
        metric: The counts.
        space: The label space of the numbers.
        note: What a reader must know beside the protocol.
    """

    dataset: str
    title: str
    name: str
    metric: GroupedMetric
    space: LabelSpace
    note: str = ""


class EvaluationData(Protocol):
    """What an evaluation must know of a dataset; `affectkit.datasets.AffectDataset` has all of it."""

    name: str
    has_subjects: bool

    @property
    def targets(self) -> Mapping[str, str]:
        """Name of the label space of each target."""
        ...

    @property
    def num_groups(self) -> int:
        """Number of subjects, or of clips where subjects are unknown."""
        ...

    def people(self) -> Mapping[str, Sequence[str | None]]:
        """By attribute, such as "sex", its value for each subject; None where unknown."""
        ...


class Evaluation:
    """Counts what the heads predict, corpus by corpus, and turns the counts into named numbers.

    Args:
        heads: The model's heads by name.
        datasets: The datasets of the loaders, in their order, with unique names.
        device: Where the counts are kept.

    Raises:
        ConfigError: No corpus annotates any head's target, or two corpora have one name.
    """

    def __init__(
        self, heads: Mapping[str, Head], datasets: Sequence[EvaluationData], device: torch.device | str
    ) -> None:
        self.heads = heads
        self.datasets = datasets
        if len({data.name for data in datasets}) < len(datasets):
            raise ConfigError(
                "Two corpora of one evaluation have the same name.", remedy="Name the sources apart."
            )
        self.metrics: dict[tuple[str, str], GroupedMetric] = {}
        for data in datasets:
            for name, head in heads.items():
                if head.target in data.targets:
                    self.metrics[data.name, name] = metric_of(head.space, data.num_groups).to(device)
        if not self.metrics:
            raise ConfigError(
                f"None of the heads {sorted(heads)} has a target that {[data.name for data in datasets]} annotate.",
                remedy="Compare each head's target with the corpus's label spaces.",
            )

    def update(self, loader: int, logits: Mapping[str, Tensor], batch: ClipBatch) -> None:
        """Count one batch of the loader with this index.

        Args:
            loader: Index of the loader.
            logits: By head, `[B, A]` or `[B, T, A]`.
            batch: What the logits were computed from.
        """
        data = self.datasets[loader]
        for name, head in self.heads.items():
            metric = self.metrics.get((data.name, name))
            if metric is not None and head.target in batch.targets:
                target = batch.targets[head.target].project(head.space.name)
                prediction, target = align_levels(
                    head.predict(logits[name].float()), target, batch.frame_mask
                )
                metric.update(prediction, target.value, target.mask, batch.subject, batch.valid)

    def values(self) -> dict[str, Tensor]:
        """Numbers to log by `dataset/head/metric`, at the fixed threshold of 0.5."""
        return {
            f"{dataset}/{name}/{key}": value
            for (dataset, name), metric in self.metrics.items()
            for key, value in metric.compute().items()
            if key in metric.logged
        }

    def counted(self) -> list[Counted]:
        """The counts of every corpus and head."""
        return [
            Counted(dataset, name, name, metric, self.heads[name].space)
            for (dataset, name), metric in self.metrics.items()
        ]

    def best_thresholds(self, head: str) -> dict[str, float] | None:
        """Thresholds that maximise a head's F1 on the data seen; None where no corpus has its target, or it has none.

        With several corpora the first that annotates the head's target decides.
        """
        for (_, name), metric in self.metrics.items():
            if name == head and isinstance(metric, ThresholdedMetric):
                return metric.best_thresholds()
        return None

    def results(
        self,
        *,
        rule: ThresholdRule,
        thresholds: Mapping[str, Mapping[str, float]],
        protocol: Callable[[str], str],
    ) -> dict[str, list[Result]]:
        """Every number with its interval, baseline, threshold rule and protocol.

        Args:
            rule: Threshold rule of the action units; their numbers at 0.5 are always given as well.
            thresholds: By head, the thresholds chosen on validation data; read by the rule `val`.
            protocol: From the name of a corpus to what its numbers were measured on.

        Returns:
            By `dataset/head`, the results of means and single labels; and by `dataset/head/sex=female`, where the
            corpus says so of its people, those of one group.
        """
        found: dict[str, list[Result]] = {}
        for (dataset, name), metric in self.metrics.items():
            data = next(data for data in self.datasets if data.name == dataset)
            over: Literal["subjects", "clips"] = "subjects" if data.has_subjects else "clips"
            groups = {f"/{group}": rows for group, rows in groups_of(data.people()).items()}
            for its_rule in dict.fromkeys(
                ("fixed", rule) if isinstance(metric, ThresholdedMetric) else ("fixed",)
            ):
                tally = metric.tally()
                if isinstance(metric, ThresholdedMetric) and its_rule != "fixed":
                    chosen = metric.best_thresholds() if its_rule == "oracle" else thresholds.get(name)
                    if chosen is None:
                        raise ConfigError(
                            f"The checkpoint holds no thresholds chosen on validation data for the head {name!r}.",
                            remedy="Run `affectkit validate` first, or use `model.threshold: fixed`.",
                        )
                    tally = metric.tally(chosen)
                for group, rows in {"": range(len(tally.sums)), **groups}.items():
                    found.setdefault(f"{dataset}/{name}{group}", []).extend(
                        collect_results(
                            estimate(tally.only(rows) if group else tally),
                            name,
                            type(metric),
                            protocol=protocol(dataset)
                            + (f"; {group[1:]} alone, {len(rows)} {over}" if group else ""),
                            threshold_rule=its_rule,
                            resampled=over,
                            per_label=True,
                        )
                    )
        return found


def groups_of(people: Mapping[str, Sequence[str | None]]) -> dict[str, list[int]]:
    """The groups that attributes make of people.

    Args:
        people: By attribute, its value for each of them; None where unknown.

    Returns:
        By `attribute=value`, the places of those who have it; nothing of an attribute with one value only.

    Example:
        >>> groups_of({"sex": ["female", "male", None, "female"]})
        {'sex=female': [0, 3], 'sex=male': [1]}
    """
    return {
        f"{attribute}={value}": [place for place, one in enumerate(values) if one == value]
        for attribute, values in people.items()
        if len(known := sorted({one for one in values if one is not None})) > 1
        for value in known
    }


def align_levels(
    prediction: Tensor, target: Target, frame_mask: Tensor, *, axes: int = 1
) -> tuple[Tensor, Target]:
    """Bring a head's output and a target to the same level: both by frame, or both by clip.

    A clip's label is compared with the mean of the frames' outputs; a clip's output with the label that its frames
    make, see `Target.over_frames`: of units the strongest, of classes the one on which all annotated frames agree.

    Args:
        prediction: Head output, float `[B, L]` or `[B, T, L]`.
        target: Target of the head's label space, of a batch.
        frame_mask: bool `[B, T]`, False where a frame pads.
        axes: Axes of `prediction` behind clips and frames, for logits `Head.logit_axes`.

    Returns:
        Output and target of one level.
    """
    by_frame, labelled_by_frame = prediction.ndim - axes == 2, target.leading == 2
    if by_frame and not labelled_by_frame:
        weight = frame_mask.reshape(*frame_mask.shape, *[1] * axes).to(prediction.dtype)
        return (prediction * weight).sum(1) / weight.sum(1).clamp(min=1), target
    return prediction, target.over_frames() if labelled_by_frame and not by_frame else target
