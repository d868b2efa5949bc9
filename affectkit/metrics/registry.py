"""The metric of each kind of label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from affectkit.facs import LabelSpace
from affectkit.metrics.base import GroupedMetric
from affectkit.registry import Registry

__all__ = ["list_metrics", "metric_of", "register"]

M = TypeVar("M", bound=GroupedMetric)

_METRICS: Registry[GroupedMetric] = Registry("kind of label with a metric")


def register(kind: str) -> Callable[[type[M]], type[M]]:
    """Class decorator that makes a metric that of a kind of label.

    Args:
        kind: See `affectkit.facs.LabelSpace`.

    Raises:
        ConfigError: The kind has a metric.
    """

    def file(cls: type[M]) -> type[M]:
        _METRICS.register(kind)(cls)
        return cls

    return file


def list_metrics() -> dict[str, type[GroupedMetric]]:
    """The registered metrics by kind of label.

    Example:
        >>> list_metrics()["categories"].monitor
        'uar'
    """
    return {kind: _METRICS[kind] for kind in _METRICS.names()}


def metric_of(space: LabelSpace, num_groups: int, **kwargs: Any) -> GroupedMetric:
    """Make the metric of a label space.

    Args:
        space: The label space.
        num_groups: Number of groups: subjects, or clips where a corpus has no subject ids.
        kwargs: As for `torchmetrics.Metric`.

    Raises:
        ConfigError: Its kind has no metric.

    Example:
        >>> from affectkit.facs import label_space
        >>> metric_of(label_space("AU1,AU12"), num_groups=3).labels
        ('AU1', 'AU12')
    """
    return _METRICS[space.kind].of(space, num_groups, **kwargs)
