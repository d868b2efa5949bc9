"""Backbone of FEALLM: a frozen tower, local clues, and the projector to visual tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.methods.feallm.clues import ClueAggregator, LocalCrops, PerspectiveProjector, pool_places
from affectkit.models import hub
from affectkit.models.backbones import Backbone
from affectkit.models.features import Features, Normalize
from affectkit.models.model import load
from affectkit.models.registry import build, register

__all__ = ["FEALLMBackbone"]


@register("backbone", "feallm")
class FEALLMBackbone(Backbone):
    """Visual tokens for a language model, from several blocks of a frozen tower and from local crops.

    The tokens of the last block ask those of the earlier ones, then the clues of sixteen crops (`PLACES`), then each
    other. They are averaged over at most grid² places; one token of all crops follows them. Only the tower is frozen.

    Args:
        tower: Configuration of the tower, any backbone with `levels`: `{"type": "clip", "model_name": …}`.
        tower_of: Folder or name of a saved model whose backbone is the tower, instead.
        blocks: Numbers of the blocks from 1, ascending; a single one asks itself.
        local: Use local crops.
        crop: Side of a crop in pixels of the picture.
        landmarks: Find the crops by the landmarks of each picture where they are known, instead of a mean face.
        width: Width P of the tokens.
        local_width: Width of the crops' vectors, a multiple of 4.
        heads: Attention heads.
        grid: Most visual tokens per side of the picture.

    Attributes:
        tower: The tower.
        num_features: P, also of clip and frame vectors, which are means over tokens.
        num_token_features: P.

    Raises:
        ConfigError: There is not exactly one tower, it has no such blocks, or a number is out of range.
        WeightsError: The weights of the tower cannot be loaded.

    Example:
        >>> backbone = FEALLMBackbone(tower_of="demo", blocks=[3, 4, 5], crop=16, width=32, local_width=16)
        >>> backbone(torch.zeros(2, 1, 3, 64, 64, dtype=torch.uint8)).tokens.shape
        torch.Size([2, 1, 17, 32])

    References:
        FEALLM, arXiv 2505.13419. The tower and its blocks, the places and sizes of the crops, the learned positions
        and all widths are ours: neither code nor these details were available.
    """

    def __init__(
        self,
        *,
        tower: Mapping[str, Any] | None = None,
        tower_of: str | None = None,
        blocks: Sequence[int] = (4, 8, 12),
        local: bool = True,
        crop: int = 32,
        landmarks: bool = True,
        width: int = 512,
        local_width: int = 128,
        heads: int = 4,
        grid: int = 7,
    ) -> None:
        super().__init__()
        if (tower is None) == (tower_of is None):
            raise ConfigError("There must be one tower.", remedy="Give either `tower` or `tower_of`.")
        if not blocks or not all(a < b for a, b in pairwise(blocks)):
            raise ConfigError(f"The blocks {list(blocks)} are not ascending.", remedy="Give one or more.")
        if width % heads or local_width % 4 or local_width % heads or min(crop, grid) < 1:
            raise ConfigError(
                f"The widths {width} and {local_width} must be multiples of {heads} heads and of 4, and crop and grid "
                "at least 1."
            )
        self.tower: Backbone = _saved_tower(tower_of) if tower is None else build("backbone", tower)
        self.tower.requires_grad_(False).eval()
        self.num_features = self.num_token_features = width
        self.input_spec = self.tower.input_spec
        self.normalize = Normalize(self.input_spec)
        self.reads_landmarks = local and landmarks
        self.blocks, self.grid = tuple(blocks), grid
        size = self.input_spec.size
        with torch.no_grad():
            shapes = [one.shape[2:] for one in self.tower.levels(torch.zeros(1, 1, 3, size, size), blocks)]
        self.enter = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, width)) for _, wide in shapes
        )
        self.positions = nn.ParameterList(nn.Parameter(0.02 * torch.randn(n, width)) for n, _ in shapes)
        self.crops = LocalCrops(crop) if local else None
        self.clues = ClueAggregator(local_width, width, heads=heads) if local else None
        self.project = PerspectiveProjector(width, heads=heads, local=local)
        self.config = {
            "type": "feallm",
            "tower": self.tower.config,
            "blocks": list(blocks),
            "local": local,
            "crop": crop,
            "landmarks": landmarks,
            "width": width,
            "local_width": local_width,
            "heads": heads,
            "grid": grid,
        }

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the tower stays in evaluation mode."""
        super().train(mode)
        self.tower.eval()
        return self

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
    ) -> Features:
        """Encode a batch of clips, frame by frame.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True for real frames; None if all are real.
            landmarks: float [B, T, 68, 2] in pixels of the frames; None for those of a mean face.
            landmarks_mask: bool [B, T, 68], True for known landmarks; None if all are known.

        Returns:
            With `tokens` [B, T, N, P]: visual tokens, row by row, then the token of all crops.

        Raises:
            ValueError: The pictures have another size.
        """
        self.check_size(frames)
        with torch.no_grad():
            levels = self.tower.levels(frames, self.blocks)
        entered = [
            enter(rearrange(level, "b t n d -> (b t) n d")) + position
            for enter, level, position in zip(self.enter, levels, self.positions, strict=True)
        ]
        earlier = torch.cat(entered[:-1] or entered, dim=1)
        clues, token = None, None
        if self.crops is not None and self.clues is not None:
            pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
            given = [None if one is None else one.flatten(0, 1) for one in (landmarks, landmarks_mask)]
            clues, token = self.clues(self.crops(pictures, *given))
        visual = pool_places(self.project(entered[-1], earlier, clues), self.grid)
        tokens = visual if token is None else torch.cat([visual, token], dim=1)
        tokens = rearrange(tokens, "(b t) n d -> b t n d", b=frames.shape[0])
        return Features.of_frames(reduce(tokens, "b t n d -> b t d", "mean"), frame_mask, tokens)


def _saved_tower(name: str | None) -> Backbone:
    """Backbone of a saved model, without its weights inside `affectkit.models.hub.no_weights`."""
    if hub.weights_wanted():
        return load(str(name)).backbone
    tower: Backbone = build("backbone", hub.read_config(hub.locate(str(name)))["backbone"])
    return tower
