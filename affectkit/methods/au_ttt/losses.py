"""Losses of AU-TTT: units by MDWA, heat maps by their squared error."""

from __future__ import annotations

from typing import Literal

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.losses import AsymmetricLoss

__all__ = ["HeatMapLoss", "MDWALoss", "difficulty"]

Gamma = Literal["rate", "one"]


class MDWALoss(AsymmetricLoss):
    r"""Margin-truncated, difficulty-aware weighted asymmetric loss.

    .. math::
        -\omega_i [ y \log p + (1-y) p_m^{\gamma_i} \log(1-p_m) ], \quad p_m = \max(p-m, 0)

    Weights :math:`\omega` and exponents :math:`\gamma` are 1 until the task sets them from the training labels.

    Args:
        margin: m in [0, 1); negatives with a smaller p are ignored.

    Raises:
        ConfigError: The margin is out of range.

    Example:
        >>> loss = MDWALoss()
        >>> loss.gamma_neg = torch.tensor([1.0, 2.0])
        >>> loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))[0]
        tensor(0.3901)

    References:
        K. Yuan et al., "AUFormer", ECCV 2024.
    """

    gamma_neg: Tensor

    def __init__(self, *, margin: float = 0.05) -> None:
        super().__init__(gamma_neg=1.0, clip=margin)
        del self.gamma_neg
        self.register_buffer("gamma_neg", torch.ones(()), persistent=False)


def difficulty(rates: Tensor) -> Tensor:
    r"""Exponents :math:`\gamma_i = 1 + (r_{max} - r_i) / (r_{max} - r_{min})` in [1, 2], larger for rare units.

    The mapping is ours: AUFormer states only that the exponent depends on the difficulty of a unit.

    Args:
        rates: [A], share of positives among the training labels; NaN for units without a label, whose exponent is 1.

    Example:
        >>> difficulty(torch.tensor([0.5, 0.1, 0.3, float("nan")]))
        tensor([1.0000, 2.0000, 1.5000, 1.0000])
    """
    known = rates[rates.isfinite()]
    spread = known.max() - known.min()
    if spread == 0:
        return torch.ones_like(rates)
    return torch.nan_to_num(1 + (known.max() - rates) / spread, nan=1.0)


class HeatMapLoss(nn.Module):
    r"""Squared error of heat maps: :math:`(M_i - (2y_i - 1) H_i)^2`, averaged over the map of an annotated unit.

    Example:
        >>> mask = torch.tensor([[True, False]])
        >>> HeatMapLoss()(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.ones(1, 2), mask)
        (tensor(1.), tensor(1.))

    References:
        AU-TTT, arXiv 2503.23450, whose figure shows signed maps; their shape is that of Y. Yin et al., "FG-Net",
        WACV 2024.
    """

    def forward(self, maps: Tensor, heat: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            maps: [B, A, S, S], predicted maps.
            heat: [B, A, S, S], heat maps of the regions, in [0, 1].
            value: [B, A], 0 or 1; any value for entries without annotation.
            mask: bool [B, A], True for annotated entries.

        Returns:
            The sum over annotated entries and their number, both scalar; the sum always has a gradient to `maps`.
        """
        sign = 2 * value.masked_fill(~mask, 0.0).float() - 1
        errors = F.mse_loss(maps.float(), sign[..., None, None] * heat, reduction="none")
        each = reduce(errors, "b a y x -> b a", "mean")
        return torch.where(mask, each, 0.0).sum(), mask.sum().to(each.dtype)
