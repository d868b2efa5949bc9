"""The contract of a loss, and its masked arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["MaskedLoss"]


class MaskedLoss(nn.Module, ABC):
    """Sums the losses of annotated entries and counts them.

    Logits and values of missing entries are replaced by 0 before anything is computed, so that not even a NaN
    there can reach the sum or a gradient. With nothing annotated, the sum is 0, still connected to the
    logits, with zero gradients. Arithmetic is in float32 at least, also under autocast.

    A subclass sets `kind`, is registered under a name, and computes `per_entry`. Weights given for each label
    are buffers [labels].

    Attributes:
        kind: The kind of label space it is for.
        entry_axes: Axes of the logits behind those of `mask`: 1 where a label has several, such as its classes.
    """

    kind: ClassVar[str]
    entry_axes: ClassVar[int] = 0

    def forward(self, logits: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            logits: What the head returned, of any floating-point type.
            value: Targets; entries that are not annotated may hold anything.
            mask: bool, of `value`'s shape, True where a target is annotated.

        Returns:
            The sum over annotated entries, and their number (same type, no gradient). Both scalar.

        Raises:
            ValueError: The shapes do not fit.
        """
        lead = logits.shape[: logits.ndim - self.entry_axes]
        if lead != value.shape or lead != mask.shape:
            raise ValueError(
                f"Logits {list(logits.shape)}, values {list(value.shape)} and mask {list(mask.shape)} "
                f"do not fit a loss of {self.kind}."
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = logits.masked_fill(~(mask.unsqueeze(-1) if self.entry_axes else mask), 0.0)
        value = value.masked_fill(~mask, 0)
        with torch.autocast(logits.device.type, enabled=False):
            losses = self.per_entry(logits, value).masked_fill(~mask, 0.0)
        return losses.sum(), mask.sum().to(losses.dtype)

    @abstractmethod
    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry, missing ones included, which hold finite values.

        Args:
            logits: float32 or float64.
            value: Targets, as `forward` gets them.

        Returns:
            The shape of `value`.
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
