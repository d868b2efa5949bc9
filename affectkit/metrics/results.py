"""Results with their protocol, threshold rule, baseline and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isnan
from typing import Any, Literal, get_args

from affectkit.errors import ConfigError
from affectkit.metrics.base import GroupedMetric
from affectkit.metrics.intervals import Estimate

__all__ = ["Groups", "Result", "ThresholdRule", "as_text", "collect_results"]

Groups = Literal["subjects", "clips", "videos"]
"""Independent units that an interval leaves out: subjects or, if a corpus has no subject ids, clips or whole videos."""

ThresholdRule = Literal["fixed", "val", "oracle"]
"""Source of thresholds: one `fixed` value (0.5), fitted on validation data (`val`), or on the test data (`oracle`, an
upper bound and not a result)."""

_RULES: dict[str, str] = {
    "fixed": "fixed",
    "val": "fitted on validation",
    "oracle": "ORACLE: fitted on test",
}


@dataclass(frozen=True)
class Result:
    """One number with everything needed to interpret it.

    Args:
        name: Target, metric and label, for example `au/f1_pos` or `au/f1_pos/AU12`.
        estimate: The value and its interval.
        baseline: Value of a trivial predictor on the same data.
        protocol: The data, and how folds were reduced.
        threshold_rule: Source of the thresholds; None if the metric has none.
        resampled: Units left out by the interval's jackknife.
        level: Coverage of the interval.
        is_error: Whether a smaller value is better.

    Example:
        >>> result = Result("au/f1_pos", Estimate(0.8, 0.7, 0.9), 0.4, "held-out subjects", "fixed")
        >>> result.to_dict()["ci"], result.beats_baseline
        ([0.7, 0.9], True)
    """

    name: str
    estimate: Estimate
    baseline: float
    protocol: str
    threshold_rule: ThresholdRule | None = None
    resampled: Groups = "subjects"
    level: float = 0.95
    is_error: bool = False

    @property
    def beats_baseline(self) -> bool | None:
        """Whether the value is better than that of the trivial predictor; None if either is undefined."""
        value = self.estimate.value
        if isnan(value) or isnan(self.baseline):
            return None
        return value < self.baseline if self.is_error else value > self.baseline

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; undefined numbers are None."""
        return {
            "name": self.name,
            "value": _number(self.estimate.value),
            "ci": [_number(self.estimate.low), _number(self.estimate.high)],
            "ci_level": self.level,
            "ci_over": self.resampled,
            "baseline": _number(self.baseline),
            "beats_baseline": self.beats_baseline,
            "threshold_rule": self.threshold_rule,
            "protocol": self.protocol,
        }


def collect_results(
    estimates: Mapping[str, Estimate],
    target: str,
    metric: type[GroupedMetric],
    *,
    protocol: str,
    threshold_rule: ThresholdRule = "fixed",
    resampled: Groups = "subjects",
    level: float = 0.95,
    per_label: bool = False,
) -> list[Result]:
    """Combine each number of one target with its protocol, threshold rule and baseline.

    Args:
        estimates: From `estimate`, `pooled` or `mean_of_folds`.
        target: First part of the names, such as `au`.
        metric: Metric class of the estimates, which defines the baselines.
        protocol: See `Result`, as `threshold_rule`, `resampled` and `level`.
        threshold_rule: See `Result`.
        resampled: See `Result`.
        level: See `Result`.
        per_label: Include the results of single labels, not only the means.

    Returns:
        One `Result` per metric, in the order of `estimates`, without supports and baselines.

    Raises:
        ConfigError: An unknown threshold rule.
    """
    if threshold_rule not in get_args(ThresholdRule):
        raise ConfigError(
            f"Unknown threshold rule {threshold_rule!r}.", remedy="Choose fixed, val or oracle."
        )
    results = []
    for name, value in estimates.items():
        result, slash, label = name.partition("/")
        if result not in metric.baselines or (label and not per_label):
            continue
        baseline = metric.baselines[result]
        if isinstance(baseline, str):
            baseline = estimates[baseline + slash + label].value
        rule = threshold_rule if result in metric.thresholded else None
        is_error = result in metric.errors
        results.append(
            Result(f"{target}/{name}", value, baseline, protocol, rule, resampled, level, is_error)
        )
    return results


def as_text(results: Sequence[Result], title: str | None = None, *, width: int = 120) -> str:
    """Format results as plain-text tables, one for each protocol, which is stated above it."""
    from rich.console import Console
    from rich.table import Table

    tables: dict[str, list[Result]] = {}
    for r in results:
        about = f"{r.protocol}; {100 * r.level:g} % intervals over {r.resampled}"
        tables.setdefault(about, []).append(r)
    file = StringIO()
    console = Console(file=file, width=width, color_system=None, highlight=False)
    for about, rows in tables.items():
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for heading in ("metric", "value", "interval", "baseline"):
            table.add_column(heading, no_wrap=True, justify="left" if heading == "metric" else "right")
        table.add_column("threshold", no_wrap=True)
        table.add_column("")
        for r in rows:
            interval = f"{_text(r.estimate.low)} – {_text(r.estimate.high)}"
            rule = _RULES[r.threshold_rule] if r.threshold_rule else ""
            verdict = "NOT BETTER than the baseline" if r.beats_baseline is False else ""
            table.add_row(r.name, _text(r.estimate.value), interval, _text(r.baseline), rule, verdict)
        console.print(": ".join(filter(None, (title, about))), markup=False)
        console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _number(value: float) -> float | None:
    return None if isnan(value) else value


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"
