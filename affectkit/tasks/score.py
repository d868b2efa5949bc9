"""Score of action units, expressions, valence and arousal together, as in multi-task challenges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from affectkit.metrics import Estimate, GroupedMetric, Groups, Result, Tally, ThresholdRule
from affectkit.models import Head

__all__ = ["ADDENDS", "SCORE", "Part", "find_parts", "join_parts", "score_result"]

SCORE: Final = "mtl"
"""First part of the names of the results, in place of a head's name."""

ADDENDS: Final[Mapping[str, str]] = {"va": "ccc", "expression": "uf1", "au": "f1_pos"}
"""Result of each target that the score adds."""

_RANGE: Final = (-1.0, 3.0)


class Part(NamedTuple):
    """One target's contribution to the score of a corpus.

    Args:
        metric: Metric class of the target's head.
        result: Result that is added.
        tally: Tally of the metric; all parts have the same groups.
    """

    metric: type[GroupedMetric]
    result: str
    tally: Tally


def find_parts(heads: Mapping[str, Head], metrics: Mapping[str, GroupedMetric]) -> dict[str, str]:
    """Find the heads whose results make up the score of a corpus.

    Args:
        heads: Heads by name; of several with one target, the first counts.
        metrics: Metrics of a corpus by head.

    Returns:
        By head, the result that is added; empty unless the corpus and the heads have all targets of `ADDENDS`.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, metric in metrics.items():
        target = heads[name].target
        if ADDENDS.get(target) in metric.baselines:
            found.setdefault(target, (name, ADDENDS[target]))
    return dict(found.values()) if len(found) == len(ADDENDS) else {}


def join_parts(parts: Sequence[Part]) -> Tally:
    r"""Join the tallies of several targets of a corpus into that of the score.

    The score is :math:`\tfrac{1}{2} (\mathrm{CCC}_v + \mathrm{CCC}_a) + \tfrac{1}{8} \sum F_1(\text{class}) +
    \tfrac{1}{12} \sum F_1(\text{unit})`, with the classes and units that the corpus annotates. Its range is -1 to 3. A
    group left out for the interval is left out of every target at once, so the interval covers that one person's (or
    video's) targets vary together.

    Returns:
        A tally with the results `score` and `score_trivial`, its baseline: the sum of the baselines of the parts.

    References:
        D. Kollias, "ABAW: valence-arousal estimation, expression recognition, action unit detection & multi-task
        learning challenges", CVPR Workshops 2022. A class without any label has an F1 of 0 there, and is left out of
        the mean here.
    """
    sums = torch.cat([part.tally.sums.flatten(1) for part in parts], dim=1)
    widths = [part.tally.sums[0].numel() for part in parts]

    def results(total: Tensor, _areas: Tensor | None) -> dict[str, Tensor]:
        scores, trivial = torch.zeros(2, len(total), dtype=total.dtype)
        for part, own in zip(parts, torch.split(total, widths, dim=1), strict=True):
            unranked = own.new_full((len(own), len(part.tally.labels)), torch.nan)  # no part is an area
            named = part.tally.results(own.reshape(-1, *part.tally.sums.shape[1:]), unranked)
            baseline = part.metric.baselines[part.result]
            scores = scores + named[part.result]
            trivial = trivial + (named[baseline] if isinstance(baseline, str) else baseline)
        return {"score": scores, "score_trivial": trivial}

    labels = tuple(label for part in parts for label in part.tally.labels)
    return Tally(labels, sums, results, ranges={"score": _RANGE, "score_trivial": _RANGE})


def score_result(
    estimates: Mapping[str, Estimate],
    *,
    protocol: str,
    threshold_rule: ThresholdRule,
    resampled: Groups,
) -> Result:
    """Combine the estimates of a tally of `join_parts` with protocol, threshold rule and baseline."""
    value, baseline = estimates["score"], estimates["score_trivial"].value
    return Result(f"{SCORE}/score", value, baseline, protocol, threshold_rule, resampled)
