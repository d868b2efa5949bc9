"""The metrics of one pass over validation or test data: a metric for every corpus and head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from affectkit.data import ClipBatch, Target
from affectkit.errors import ConfigError
from affectkit.metrics import (
    AUMetrics,
    ExpressionMetrics,
    IntensityMetrics,
    Result,
    ThresholdRule,
    collect_results,
    estimate,
)
from affectkit.models import Head

__all__ = ["Counted", "Evaluation", "EvaluationData", "align_levels", "groups_of", "mean_log_odds"]

AnyMetric = AUMetrics | ExpressionMetrics | IntensityMetrics
METRICS: dict[str, type[AnyMetric]] = {
    "multilabel": AUMetrics,
    "multiclass": ExpressionMetrics,
    "ordinal": IntensityMetrics,
}
LOGGED = {
    "multilabel": ("f1_pos", "f1_macro2", "auc", "acc", "f1_all_positive"),
    "multiclass": ("uar", "war", "uf1"),
    "ordinal": ("icc31", "pcc", "mae"),
}


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of one corpus, and what its numbers are called; folds of a cross-validation are joined by it.

    Args:
        dataset: Name of the corpus.
        title: What stands behind it over the numbers: the head's name, or "au by rules".
        name: The first part of the numbers' names: the head's name, or "au_rules".
        metric: The counts.
        kind: Of the labels, a key of `METRICS`.
        note: What a reader must know beside the protocol.
    """

    dataset: str
    title: str
    name: str
    metric: AnyMetric
    kind: str
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
        self.metrics: dict[tuple[str, str], AnyMetric] = {}
        for data in datasets:
            for name, head in heads.items():
                if head.target in data.targets:
                    metric = METRICS[head.space.kind](head.space.labels, data.num_groups)
                    self.metrics[data.name, name] = metric.to(device)
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
                if isinstance(metric, AUMetrics):  # which ranks log odds, since probabilities saturate
                    output, target = align_levels(
                        head.scaled(logits[name]), target, batch.frame_mask, mean=mean_log_odds
                    )
                else:
                    output, target = align_levels(
                        head.predict(logits[name].float()), target, batch.frame_mask
                    )
                metric.update(output, target.value, target.mask, batch.subject, batch.valid)

    def values(self) -> dict[str, Tensor]:
        """Numbers to log by `dataset/head/metric`, at the fixed threshold of 0.5."""
        return {
            f"{dataset}/{name}/{key}": value
            for (dataset, name), metric in self.metrics.items()
            for key, value in metric.compute().items()
            if key in LOGGED[self.heads[name].space.kind]
        }

    def counted(self) -> list[Counted]:
        """The counts of every corpus and head."""
        return [
            Counted(dataset, name, name, metric, self.heads[name].space.kind)
            for (dataset, name), metric in self.metrics.items()
        ]

    def best_thresholds(self, head: str) -> dict[str, float] | None:
        """Thresholds that maximise a head's F1 on the data seen; None where no corpus has its target.

        With several corpora the first that annotates the head's target decides.
        """
        for (_, name), metric in self.metrics.items():
            if name == head and isinstance(metric, AUMetrics):
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
            for its_rule in dict.fromkeys(("fixed", rule) if isinstance(metric, AUMetrics) else ("fixed",)):
                tally = metric.tally()
                if isinstance(metric, AUMetrics) and its_rule != "fixed":
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


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the frames with weight 1, `[B, ...]` of values `[B, T, ...]`."""
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def mean_log_odds(logits: Tensor, weight: Tensor) -> Tensor:
    """Log odds of the mean probability over frames, exact where probabilities round to 0 or 1.

    Args:
        logits: Float `[B, T, ...]`.
        weight: Float, of the same number of axes; 1 for frames that count, else 0.

    Returns:
        Float `[B, ...]`; 0 where no frame counts.

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
    levels: int = 0,
    mean: Callable[[Tensor, Tensor], Tensor] = masked_mean,
) -> tuple[Tensor, Target]:
    """Bring a head's output and a target to the same level: both by frame, or both by clip.

    A clip's label is compared with the mean of the frames' outputs; a clip's output with the strongest annotated
    label of its frames, since a clip shows a unit that one of its frames shows. A framewise class becomes the
    clip's only where all annotated frames agree.

    Args:
        prediction: Head output, float `[B, L]` or `[B, T, L]`.
        target: Target of the head's label space, of a batch.
        frame_mask: bool `[B, T]`, False where a frame pads.
        levels: Further axes of `prediction` behind its labels: 1 for the logits of ordinal heads.
        mean: Reduces outputs `[B, T, ...]` over frames by weights `[B, T, 1, ...]`.

    Returns:
        Output and target of one level.
    """
    by_frame = prediction.ndim - levels == 3
    labelled_by_frame = target.value.ndim == (2 if target.classes else 3)
    if by_frame and not labelled_by_frame:
        weight = frame_mask.reshape(*frame_mask.shape, *[1] * (prediction.ndim - 2)).to(prediction.dtype)
        return mean(prediction, weight), target
    if labelled_by_frame and not by_frame:
        if target.classes:
            highest = target.value.masked_fill(~target.mask, -1).amax(1)
            agree = ((target.value == highest[:, None]) | ~target.mask).all(1)
            mask = target.mask.any(1) & agree
            return prediction, Target(highest.masked_fill(~mask, 0), mask, target.space)
        return prediction, Target(target.value.amax(1), target.mask.any(1), target.space)
    return prediction, target
