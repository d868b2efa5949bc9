"""Shared base of the metrics: integer states grouped by subject, and the checks of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from affectkit.errors import LabelSpaceError
from affectkit.metrics.intervals import Tally

__all__ = ["GroupedMetric", "with_means"]


class GroupedMetric(Metric, ABC):
    """A metric whose states are integers that know their group (a subject).

    Integers, summed or simply joined, make three things exact: adding the states of any number of processes, one
    that has seen no data included; leaving masked entries out; and leaving out whole subjects for a confidence
    interval.

    Args:
        labels: Label names in the order of the last axis, unique.
        num_groups: Number of groups; `group` indices lie in 0 … num_groups − 1.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, labels: Sequence[str], num_groups: int, **kwargs: Any) -> None:
        # torchmetrics would cache compute() whatever its arguments.
        super().__init__(compute_with_cache=False, **kwargs)
        self.labels = tuple(labels)
        self.num_groups = num_groups
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise LabelSpaceError(f"A metric needs unique labels, at least one, but got {self.labels}.")
        if num_groups < 1:
            raise ValueError(f"num_groups must be at least 1, not {num_groups}")

    @property
    def update_called(self) -> bool:
        """Always true: a process without data is legal and must not make torchmetrics warn."""
        return True

    @abstractmethod
    def _tally(self) -> Tally:
        """Make the tally of the states as they are, without synchronising."""

    def tally(self) -> Tally:
        """The sums of every group over all processes, ready for `estimate`, `pooled` and `mean_of_folds`.

        Where several processes evaluate, all of them must call it.
        """
        with self._synced():
            return self._tally()

    def compute(self) -> dict[str, Tensor]:
        """All results by name, as float64 scalars; the class lists the names."""
        return self._named(self._tally())

    @contextmanager
    def _synced(self) -> Iterator[None]:
        """Let the states hold those of all processes for a while."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            yield

    def _named(self, tally: Tally) -> dict[str, Tensor]:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: value.to(self.device, dtype) for name, value in tally.point().items()}

    def _observed(
        self, mask: Tensor, group: Tensor, valid: Tensor | None, **same_shape: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Which entries count, and the group of each.

        Args:
            mask: Bool [B, …], true where annotated.
            group: Integer [B].
            valid: Bool [B], false for rows that only pad a batch; None means all true.
            same_shape: Tensors that must have the shape of `mask`, by name for the error.

        Returns:
            Bool [B, …] and int64 [n], the group of each entry that counts, in row-major order.

        Raises:
            ValueError: Shapes that disagree, or a group outside the range in an entry that counts.
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
            raise ValueError(f"a group lies outside 0 … {self.num_groups - 1}")
        return keep, group


def with_means(per_label: Mapping[str, Tensor], labels: Sequence[str]) -> dict[str, Tensor]:
    """Name each label's result and add the mean over labels that have one.

    Args:
        per_label: Results by metric name, float [..., A]; NaN where a label has no result.
        labels: The A label names.

    Returns:
        `name` (the mean over the labels whose result is not NaN) and `name/label` for each, float [...].

    Example:
        >>> with_means({"f1_pos": torch.tensor([0.5, float("nan")])}, ["AU1", "AU2"])["f1_pos"].item()
        0.5
    """
    named = {name: values.nanmean(-1) for name, values in per_label.items()}
    for name, values in per_label.items():
        named |= {f"{name}/{label}": values[..., i] for i, label in enumerate(labels)}
    return named
