"""The loss of ordered intensities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, arange
from torch.nn import functional as F

from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["OrdinalLoss"]


@register("ordinal", default=True)
class OrdinalLoss(MaskedLoss):
    r"""Mean binary cross-entropy of the questions "is it at least k?", k = 1..K.

    The target of question k is min(max(y - k + 1, 0), 1): 0 or 1 for whole intensities, and in between a
    share, so that the expected intensity :math:`\sum_k P(y \ge k)` is right for averaged annotations too.
    Each question is answered best by the true probability, and mistakes cost more the more levels they miss.

    Args:
        weight: One a unit, times the loss of it.

    Raises:
        ConfigError: A weight is negative.

    Example:
        >>> import torch
        >>> certain = torch.tensor([[[50.0, 50.0, -50.0, -50.0, -50.0]]])
        >>> OrdinalLoss()(certain, torch.tensor([[2.0]]), torch.tensor([[True]]))[0].round()
        tensor(0.)

    References:
        L. Li and H.-T. Lin, "Ordinal regression by extended binary classification", NeurIPS 2006.
    """

    kind = "intensity"
    entry_axes = 1
    weight: Tensor | None

    def __init__(self, *, weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self.buffer("weight", weight)

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry.

        Args:
            logits: [..., A, K] of "at least k", k = 1..K.
            value: [..., A] in [0, K]; fractions are allowed.

        Returns:
            [..., A].
        """
        below = arange(logits.shape[-1], device=logits.device)  # k - 1
        target = (value.to(logits.dtype).unsqueeze(-1) - below).clamp(0.0, 1.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
        return losses if self.weight is None else losses * self.weight
