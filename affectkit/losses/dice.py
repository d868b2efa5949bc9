"""The dice loss of single entries."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["DiceLoss"]


@register("dice")
class DiceLoss(MaskedLoss):
    r"""One minus a smoothed dice coefficient.

    .. math:: \omega_i [1 - (2yp + \epsilon) / (y^2 + p^2 + \epsilon)]

    It is taken entry by entry, not over a batch, so that it is a sum like every other loss. Bounded, it
    forgives wrong labels more than cross-entropy, beside which it is normally used.

    Args:
        smooth: ε, positive.
        weight: ω, one a label; see `inverse_frequency_weights`.

    Raises:
        ConfigError: `smooth` is not positive or a weight negative.

    Example:
        >>> import torch
        >>> DiceLoss()(torch.tensor([[50.0]]), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))[0]
        tensor(0.)

    References:
        F. Milletari et al., "V-Net", 3DV 2016 (over volumes); Z. Shao et al., "JAA-Net", IJCV 2021, took it
        to action units.
    """

    kind = "occurrence"
    weight: Tensor | None

    def __init__(self, *, smooth: float = 1.0, weight: Sequence[float] | None = None) -> None:
        super().__init__()
        if not smooth > 0:
            raise ConfigError(f"smooth must be positive, not {smooth}.")
        self.buffer("weight", weight)
        self.smooth = smooth

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry.

        Args:
            logits: [..., A].
            value: [..., A] in [0, 1]; soft targets are allowed.

        Returns:
            [..., A].
        """
        value, probability = value.to(logits.dtype), logits.sigmoid()
        overlap = 2 * value * probability + self.smooth
        losses = 1 - overlap / (value.square() + probability.square() + self.smooth)
        return losses if self.weight is None else losses * self.weight
