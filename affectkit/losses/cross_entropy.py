"""Cross-entropy over exclusive classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["MaskedCrossEntropy"]


@register("cross_entropy", default=True)
class MaskedCrossEntropy(MaskedLoss):
    r"""Cross-entropy, :math:`-\omega_c \log p_c` of the annotated class c.

    The loss of a distribution q over the classes is :math:`-\sum_c \omega_c q_c \log p_c`. The count is the number of
    annotated entries, not the sum of their weights as in PyTorch's mean.

    Args:
        weight: ω, one factor per class.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ConfigError: A weight is negative or the smoothing out of range.

    Example:
        >>> import torch
        >>> loss = MaskedCrossEntropy()
        >>> loss(torch.zeros(2, 4), torch.tensor([3, 0]), torch.tensor([True, False]))
        (tensor(1.3863), tensor(1.))
    """

    kind = "categories"
    entry_axes = 1
    soft = True

    def __init__(self, *, weight: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(weight=weight)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [...].

        Args:
            logits: [..., E].
            value: int64 [...], class indices; or float [..., E], distributions.
        """
        soft = value.is_floating_point()
        flat = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            value.to(logits.dtype).reshape(-1, logits.shape[-1]) if soft else value.reshape(-1),
            weight=None if self.weight is None else self.weight.to(logits.dtype),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return flat.reshape(logits.shape[:-1])
