"""Metrics with masks, named results and confidence intervals over subjects.

Three `torchmetrics.Metric` classes count into integer states; `estimate`, `pooled` and `mean_of_folds` turn their
tallies into numbers with intervals; `collect_results` puts protocol, threshold rule and baseline beside them.
"""

from __future__ import annotations

from affectkit.metrics.au import AUMetrics, Thresholds
from affectkit.metrics.calibration import expected_calibration_error, fit_temperature, log_loss
from affectkit.metrics.expression import ExpressionMetrics
from affectkit.metrics.intensity import IntensityMetrics
from affectkit.metrics.intervals import Estimate, Tally, estimate, mean_of_folds, pooled
from affectkit.metrics.results import Result, ThresholdRule, as_table, as_text, collect_results

__all__ = [
    "AUMetrics",
    "Estimate",
    "ExpressionMetrics",
    "IntensityMetrics",
    "Result",
    "Tally",
    "ThresholdRule",
    "Thresholds",
    "as_table",
    "as_text",
    "collect_results",
    "estimate",
    "expected_calibration_error",
    "fit_temperature",
    "log_loss",
    "mean_of_folds",
    "pooled",
]
