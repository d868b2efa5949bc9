"""Metric states of a test as plain values, for merging folds and comparing runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from affectkit.facs import label_space
from affectkit.metrics import GroupedMetric, Tally, ThresholdedMetric, ThresholdRule, metric_of
from affectkit.tasks.evaluation import EvaluationData, MetricStates
from affectkit.tasks.score import Part, join_parts

__all__ = ["gather", "metric_class", "plain_states", "score_parts", "score_tally", "tally_of"]


def plain_states(states: Sequence[MetricStates], datasets: Sequence[EvaluationData]) -> list[dict[str, Any]]:
    """Convert metric states over all processes, all of which must call it, to values that `torch.save` keeps.

    Returns:
        For each metric its names, label space, state, groups, and a digest of the names of the tested clips.
    """
    by_name = {data.name: data for data in datasets}
    return [
        {
            "dataset": one.dataset,
            "head": one.title,
            "name": one.name,
            "note": one.note,
            "adds": one.adds,
            "space": one.space.name,
            "num_groups": one.metric.num_groups,
            "over": by_name[one.dataset].groups_are,
            "clips": _digest(by_name[one.dataset]),
            "state": gather(one.metric),
        }
        for one in states
    ]


def gather(metric: GroupedMetric) -> dict[str, Tensor]:
    """States of a metric over all processes."""
    with metric.sync_context():
        return {name: dim_zero_cat(value).cpu().clone() for name, value in metric.metric_state.items()}


def _digest(data: EvaluationData) -> str:
    """Digest of the names of all clips, in their order."""
    return hashlib.blake2b(
        "\n".join(record.clip for record in data.clips).encode(), digest_size=16
    ).hexdigest()


def metric_class(count: Mapping[str, Any]) -> type[GroupedMetric]:
    """Metric class of an entry of `plain_states`."""
    return type(metric_of(label_space(count["space"]), 1))


def tally_of(test: Mapping[str, Any], index: int, rule: ThresholdRule) -> Tally:
    """Tally of an entry of `counts` by a threshold rule; `val` uses the `thresholds` of the test."""
    count = test["counts"][index]
    # The states are those of all processes, and only the first process reduces them.
    metric = metric_of(label_space(count["space"]), count["num_groups"], sync_on_compute=False)
    metric.persistent(True)
    metric.load_state_dict(count["state"])
    if isinstance(metric, ThresholdedMetric):
        return metric.tally(test["thresholds"][count["head"]] if rule == "val" else 0.5)
    return metric.tally()


def score_parts(test: Mapping[str, Any]) -> dict[str, list[int]]:
    """Datasets with a score of several targets, and the indices of the entries of `counts` that it adds."""
    scored: dict[str, list[int]] = {}
    for index, count in enumerate(test["counts"]):
        if count.get("adds"):
            scored.setdefault(count["dataset"], []).append(index)
    return scored


def score_tally(test: Mapping[str, Any], parts: Sequence[int], rule: ThresholdRule) -> Tally:
    """Tally of the score of several targets, see `affectkit.tasks.score.join_parts`."""
    counts = [test["counts"][index] for index in parts]
    return join_parts(
        [
            Part(metric_class(count), count["adds"], tally_of(test, index, rule))
            for count, index in zip(counts, parts, strict=True)
        ]
    )
