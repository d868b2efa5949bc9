"""Metrics with masks, named results and confidence intervals over subjects.

A `torchmetrics.Metric` a kind of label counts into fixed-size integer states; `estimate`, `pooled` and
`mean_of_folds` turn their tallies into numbers with intervals; `collect_results` puts protocol, threshold
rule and baseline beside them.
"""

from __future__ import annotations

from affectkit.metrics.au import AUMetrics
from affectkit.metrics.base import GroupedMetric, ThresholdedMetric, Thresholds
from affectkit.metrics.bootstrap import Estimate, Tally, estimate, mean_of_folds, pooled
from affectkit.metrics.calibration import expected_calibration_error, fit_temperature, log_loss
from affectkit.metrics.dimensions import DimensionMetrics
from affectkit.metrics.expression import ExpressionMetrics
from affectkit.metrics.intensity import IntensityMetrics
from affectkit.metrics.levels import LevelMetrics
from affectkit.metrics.registry import list_metrics, metric_of, register
from affectkit.metrics.results import Result, ThresholdRule, as_table, as_text, collect_results

__all__ = [
    "AUMetrics",
    "DimensionMetrics",
    "Estimate",
    "ExpressionMetrics",
    "GroupedMetric",
    "IntensityMetrics",
    "LevelMetrics",
    "Result",
    "Tally",
    "ThresholdRule",
    "ThresholdedMetric",
    "Thresholds",
    "as_table",
    "as_text",
    "collect_results",
    "estimate",
    "expected_calibration_error",
    "fit_temperature",
    "list_metrics",
    "log_loss",
    "mean_of_folds",
    "metric_of",
    "pooled",
    "register",
]
