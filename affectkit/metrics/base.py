"""Base class of the metrics, and the metric of each kind of label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

from affectkit.errors import LabelSpaceError
from affectkit.facs import LabelSpace
from affectkit.metrics.intervals import Tally
from affectkit.registry import Registry

__all__ = [
    "AMOUNT",
    "GroupedMetric",
    "ThresholdedMetric",
    "Thresholds",
    "list_metrics",
    "metric_of",
    "register",
    "with_means",
]

Thresholds = float | Sequence[float] | Mapping[str, float]

AMOUNT = (0.0, inf)
"""Range of counts and of errors without an upper limit."""


class GroupedMetric(Metric, ABC):
    """A metric with integer states per group (subject), either summed or concatenated.

    Results are therefore exact over any number of processes, one without data included, and whole subjects can be left
    out for a confidence interval. `update` takes `(prediction, value, mask, group, valid=None)`:

    - prediction and value: see the subclass. Entries that are not annotated may hold anything, NaN included.
    - mask: bool, True for annotated entries.
    - group: integer [B], the group of each row.
    - valid: bool [B], False for rows that only pad the batch; None means all True.

    It raises `ValueError` if shapes disagree, a group is out of range or an annotated entry is not a usable number.

    Args:
        labels: Unique label names, in the order of the last axis.
        num_groups: Number of groups: subjects, or clips if a corpus has no subject ids. `group` is in
            0 … num_groups − 1.

    Attributes:
        logged: Names of the results to log in validation and test.
        monitor: Result that chooses an epoch; larger is better.
        baselines: Results to report, each with its trivial baseline: the name of another result, or a number.
        thresholded: Results to report that depend on a decision threshold; only of a `ThresholdedMetric`.
        errors: Results to report of which smaller is better.
        ranges: Lowest and highest value of results, by the first part of their names; 0 and 1 by default.
        both_reductions: Whether folds are reported by both reductions, because publications use either.

    Raises:
        LabelSpaceError: Labels are empty or duplicated.
    """

    logged: ClassVar[tuple[str, ...]]
    monitor: ClassVar[str]
    baselines: ClassVar[Mapping[str, str | float]]
    thresholded: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[frozenset[str]] = frozenset()
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    both_reductions: ClassVar[bool] = False

    is_differentiable = False
    full_state_update = False

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        # torchmetrics would cache compute() whatever its arguments.
        super().__init__(compute_with_cache=False, **kwargs)
        self.labels = tuple(labels)
        self.num_groups = num_groups
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise LabelSpaceError(f"A metric needs at least one label and unique labels, not {self.labels}.")
        if num_groups < 1:
            raise ValueError(f"num_groups must be at least 1, not {num_groups}")

    @classmethod
    def of(cls, space: LabelSpace, num_groups: int, **options: Any) -> Self:
        """Build the metric of a label space; `options` are those of `torchmetrics.Metric`."""
        return cls(space.labels, num_groups, **options)

    @property
    def update_called(self) -> bool:
        """Always True, so that torchmetrics does not warn about a process without data."""
        return True

    @abstractmethod
    def _tally(self) -> Tally:
        """Make the tally of the states as they are, without synchronising."""

    def tally(self) -> Tally:
        """Return the sums per group over all processes, for `estimate`, `pooled` and `mean_of_folds`.

        All processes that evaluate must call it.
        """
        with self._synced():
            return self._tally()

    def compute(self) -> dict[str, Tensor]:
        """Compute all results as float64 scalars, by the names that the class lists."""
        return self._on_device(self._tally())

    @contextmanager
    def _synced(self) -> Iterator[None]:
        """Hold the states of all processes within the context."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            yield

    def _on_device(self, tally: Tally) -> dict[str, Tensor]:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: value.to(self.device, dtype) for name, value in tally.point().items()}

    def _observed(
        self, mask: Tensor, group: Tensor, valid: Tensor | None, **same_shape: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Check shapes and groups, and find the entries that count.

        Args:
            mask: Bool [B, …].
            group: Integer [B].
            valid: Bool [B] or None.
            same_shape: Tensors that must have the shape of `mask`, by name for the error.

        Returns:
            Bool [B, …], the entries that count, and int64 [n], the group of each in row-major order.
        """
        for name, tensor in same_shape.items():
            if tensor.shape != mask.shape:
                raise ValueError(f"{name} has the shape {list(tensor.shape)} but mask has {list(mask.shape)}")
        rows = mask.shape[:1]
        if group.shape != rows or (valid is not None and valid.shape != rows):
            raise ValueError(f"group and valid must have the shape {list(rows)}, one entry a row")
        column = (-1,) + (1,) * (mask.ndim - 1)
        keep = mask.bool() if valid is None else mask.bool() & valid.bool().view(column)
        group = group.view(column).expand_as(mask)[keep].long()
        if ((group < 0) | (group >= self.num_groups)).any():
            raise ValueError(f"group must be in 0 … {self.num_groups - 1}")
        return keep, group

    def _label_of(self, keep: Tensor) -> Tensor:
        """Label index int64 [n] of each entry that counts, from bool [B, …, labels]."""
        if keep.shape[-1] != len(self.labels):
            raise ValueError(f"the batch has {keep.shape[-1]} labels but the metric has {len(self.labels)}")
        return torch.arange(len(self.labels), device=keep.device).expand_as(keep)[keep]


class ThresholdedMetric(GroupedMetric):
    """A metric of logits whose results depend on one decision threshold per label, on the scale of probabilities."""

    @abstractmethod
    def _tally(self, thresholds: Thresholds = 0.5) -> Tally: ...

    def compute(self, thresholds: Thresholds = 0.5) -> dict[str, Tensor]:
        """Compute all results as float64 scalars, by the names that the class lists.

        Args:
            thresholds: One for all labels, one per label in their order, or by label name.

        Raises:
            ConfigError: A threshold is outside 0–1.
            LabelSpaceError: Thresholds are for other labels than the metric's.
        """
        return self._on_device(self._tally(thresholds))

    def tally(self, thresholds: Thresholds = 0.5) -> Tally:
        """Return the sums per group over all processes; thresholds are those of `compute`."""
        with self._synced():
            return self._tally(thresholds)

    @abstractmethod
    def best_thresholds(self) -> dict[str, float]:
        """Find the threshold of each label that maximises its result on the data seen so far."""


def with_means(
    per_label: Mapping[str, Tensor], labels: Sequence[str], present: Tensor | None = None
) -> dict[str, Tensor]:
    """Name the results of each label and add their means.

    Args:
        per_label: Results by metric name, float [..., A]; NaN for a label without a result.
        labels: The A label names.
        present: Bool [..., A], False for labels whose results are undefined.

    Returns:
        `name` (the mean over the labels with a result) and `name/label` for each, float [...].

    Example:
        >>> with_means({"f1_pos": torch.tensor([0.5, float("nan")])}, ["AU1", "AU2"])["f1_pos"].item()
        0.5
    """
    if present is not None:
        per_label = {name: values.masked_fill(~present, torch.nan) for name, values in per_label.items()}
    named = {name: values.nanmean(-1) for name, values in per_label.items()}
    for name, values in per_label.items():
        named |= by_label(name, values, labels)
    return named


def by_label(name: str, values: Tensor, labels: Sequence[str]) -> dict[str, Tensor]:
    """Name the values [..., A] of each label `name/label`."""
    return {f"{name}/{label}": values[..., i] for i, label in enumerate(labels)}


M = TypeVar("M", bound=GroupedMetric)

_METRICS: Registry[GroupedMetric] = Registry("kind of label with a metric")


def register(kind: str) -> Callable[[type[M]], type[M]]:
    """Class decorator that registers the metric of a kind of label, see `affectkit.facs.LabelSpace`.

    Raises:
        ConfigError: The kind has a metric.
    """

    def add(cls: type[M]) -> type[M]:
        _METRICS.register(kind)(cls)
        return cls

    return add


def list_metrics() -> dict[str, type[GroupedMetric]]:
    """List the registered metrics by kind of label.

    Example:
        >>> list_metrics()["categories"].monitor
        'uar'
    """
    return {kind: _METRICS[kind] for kind in _METRICS.names()}


def metric_of(space: LabelSpace, num_groups: int, **options: Any) -> GroupedMetric:
    """Build the metric of a label space, see `GroupedMetric.of`.

    Raises:
        ConfigError: Its kind has no metric.

    Example:
        >>> from affectkit.facs import label_space
        >>> metric_of(label_space("AU1,AU12"), num_groups=3).labels
        ('AU1', 'AU12')
    """
    return _METRICS[space.kind].of(space, num_groups, **options)
