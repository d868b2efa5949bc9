"""Base classes of losses with masked arithmetic, and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.registry import Registry

__all__ = ["BatchStatistic", "Loss", "LossTerm", "MaskedLoss", "default_loss", "list_losses", "register"]


@dataclass(frozen=True, slots=True)
class BatchStatistic:
    """Sums over a batch that determine a loss of the whole batch, such as a correlation.

    The task adds the sums of all groups of clips and all processes before it calls `finish`, so the loss does not
    depend on how a batch is divided.

    Args:
        sums: Any shape, with gradients; 0 for a batch without annotations.
        finish: Maps the total of `sums` to a scalar; 0 with zero gradients if nothing is annotated.
        count: Scalar, the number of annotated entries.
    """

    sums: Tensor
    finish: Callable[[Tensor], Tensor]
    count: Tensor


LossTerm = tuple[Tensor, Tensor] | BatchStatistic
"""Loss of one group of clips: sum over annotated entries and their number, both scalar; or a batch statistic."""


class Loss(nn.Module, ABC):
    """Base of all losses, which map logits and labels to a term that the task adds up and reduces.

    Attributes:
        kind: The kind of label space that the loss is for.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, logits: Tensor, value: Tensor, mask: Tensor) -> LossTerm:
        """Compute the term of one group of clips.

        Args:
            logits: Output of the head, of any floating-point type.
            value: Targets. Entries that are not annotated may hold anything, NaN included.
            mask: bool, the shape of `value` (without its last axis for distributions), True for annotated entries.

        Raises:
            ValueError: The shapes do not fit.
        """

    @abstractmethod
    def nothing(self, logits: Tensor) -> LossTerm:
        """Return the term of clips without this target: 0, connected to the logits."""

    def shape_error(self, logits: Tensor, value: Tensor, mask: Tensor) -> ValueError:
        """Return the error for shapes that do not fit."""
        return ValueError(
            f"Logits {list(logits.shape)}, values {list(value.shape)} and mask {list(mask.shape)} "
            f"do not fit a loss of {self.kind}."
        )


class MaskedLoss(Loss):
    """Base of losses that are sums over annotated entries.

    Logits and values of missing entries are set to 0 before anything is computed, so not even a NaN there reaches the
    sum or a gradient. If nothing is annotated, the sum is 0 with zero gradients. Arithmetic is in float32 or float64,
    also under autocast. A subclass sets `kind`, registers itself and implements `per_entry`.

    Args:
        weight: One factor per label, from 0 up.

    Attributes:
        entry_axes: Axes of the logits after those of `mask`: 1 if an entry has several logits, such as its classes.
        soft: Whether targets may be distributions, with one axis more than `mask`.

    Raises:
        ConfigError: A weight is negative or not finite, or an argument of a subclass is out of range.
    """

    entry_axes: ClassVar[int] = 0
    soft: ClassVar[bool] = False
    weight: Tensor | None

    def __init__(self, *, weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self._add_weights("weight", weight)

    def forward(
        self, logits: Tensor, value: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the sum over annotated entries and their number, both scalar and of the same type.

        Args:
            logits: See `Loss`.
            value: See `Loss`.
            mask: See `Loss`.
            weight: Float [B], factors of the clips, which also count as such in the number; 1 by default.
        """
        lead = logits.shape[: logits.ndim - self.entry_axes]
        spread = self.soft and value.ndim == len(lead) + 1
        if lead != (value.shape[:-1] if spread else value.shape) or lead != mask.shape:
            raise self.shape_error(logits, value, mask)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = logits.masked_fill(~(mask.unsqueeze(-1) if self.entry_axes else mask), 0.0)
        value = value.masked_fill(~(mask.unsqueeze(-1) if spread else mask), 0)
        with torch.autocast(logits.device.type, enabled=False):
            losses = self.per_entry(logits, value).masked_fill(~mask, 0.0)
        if weight is None:
            return losses.sum(), mask.sum().to(losses.dtype)
        weight = weight.to(losses.dtype).reshape(-1, *[1] * (mask.ndim - 1))
        return (weight * losses).sum(), (weight * mask).sum()

    def nothing(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return a sum and a count of 0, connected to the logits."""
        return logits.float().sum() * 0.0, logits.new_zeros((), dtype=torch.float32)

    @abstractmethod
    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, in the shape of `mask`.

        Args:
            logits: float32 or float64; missing entries hold 0.
            value: Targets in the type given to `forward`; missing entries hold 0.
        """

    def _add_weights(self, name: str, values: Sequence[float] | None) -> None:
        """Register one non-negative number per label, or None, as the buffer `name`."""
        tensor = None if values is None else torch.tensor([float(value) for value in values])
        if tensor is not None and not bool((tensor.isfinite() & (tensor >= 0)).all()):
            raise ConfigError(f"{name} must hold finite numbers from 0 up, not {tensor.tolist()}.")
        self.register_buffer(name, tensor, persistent=False)

    def _weighted(self, losses: Tensor) -> Tensor:
        """Multiply losses [..., labels] with `weight`."""
        return losses if self.weight is None else losses * self.weight


_LOSSES: Registry[Loss] = Registry("loss")
_DEFAULTS: Registry[Loss] = Registry("kind of label with a default loss")


def register(name: str, *, default: bool = False) -> Callable[[type[Loss]], type[Loss]]:
    """Class decorator that registers a loss.

    Args:
        name: Unique name.
        default: Make it the default of its kind of label; it must need no arguments.

    Raises:
        ConfigError: The name is taken, or the kind has a default loss.
    """

    def add(cls: type[Loss]) -> type[Loss]:
        if default:
            _DEFAULTS.register(cls.kind)(cls)
        return _LOSSES.register(name)(cls)

    return add


def default_loss(space: LabelSpace, name: str | None = None) -> Loss:
    """Build the loss `name`, by default that of the label space; `ConfigError` if its kind has none.

    Example:
        >>> from affectkit.facs import label_space
        >>> default_loss(label_space("basic7"))
        MaskedCrossEntropy()
    """
    return _DEFAULTS.build({"type": space.kind}) if name is None else _LOSSES.build({"type": name})


def list_losses() -> dict[str, type[Loss]]:
    """List the registered losses by name.

    Example:
        >>> list(list_losses())
        ['asymmetric', 'bce', 'ccc', 'cross_entropy', 'dice', 'evidential', 'levels', 'ordinal']
    """
    return {name: _LOSSES[name] for name in _LOSSES.names()}
