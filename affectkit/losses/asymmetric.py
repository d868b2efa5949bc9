"""The asymmetric loss for rare labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["AsymmetricLoss"]


@register("asymmetric")
class AsymmetricLoss(MaskedLoss):
    r"""Binary cross-entropy that turns away from easy negatives.

    .. math::
        -\omega_i [ y (1-p)^{\gamma_+} \log p + (1-y) p_m^{\gamma_-} \log(1-p_m) ], \quad p_m = \max(p-m, 0)

    Args:
        gamma_pos: Focus on hard positives, 0 or at least 1.
        gamma_neg: Focus on hard negatives, 0 or at least 1.
        clip: The margin m in [0, 1): negatives with p below it are ignored.
        weight: ω, one a label; see `inverse_frequency_weights`.

    Raises:
        ConfigError: A value is out of range. Exponents between 0 and 1 have infinite gradients.

    Example:
        >>> import torch
        >>> loss = AsymmetricLoss(gamma_neg=1.0, clip=0.05)
        >>> loss(torch.tensor([[-4.0]]), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))[0].abs()
        tensor(0.)

    References:
        T. Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021. With `gamma_neg=1` and
        `clip=0.05` it is the loss of K. Yuan et al., "AUFormer", ECCV 2024, at a fixed exponent.
    """

    kind = "occurrence"
    weight: Tensor | None

    def __init__(
        self,
        *,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if any(gamma != 0 and not gamma >= 1 for gamma in (gamma_pos, gamma_neg)):
            raise ConfigError(f"Exponents must be 0 or at least 1, not {gamma_pos} and {gamma_neg}.")
        if not 0 <= clip < 1:
            raise ConfigError(f"clip must be in [0, 1), not {clip}.")
        self.buffer("weight", weight)
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry.

        Args:
            logits: [..., A].
            value: [..., A] in [0, 1]; soft targets are allowed.

        Returns:
            [..., A].
        """
        value = value.to(logits.dtype)
        absent = (-logits).sigmoid()
        positive = F.logsigmoid(logits) * absent**self.gamma_pos
        if self.clip == 0:
            negative = F.logsigmoid(-logits) * logits.sigmoid() ** self.gamma_neg
        else:
            shifted = (absent + self.clip).clamp(max=1.0)  # 1 - p_m
            negative = shifted.log() * (1.0 - shifted) ** self.gamma_neg
        losses = -(value * positive + (1.0 - value) * negative)
        return losses if self.weight is None else losses * self.weight
