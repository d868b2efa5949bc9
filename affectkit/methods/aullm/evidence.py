"""From maps of a movement to the content token: channel attention, and two projectors."""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ChannelAttention", "FlatProjector", "GranularProjector"]

_MID, _HIGH = 512, 256
_LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class ChannelAttention(nn.Module):
    """Squeeze and excitation: each channel times a weight from 0 to 1, computed from the means of all channels.

    Args:
        channels: Number of channels C.
        reduction: Ratio of C and the width of the hidden layer.

    Example:
        >>> ChannelAttention(8)(torch.ones(1, 8, 2, 3, 3)).shape
        torch.Size([1, 8, 2, 3, 3])

    References:
        J. Hu, L. Shen and G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weigh = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Weighted maps [B, C, T, H, W]."""
        weights = self.weigh(reduce(maps, "b c t h w -> b c", "mean"))
        weighted: Tensor = maps * rearrange(weights, "b c -> b c 1 1 1")
        return weighted


class _Laplacian(nn.Module):
    """Differences of each place from its four neighbours, times a learned gain for each channel."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.register_buffer("kernel", torch.tensor(_LAPLACE)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        channels = maps.shape[1]
        padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")  # no edge at the border
        return self.gain * F.conv2d(padded, self.kernel.expand(channels, -1, -1, -1), groups=channels)


class _Context(nn.Module):
    """Mean over all places, at every place, times a learned gain for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return self.gain * reduce(maps, "b c h w -> b c 1 1", "mean").expand_as(maps)


class GranularProjector(nn.Module):
    r"""Multi-granularity evidence projector: operators of several scales, a gate over them, and two levels.

    Two meso operators (3 × 3 and 5 × 5), a global one (the mean over all places) and a Laplacian act on each channel. A
    harmonisation layer that they share (1 × 1 convolution, group normalisation, GELU) gives :math:`x_o`, and
    :math:`x' = x + \sum_o \pi_o x_o` with :math:`\pi` = softmax of a linear function of their means. The middle level
    is a layer over x' on a grid of 3 × 3 places, the high level a layer over the middle one. The token is a
    normalised MLP of both.

    Args:
        channels: Number of channels C.
        width: Width W of the token.
        laplacian: Use the Laplacian.
        gate: Learn the weights of the operators; equal weights otherwise.
        dropout: Probability, before the MLP.
        grid: Places per side of the middle level.

    Example:
        >>> GranularProjector(8, 16)(torch.ones(2, 8, 4, 18, 18)).shape
        torch.Size([2, 16])

    References:
        AULLM++, arXiv 2603.08387, names operators, harmonisation, gate, skip and levels. Kernels, grid and widths are
        ours: the full paper was not available.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        laplacian: bool = True,
        gate: bool = True,
        dropout: float = 0.0,
        grid: int = 3,
    ) -> None:
        super().__init__()
        self.operators = nn.ModuleDict(
            {
                "meso3": nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                "meso5": nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
                "context": _Context(channels),
            }
        )
        if laplacian:
            self.operators["laplacian"] = _Laplacian(channels)
        self.harmonise = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.GroupNorm(min(8, channels), channels), nn.GELU()
        )
        number = len(self.operators)
        self.gate = nn.Linear(number * channels, number) if gate else None
        self.grid = grid
        self.levels = _Levels(channels * grid * grid, _MID, _HIGH, width, dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Content token [B, W] of maps [B, C, T, H, W]."""
        token: Tensor = self.levels(self._fuse(maps)[0].flatten(1))
        return token

    def weights(self, maps: Tensor) -> Tensor:
        """Weights π [B, O] of the operators for maps [B, C, T, H, W], with sum 1."""
        return self._fuse(maps)[1]

    def _fuse(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Fused maps on the grid, averaged over time, [B, C, grid, grid]; and weights."""
        B = maps.shape[0]
        pictures = rearrange(maps, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        seen = [self._cells(self.harmonise(operator(pictures)), B) for operator in self.operators.values()]
        found = torch.stack(seen, dim=1)
        if self.gate is None:
            weights = found.new_full(found.shape[:2], 1 / len(seen))
        else:
            weights = self.gate(reduce(found, "b o c h w -> b (o c)", "mean")).softmax(dim=-1)
        # The sum is linear, so it is taken after the means over time and places.
        return self._cells(pictures, B) + einsum(weights, found, "b o, b o c h w -> b c h w"), weights

    def _cells(self, pictures: Tensor, clips: int) -> Tensor:
        """Means on the grid and over time, [B, C, grid, grid], of pictures [B T, C, H, W]."""
        cells = F.adaptive_avg_pool2d(pictures, self.grid)
        return reduce(cells, "(b t) c h w -> b c h w", "mean", b=clips)


class FlatProjector(nn.Module):
    """The simpler projector of AU-LLM: the flattened map and a layer over it, fused by an MLP.

    The map is pooled to 2 × 9 × 9 places, half of those of `affectkit.models.LEDMaps` in each direction, as in LED.

    Args:
        channels: Number of channels C.
        width: Width W of the token.
        dropout: Probability, before the MLP.

    Example:
        >>> FlatProjector(8, 16)(torch.ones(2, 8, 4, 18, 18)).shape
        torch.Size([2, 16])

    References:
        AU-LLM, arXiv 2507.21778. The widths are those of LED's layers, which the paper builds on.
    """

    def __init__(self, channels: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.levels = _Levels(channels * 2 * 9 * 9, None, _HIGH, width, dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Content token [B, W] of maps [B, C, T, H, W]."""
        token: Tensor = self.levels(F.adaptive_max_pool3d(maps, (2, 9, 9)).flatten(1))
        return token


class _Levels(nn.Module):
    """Middle and high level of a flat map, fused to a token of unit variance; the middle level may be the map."""

    def __init__(self, inputs: int, mid: int | None, high: int, width: int, dropout: float) -> None:
        super().__init__()
        self.mid = nn.Identity() if mid is None else nn.Sequential(nn.Linear(inputs, mid), nn.GELU())
        self.high = nn.Sequential(nn.Linear(mid or inputs, high), nn.GELU())
        sizes = ((mid or inputs) + high, 2 * width, width)
        first, second = (nn.Linear(a, b) for a, b in pairwise(sizes))
        self.fuse = nn.Sequential(nn.Dropout(dropout), first, nn.GELU(), second, nn.LayerNorm(width))

    def forward(self, flat: Tensor) -> Tensor:
        mid = self.mid(flat)
        token: Tensor = self.fuse(torch.cat([mid, self.high(mid)], dim=-1))
        return token
