"""What every task shares: the reduction of masked losses, and which data a loader holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from affectkit.data import ClipBatch, concat
from affectkit.losses import inverse_frequency_weights, positive_weights

__all__ = ["Averaging", "Balance", "balance_weights", "batches_of", "group_by_shape", "reduce_loss"]

Balance = Literal["inverse_frequency", "positives"]
Averaging = Literal["global", "local"]


def reduce_loss(total: Tensor, count: Tensor, normalize: Averaging = "global") -> Tensor:
    """Mean loss over the annotated entries, unbiased when ranks hold different numbers of them.

    Gradients are averaged over ranks by DDP, so the sum of a rank is divided by the mean count of all ranks. With
    `local`, each rank divides by its own count, which gives labels of sparsely annotated ranks a larger weight.

    Args:
        total: Scalar, sum of the losses of the annotated entries on this rank.
        count: Scalar, their number on this rank.
        normalize: `global` (unbiased, one tiny all-reduce) or `local`.

    Returns:
        Scalar; 0 with zero gradients where nothing is annotated.

    Example:
        >>> reduce_loss(torch.tensor(6.0), torch.tensor(3))
        tensor(2.)
    """
    count = count.detach().to(total.dtype)
    if normalize == "global" and dist.is_available() and dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return total / torch.where(count > 0, count, torch.ones_like(count))


def batches_of(batch: ClipBatch | Mapping[str, ClipBatch]) -> list[ClipBatch]:
    """The batches of all sources of one step, whether the datamodule holds one source or several."""
    return [batch] if isinstance(batch, ClipBatch) else list(batch.values())


def group_by_shape(batches: list[ClipBatch]) -> list[ClipBatch]:
    """Join the batches whose frames have the same shape, so that the backbone runs once for each shape."""
    groups: dict[Any, list[ClipBatch]] = {}
    for batch in batches:
        groups.setdefault(batch.frames.shape[1:], []).append(batch)
    return [group[0] if len(group) == 1 else concat(group) for group in groups.values()]


def balance_weights(rates: Tensor, balance: Balance) -> Tensor:
    """Loss weights of action units from their occurrence rates in the training labels.

    Units without a positive (or without a label) get the weight 1 and no part in the others' weights.

    Args:
        rates: float64 `[A]`, NaN for units that are not annotated.
        balance: `inverse_frequency` or `positives`, see `affectkit.losses`.

    Returns:
        float32 `[A]`.

    Example:
        >>> balance_weights(torch.tensor([0.5, 0.1, float("nan")]), "positives")
        tensor([1., 3., 1.])
    """
    seen = rates > 0
    found = rates[seen].tolist()
    weights = torch.ones(len(rates))
    if found:
        weights[seen] = torch.tensor(
            inverse_frequency_weights(found) if balance == "inverse_frequency" else positive_weights(found)
        )
    return weights
