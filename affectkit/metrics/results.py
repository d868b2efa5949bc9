"""Numbers as they may be printed: with protocol, threshold rule, baseline and interval beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isnan
from typing import TYPE_CHECKING, Any, Literal, get_args

from affectkit.errors import ConfigError
from affectkit.metrics.intervals import Estimate

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Result", "ThresholdRule", "as_table", "as_text", "collect_results"]

ThresholdRule = Literal["fixed", "val", "oracle"]
"""Where thresholds come from: one `fixed` value (0.5), fitted on validation data (`val`), or on the test data
themselves (`oracle`: an upper bound, not a result)."""

_RULES: dict[str, str] = {
    "fixed": "fixed",
    "val": "fitted on validation",
    "oracle": "ORACLE: fitted on test",
}
# The trivial baseline of each metric: another result's name, or what a guess without knowledge gets.
_BASELINES: dict[str, str | float] = {
    "f1_pos": "f1_all_positive",
    "f1_macro2": "f1_macro2_majority",
    "auc": 0.5,
    "acc": "acc_majority",
    "uar": "uar_majority",
    "war": "war_majority",
    "uf1": "uf1_majority",
    "icc31": 0.0,
    "pcc": 0.0,
    "mae": "mae_all_zero",
}
_THRESHOLDED = {"f1_pos", "f1_macro2", "acc"}


@dataclass(frozen=True)
class Result:
    """One number with all that is needed to read it.

    Args:
        name: Where and what, for example `au/f1_pos` or `au/f1_pos/AU12`.
        estimate: The value and its interval.
        baseline: What a trivial predictor reaches on the same data.
        protocol: On which data, and how folds were reduced.
        threshold_rule: Where the thresholds come from; None where the metric has none.
        resampled: What the interval's jackknife leaves out: subjects, or clips where a corpus has no subject ids.
        level: Coverage of the interval.

    Example:
        >>> Result("au/f1_pos", Estimate(0.8, 0.7, 0.9), 0.4, "held-out subjects", "fixed").to_dict()["ci"]
        [0.7, 0.9]
    """

    name: str
    estimate: Estimate
    baseline: float
    protocol: str
    threshold_rule: ThresholdRule | None = None
    resampled: Literal["subjects", "clips"] = "subjects"
    level: float = 0.95

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None stands for an undefined number."""
        return {
            "name": self.name,
            "value": _number(self.estimate.value),
            "ci": [_number(self.estimate.low), _number(self.estimate.high)],
            "ci_level": self.level,
            "ci_over": self.resampled,
            "baseline": _number(self.baseline),
            "threshold_rule": self.threshold_rule,
            "protocol": self.protocol,
        }


def collect_results(
    estimates: Mapping[str, Estimate],
    target: str,
    *,
    protocol: str,
    threshold_rule: ThresholdRule = "fixed",
    resampled: Literal["subjects", "clips"] = "subjects",
    level: float = 0.95,
    per_label: bool = False,
) -> list[Result]:
    """Put protocol, threshold rule and baseline beside each number of one target.

    Args:
        estimates: From `estimate`, `pooled` or `mean_of_folds`.
        target: The name's first part: `au`, `intensity` or `expression`.
        protocol: On which data, and how folds were reduced.
        threshold_rule: Where the thresholds of the estimates come from.
        resampled: What the groups are.
        level: Coverage that the estimates were made with.
        per_label: Also the results of single units, not only the means.

    Returns:
        One `Result` a metric, in the order of `estimates`; supports and baselines have no row of their own.

    Raises:
        ConfigError: An unknown threshold rule.
    """
    if threshold_rule not in get_args(ThresholdRule):
        raise ConfigError(
            f"There is no threshold rule {threshold_rule!r}.", remedy="Choose fixed, val or oracle."
        )
    results = []
    for name, value in estimates.items():
        metric, slash, label = name.partition("/")
        if metric not in _BASELINES or (label and not per_label):
            continue
        baseline = _BASELINES[metric]
        if isinstance(baseline, str):
            baseline = estimates[baseline + slash + label].value
        rule = threshold_rule if metric in _THRESHOLDED else None
        results.append(Result(f"{target}/{name}", value, baseline, protocol, rule, resampled, level))
    return results


def as_table(results: Sequence[Result], title: str | None = None) -> Table:
    """A rich table of results, for a terminal."""
    from rich.table import Table

    table = Table(title=title)
    for heading in ("metric", "value", "interval", "baseline"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "metric" else "right")
    table.add_column("threshold")
    table.add_column("protocol")
    for r in results:
        interval = f"{_text(r.estimate.low)} – {_text(r.estimate.high)}"
        over = f"{r.protocol}; {100 * r.level:g} % interval over {r.resampled}"
        rule = _RULES[r.threshold_rule] if r.threshold_rule else ""
        table.add_row(r.name, _text(r.estimate.value), interval, _text(r.baseline), rule, over)
    return table


def as_text(results: Sequence[Result], title: str | None = None, *, width: int = 120) -> str:
    """The same table as plain text, for a log or a file."""
    from rich import box
    from rich.console import Console

    table = as_table(results, title)
    table.box = box.ASCII
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    return file.getvalue()


def _number(value: float) -> float | None:
    return None if isnan(value) else value


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"
