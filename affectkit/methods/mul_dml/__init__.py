"""Multi-threshold metric learning: embeddings in slices, each trained at its own threshold (arXiv 2406.16434)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.mul_dml.head import MetricAUHead, MetricExpressionHead, MetricHead
from affectkit.methods.mul_dml.loss import MultiThresholdTriplet, largest_threshold, mean_distance
from affectkit.methods.mul_dml.neighbours import (
    Gallery,
    Neighbours,
    embed_gallery,
    face_vectors,
    metric_head,
    neighbours_by_label,
    neighbours_of,
    retrieval_rates,
    write_neighbours,
)

if TYPE_CHECKING:
    from affectkit.methods.mul_dml.task import MulDML

__all__ = [
    "Gallery",
    "MetricAUHead",
    "MetricExpressionHead",
    "MetricHead",
    "MulDML",
    "MultiThresholdTriplet",
    "Neighbours",
    "embed_gallery",
    "face_vectors",
    "largest_threshold",
    "mean_distance",
    "metric_head",
    "neighbours_by_label",
    "neighbours_of",
    "retrieval_rates",
    "write_neighbours",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "MulDML":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.mul_dml.task import MulDML

    return MulDML
