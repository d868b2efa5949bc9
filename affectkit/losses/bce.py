"""Binary cross-entropy over independent labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["MaskedBCE"]


@register("bce", default=True)
class MaskedBCE(MaskedLoss):
    r"""Binary cross-entropy, :math:`-\omega_i [\pi_i y \log p + (1-y) \log(1-p)]`.

    Args:
        weight: ω, one a label, times the whole loss of it; see `inverse_frequency_weights`.
        pos_weight: π, one a label, times the loss of its positives only; see `positive_weights`.
        smoothing: Pull targets towards one half: y (1 - smoothing) + smoothing / 2, in [0, 1).

    Raises:
        ConfigError: A weight is negative or the smoothing out of range.

    Example:
        >>> import torch
        >>> loss = MaskedBCE()
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]]))
        (tensor(0.6931), tensor(1.))
    """

    kind = "occurrence"
    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        *,
        weight: Sequence[float] | None = None,
        pos_weight: Sequence[float] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing must be in [0, 1), not {smoothing}.")
        self.buffer("weight", weight)
        self.buffer("pos_weight", pos_weight)
        self.smoothing = smoothing

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry.

        Args:
            logits: [..., A].
            value: [..., A] in [0, 1]; soft targets are allowed.

        Returns:
            [..., A].
        """
        target = value.to(logits.dtype) * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )
