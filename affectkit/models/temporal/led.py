"""A learned filter over time that keeps what moves as fast as a micro-expression."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LEDFilter"]


class LEDFilter(nn.Module):
    r"""Difference of two exponential averages over time, normalised by intensity.

    With decays :math:`r_1 > r_2` and gain α, frame i enters output j through
    :math:`W_{ij} = \alpha (1 - r_1)^{j-i} r_1^{\min(1, i)} - \alpha (1 - r_2)^{j-i} r_2^{\min(1, i)}` for j > i,
    :math:`W_{ii} = \alpha (r_1 - r_2)`, and 0 for j < i; then
    :math:`y_j = \sum_i x_i W_{ij} / (\sum_i x_i |W_{ij}| + 1)`. The three numbers are learned as logarithms.

    Args:
        alpha: α at the beginning.
        fast: r₁ at the beginning.
        slow: r₂ at the beginning.

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
        """W, [T, T]: rows i, columns j.

        Args:
            frames: T.
        """
        places = torch.arange(frames, device=self.log_alpha.device)
        lag = (places[None, :] - places[:, None]).to(self.log_alpha.dtype)
        inner = (places > 0)[:, None]

        def average(log_rate: Tensor) -> Tensor:
            rate = log_rate.exp()
            return (1 - rate) ** lag.clamp(min=0) * torch.where(inner, rate, 1.0)

        fast, slow = self.log_fast, self.log_slow
        later = average(fast) - average(slow)
        now = (fast.exp() - slow.exp()).expand_as(later)
        kernel = torch.where(lag > 0, later, torch.where(lag == 0, now, 0.0))
        return self.log_alpha.exp() * kernel

    def forward(self, frames: Tensor) -> Tensor:
        """Filter.

        Args:
            frames: [B, T, ...], T at least 2; intensities from 0 to 255, or any features of that order.

        Returns:
            [B, T - 1, ...] in [-1, 1]: the outputs of all frames but the first, which has no past.
        """
        kernel = self.weights(frames.shape[1]).to(frames.dtype)
        flat = frames.flatten(2)
        signal = torch.einsum("bix,ij->bjx", flat, kernel)
        strength = torch.einsum("bix,ij->bjx", flat.abs(), kernel.abs())
        return (signal / (strength + 1))[:, 1:].reshape(frames.shape[0], -1, *frames.shape[2:])
