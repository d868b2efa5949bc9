"""Metrics with masks, named results and confidence intervals over subjects.

Each kind of label has a `torchmetrics.Metric` with integer states. `estimate`, `pooled` and `mean_of_folds` turn its
tallies into numbers with intervals; `collect_results` adds protocol, threshold rule and baseline.
"""

from __future__ import annotations

from affectkit.metrics.au import AUMetrics
from affectkit.metrics.base import (
    GroupedMetric,
    ThresholdedMetric,
    Thresholds,
    list_metrics,
    metric_of,
    register,
)
from affectkit.metrics.calibration import expected_calibration_error, fit_temperature, log_loss
from affectkit.metrics.comparison import Comparison, compare
from affectkit.metrics.confusion import ExpressionMetrics, LevelMetrics
from affectkit.metrics.intervals import Estimate, Tally, estimate, mean_of_folds, pooled
from affectkit.metrics.moments import DimensionMetrics, IntensityMetrics
from affectkit.metrics.results import Groups, Result, ThresholdRule, as_text, collect_results
from affectkit.metrics.retrieval import retrieval_ranks, retrieval_results

__all__ = [
    "AUMetrics",
    "Comparison",
    "DimensionMetrics",
    "Estimate",
    "ExpressionMetrics",
    "GroupedMetric",
    "Groups",
    "IntensityMetrics",
    "LevelMetrics",
    "Result",
    "Tally",
    "ThresholdRule",
    "ThresholdedMetric",
    "Thresholds",
    "as_text",
    "collect_results",
    "compare",
    "estimate",
    "expected_calibration_error",
    "fit_temperature",
    "list_metrics",
    "log_loss",
    "mean_of_folds",
    "metric_of",
    "pooled",
    "register",
    "retrieval_ranks",
    "retrieval_results",
]
