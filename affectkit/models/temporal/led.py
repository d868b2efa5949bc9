"""Learned temporal filter for movements at the speed of micro-expressions."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

__all__ = ["LEDFilter"]


class LEDFilter(nn.Module):
    r"""Difference of two exponential averages over time, normalised by intensity.

    With decays :math:`r_1 > r_2` and gain α, frame i contributes to output j by
    :math:`W_{ij} = \alpha (1 - r_1)^{j-i} r_1^{\min(1, i)} - \alpha (1 - r_2)^{j-i} r_2^{\min(1, i)}` for j > i,
    :math:`W_{ii} = \alpha (r_1 - r_2)`, and 0 for j < i; then
    :math:`y_j = \sum_i x_i W_{ij} / (\sum_i x_i |W_{ij}| + 1)`. The logarithms of α, r₁ and r₂ are learned.

    Args:
        alpha: Initial α.
        fast: Initial r₁.
        slow: Initial r₂.

    Example:
        >>> still = torch.full((1, 6, 1), 100.0)
        >>> LEDFilter()(still).shape
        torch.Size([1, 5, 1])

    References:
        T. Varanka, W. Peng and G. Zhao, "Learnable Eulerian dynamics for micro-expression action unit detection",
        SCIA 2023.
    """

    def __init__(self, *, alpha: float = 10.0, fast: float = 0.4, slow: float = 0.05) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(alpha).log())
        self.log_fast = nn.Parameter(torch.tensor(fast).log())
        self.log_slow = nn.Parameter(torch.tensor(slow).log())

    def weights(self, frames: int) -> Tensor:
        """W [T, T], with rows i and columns j, for T `frames`."""
        places = torch.arange(frames, device=self.log_alpha.device)
        lag = (places[None, :] - places[:, None]).to(self.log_alpha.dtype)
        inner = (places > 0)[:, None]

        def average(rate: Tensor) -> Tensor:
            return (1 - rate) ** lag.clamp(min=0) * torch.where(inner, rate, 1.0)

        fast, slow = self.log_fast.exp(), self.log_slow.exp()
        later = average(fast) - average(slow)
        kernel = torch.where(lag > 0, later, torch.where(lag == 0, (fast - slow).expand_as(later), 0.0))
        return self.log_alpha.exp() * kernel

    def forward(self, frames: Tensor) -> Tensor:
        """Filter frames.

        Args:
            frames: [B, T, ...], T at least 2; intensities from 0 to 255, or any features of that order.

        Returns:
            [B, T - 1, ...] in [-1, 1]: outputs of all frames except the first, which has no past.
        """
        kernel = self.weights(frames.shape[1]).to(frames.dtype)
        flat = rearrange(frames, "b t ... -> b t (...)")
        signal = einsum(flat, kernel, "b i x, i j -> b j x")
        strength = einsum(flat.abs(), kernel.abs(), "b i x, i j -> b j x")
        return (signal / (strength + 1))[:, 1:].reshape(frames.shape[0], -1, *frames.shape[2:])
