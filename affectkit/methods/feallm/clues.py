"""Local clues: crops at sixteen places of the face, and their aggregation."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.facs.mean_shape import MEAN_SHAPE_68

__all__ = ["PLACES", "ClueAggregator", "LocalCrops"]

PLACES: dict[str, tuple[int, ...]] = {
    "right brow": tuple(range(17, 22)),
    "left brow": tuple(range(22, 27)),
    "glabella": (21, 22),
    "right eye": tuple(range(36, 42)),
    "left eye": tuple(range(42, 48)),
    "nose bridge": (27, 28, 29),
    "right nostril": (31,),
    "left nostril": (35,),
    "right cheek": (40, 41, 48),
    "left cheek": (46, 47, 54),
    "right mouth corner": (48,),
    "left mouth corner": (54,),
    "upper lip": (33, 51),
    "lower lip": (57,),
    "chin": (8, 57),
    "jaw": (8,),
}
"""Landmarks whose mean is the centre of each crop; sides are the subject's."""


class LocalCrops(nn.Module):
    """Square crops around `PLACES`, without scaling. Parts outside the picture are 0.

    If a landmark of a place is unknown or not finite, the place is that of a mean face that fills the picture.

    Args:
        size: Side of a crop in pixels.

    Example:
        >>> LocalCrops(16)(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 16, 3, 16, 16])
    """

    average: Tensor
    mean: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        average = torch.zeros(len(PLACES), 68)
        for row, points in enumerate(PLACES.values()):
            average[row, list(points)] = 1 / len(points)
        self.register_buffer("average", average, persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN_SHAPE_68), persistent=False)

    def centres(self, landmarks: Tensor | None, mask: Tensor | None, *, pictures: int, side: int) -> Tensor:
        """Centres (x, y) of the places, float32 [M, 16, 2], in pixels with integers at pixel centres.

        Args:
            landmarks: float [M, 68, 2]; None for those of the mean face.
            mask: bool [M, 68], True for known landmarks; None if all are known.
            pictures: M.
            side: Side of a picture in pixels.
        """
        average = self.average.float()
        usual = (average @ (self.mean.float() * side - 0.5)).expand(pictures, -1, -1)
        if landmarks is None:
            return usual
        known = landmarks.isfinite().all(dim=-1)
        if mask is not None:
            known = known & mask
        found = average @ torch.where(known[..., None], landmarks.float(), 0.0)
        lacking = (~known).float() @ (average > 0).float().T > 0
        return torch.where(lacking[..., None], usual, found)

    def forward(
        self, pictures: Tensor, landmarks: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Crops [M, 16, 3, s, s] of square pictures [M, 3, S, S]; see `centres`."""
        M, side = pictures.shape[0], pictures.shape[-1]
        centres = self.centres(landmarks, mask, pictures=M, side=side)
        steps = torch.arange(self.size, device=pictures.device) - (self.size - 1) / 2
        offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        pixels = centres[:, :, None, None] + offsets  # [M, 16, s, s, 2]
        grid = (2 * pixels + 1) / side - 1
        flat = rearrange(grid, "m p y x xy -> m (p y) x xy")
        crops = F.grid_sample(pictures.float(), flat, align_corners=False)
        return rearrange(crops, "m c (p y) x -> m p c y x", p=len(PLACES)).to(pictures.dtype)


class ClueAggregator(nn.Module):
    """Local clue aggregator: a block of convolutions for each crop, attention between crops, and two outputs.

    Args:
        width: Width of a crop's vector, a multiple of 4.
        out: Width P of the outputs.
        heads: Attention heads.

    Example:
        >>> clues, token = ClueAggregator(8, 12)(torch.zeros(2, 16, 3, 16, 16))
        >>> clues.shape, token.shape
        (torch.Size([2, 16, 12]), torch.Size([2, 1, 12]))

    References:
        FEALLM, arXiv 2505.13419, names the blocks, the attention and both outputs. Layers, widths and the learned
        vector of each place are ours.
    """

    def __init__(self, width: int, out: int, *, heads: int = 4) -> None:
        super().__init__()
        count, layers, before = len(PLACES), list[nn.Module](), 3
        for channels in (width // 4, width // 2, width):
            layers += [
                nn.Conv2d(count * before, count * channels, 3, stride=2, padding=1, groups=count, bias=False),
                nn.BatchNorm2d(count * channels),
                nn.ReLU(),
            ]
            before = channels
        self.blocks = nn.Sequential(*layers)
        self.places = nn.Parameter(0.02 * torch.randn(count, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.each = nn.Linear(width, out)
        self.whole = nn.Linear(count * width, out)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the crops [M, 16, P], and one token of all [M, 1, P], from crops [M, 16, 3, s, s]."""
        maps = self.blocks(rearrange(crops, "m p c y x -> m (p c) y x"))
        regions = reduce(maps, "m (p c) y x -> m p c", "mean", p=len(PLACES)) + self.places
        normal = self.norm(regions)
        attended = regions + self.attend(normal, normal, normal, need_weights=False)[0]
        return self.each(attended), rearrange(self.whole(attended.flatten(1)), "m d -> m 1 d")


class PerspectiveProjector(nn.Module):
    r"""Multi-perspective projector: visual tokens from the last block, asking earlier blocks and local clues.

    :math:`a = \mathrm{CA}(F_L; F_s)`, :math:`b = a + \mathrm{CA}(a; F'_{local})`, :math:`c = b + \mathrm{SA}(b)`, and
    an MLP over c.

    Args:
        width: Width P.
        heads: Attention heads.
        local: Ask local clues.

    Example:
        >>> last, earlier, clues = torch.zeros(2, 9, 16), torch.zeros(2, 40, 16), torch.zeros(2, 16, 16)
        >>> PerspectiveProjector(16)(last, earlier, clues).shape
        torch.Size([2, 9, 16])

    References:
        FEALLM, arXiv 2505.13419. The normalisation before each attention and the MLP's width are ours.
    """

    def __init__(self, width: int, *, heads: int = 4, local: bool = True) -> None:
        super().__init__()
        names = ("blocks", "clues", "self") if local else ("blocks", "self")
        self.attends = nn.ModuleDict(
            {name: nn.MultiheadAttention(width, heads, batch_first=True) for name in names}
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, last: Tensor, earlier: Tensor, clues: Tensor | None = None) -> Tensor:
        """Visual tokens [M, N, P].

        Args:
            last: :math:`F_L` [M, N, P].
            earlier: :math:`F_s` [M, K, P].
            clues: :math:`F'_{local}` [M, 16, P]; None without local clues.
        """
        tokens = self._ask("blocks", last, earlier)
        if clues is not None:
            tokens = tokens + self._ask("clues", tokens, clues)
        tokens = tokens + self._ask("self", tokens)
        projected: Tensor = self.mlp(tokens)
        return projected

    def _ask(self, name: str, queries: Tensor, keys: Tensor | None = None) -> Tensor:
        normal = self.norms[name](queries)
        keys = normal if keys is None else keys
        answered: Tensor = self.attends[name](normal, keys, keys, need_weights=False)[0]
        return answered


def pool_places(tokens: Tensor, grid: int) -> Tensor:
    """Average tokens [M, side², P] over a grid of at most `grid` places per side."""
    side = round(tokens.shape[1] ** 0.5)
    if side <= grid:
        return tokens
    maps = rearrange(tokens, "m (y x) d -> m d y x", y=side)
    return rearrange(F.adaptive_avg_pool2d(maps, grid), "m d y x -> m (y x) d")
