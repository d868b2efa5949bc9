"""Multi-scale perception: convolutions of several dilations over the patches of a picture."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MultiScalePerception"]

_DILATIONS = (1, 3, 5)


class MultiScalePerception(nn.Module):
    """Depthwise 3 × 3 convolutions with dilations of 1, 3 and 5 over the patches, at a quarter of the width.

    The last projection starts at 0. The class token gets 0.

    Args:
        width: Width C of the tokens.
        grid: Patches per row.

    References:
        AU-TTT, arXiv 2503.23450, names the module; its inside is that of K. Yuan et al., "AUFormer", ECCV 2024, as far
        as known. The width is ours.
    """

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        narrow = max(1, width // 4)
        self.grid = grid
        self.down = nn.Linear(width, narrow)
        self.scales = nn.ModuleList(
            nn.Conv2d(narrow, narrow, 3, padding=dilation, dilation=dilation, groups=narrow)
            for dilation in _DILATIONS
        )
        self.up = nn.Linear(len(_DILATIONS) * narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, N + 1, C], patches row by row and the class token, to [B, N + 1, C]."""
        maps = rearrange(self.down(tokens[:, :-1]), "b (y x) c -> b y x c", y=self.grid)
        views = torch.cat([_dilated(cast("nn.Conv2d", scale), maps) for scale in self.scales], dim=-1)
        out: Tensor = self.up(F.gelu(views.flatten(1, 2)))
        return F.pad(out, (0, 0, 0, 1))


def _dilated(scale: nn.Conv2d, maps: Tensor) -> Tensor:
    """The convolution of maps [B, y, x, C] as one without dilation over every d-th patch, which is faster on a CPU."""
    step, side = scale.dilation[0], maps.shape[1]
    over = -side % step
    grids = rearrange(
        F.pad(maps, (0, 0, 0, over, 0, over)), "b (y i) (x j) c -> (b i j) y x c", i=step, j=step
    )
    views = F.conv2d(grids.movedim(-1, 1), scale.weight, scale.bias, padding=1, groups=scale.groups)
    joined = rearrange(views, "(b i j) c y x -> b (y i) (x j) c", i=step, j=step)
    return joined[:, :side, :side]
