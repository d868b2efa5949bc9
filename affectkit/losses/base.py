"""The contract of a loss, and its masked arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["BatchStatistic", "Loss", "LossTerm", "MaskedLoss"]


@dataclass(frozen=True, slots=True)
class BatchStatistic:
    """Sums over a batch from which a loss of the whole batch follows, such as a correlation.

    The task adds up the sums of all groups of clips and all processes before it calls `finish`, so that a loss that is
    no mean over entries is the same however a batch is divided.

    Args:
        sums: Of any shape, with gradients; 0 for a batch without annotations.
        finish: Maps the total of `sums` to a scalar; 0 with zero gradients where nothing is annotated.
        count: Scalar, the number of annotated entries.
    """

    sums: Tensor
    finish: Callable[[Tensor], Tensor]
    count: Tensor


LossTerm = tuple[Tensor, Tensor] | BatchStatistic
"""Of one group of clips: the sum of the losses of annotated entries and their number, both scalar; or a statistic."""


class Loss(nn.Module, ABC):
    """The contract of a loss: from logits and labels to a term that the task adds up and reduces.

    A subclass sets `kind` and is registered under a name.

    Attributes:
        kind: The kind of label space it is for.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, logits: Tensor, value: Tensor, mask: Tensor) -> LossTerm:
        """The term of one group of clips.

        Args:
            logits: What the head returned, of any floating-point type.
            value: Targets; entries that are not annotated may hold anything.
            mask: bool, True where a target is annotated.

        Raises:
            ValueError: The shapes do not fit.
        """

    @abstractmethod
    def nothing(self, logits: Tensor) -> LossTerm:
        """The term of clips without this target: 0, connected to the logits.

        Args:
            logits: What the head returned.
        """

    def misfit(self, logits: Tensor, value: Tensor, mask: Tensor) -> ValueError:
        """The error for shapes that do not fit."""
        return ValueError(
            f"Logits {list(logits.shape)}, values {list(value.shape)} and mask {list(mask.shape)} "
            f"do not fit a loss of {self.kind}."
        )


class MaskedLoss(Loss):
    """Sums the losses of annotated entries and counts them.

    Logits and values of missing entries are replaced by 0 before anything is computed, so that not even a NaN
    there can reach the sum or a gradient. With nothing annotated, the sum is 0, still connected to the
    logits, with zero gradients. Arithmetic is in float32 at least, also under autocast.

    A subclass sets `kind`, is registered under a name, and computes `per_entry`. Weights given for each label
    are buffers [labels].

    Attributes:
        entry_axes: Axes of the logits behind those of `mask`: 1 where an entry has several, such as its classes.
        soft: Targets may be distributions, with one axis more than `mask`.
    """

    entry_axes: ClassVar[int] = 0
    soft: ClassVar[bool] = False

    def forward(self, logits: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            logits: What the head returned, of any floating-point type.
            value: Targets; entries that are not annotated may hold anything.
            mask: bool, of `value`'s shape, True where a target is annotated; for distributions without the last axis.

        Returns:
            The sum over annotated entries, and their number (same type, no gradient). Both scalar.

        Raises:
            ValueError: The shapes do not fit.
        """
        lead = logits.shape[: logits.ndim - self.entry_axes]
        spread = self.soft and value.ndim == len(lead) + 1
        if lead != (value.shape[:-1] if spread else value.shape) or lead != mask.shape:
            raise self.misfit(logits, value, mask)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = logits.masked_fill(~(mask.unsqueeze(-1) if self.entry_axes else mask), 0.0)
        value = value.masked_fill(~(mask.unsqueeze(-1) if spread else mask), 0)
        with torch.autocast(logits.device.type, enabled=False):
            losses = self.per_entry(logits, value).masked_fill(~mask, 0.0)
        return losses.sum(), mask.sum().to(losses.dtype)

    def nothing(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and count of clips without this target.

        Args:
            logits: What the head returned.
        """
        return logits.float().sum() * 0.0, logits.new_zeros((), dtype=torch.float32)

    @abstractmethod
    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry, missing ones included, which hold finite values.

        Args:
            logits: float32 or float64.
            value: Targets, as `forward` gets them.

        Returns:
            The shape of `mask`.
        """

    def buffer(self, name: str, values: Sequence[float] | None) -> None:
        """Keep one non-negative number a label as the buffer `name`, or None.

        Raises:
            ConfigError: A number is negative or not finite.
        """
        tensor = None if values is None else torch.tensor([float(value) for value in values])
        if tensor is not None and not bool((tensor.isfinite() & (tensor >= 0)).all()):
            raise ConfigError(f"{name} must hold finite numbers from 0 up, not {tensor.tolist()}.")
        self.register_buffer(name, tensor, persistent=False)
