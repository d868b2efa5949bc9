"""Attention of the two levels: four queries over the moving places of a clip, and a clip over its categories."""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["CategoryAttention", "FineAttention", "move", "positions"]


def move(tokens: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Change of every place to the next frame, [B, T, N, D]; the last real frame repeats the change before it.

    Zeros for clips of one frame and for padding.

    Args:
        tokens: [B, T, N, D].
        frame_mask: bool [B, T], True for real frames, with padding last; None if all are real.
    """
    B, T = tokens.shape[:2]
    if T == 1:
        return torch.zeros_like(tokens)
    mask = tokens.new_ones(B, T, dtype=torch.bool) if frame_mask is None else frame_mask
    steps = tokens[:, 1:] - tokens[:, :-1]
    last = (mask.sum(dim=1) - 2).clamp(min=0)  # the last step between real frames
    place = torch.minimum(torch.arange(T, device=tokens.device)[None], last[:, None])
    changes = steps[torch.arange(B, device=tokens.device)[:, None], place]
    known = mask & (mask.sum(dim=1, keepdim=True) > 1)
    return torch.where(known[..., None, None], changes, 0.0)


def positions(frames: int, places: int, width: int) -> Tensor:
    """Sines and cosines of time (half of the width), row and column (a quarter each), [frames, places, width].

    Raises:
        ValueError: The places do not form a square.
    """
    grid = math.isqrt(places)
    if grid * grid != places:
        raise ValueError(f"{places} places do not form a square.")
    time = _waves(torch.arange(frames), width // 2)
    row = _waves(torch.arange(grid), width // 4)
    return torch.cat(
        [
            repeat(time, "t d -> t (h w) d", h=grid, w=grid),
            repeat(row, "h d -> t (h w) d", t=frames, w=grid),
            repeat(row, "w d -> t (h w) d", t=frames, h=grid),
        ],
        dim=-1,
    )


def _waves(values: Tensor, width: int) -> Tensor:
    angles = values[:, None] * 100.0 ** (-torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class FineAttention(nn.Module):
    r"""FG-SA: one query for each part of the text reads the moving places of a clip.

    Tokens become :math:`M_t + g (M_{t+1} - M_t)` with a learned g, so that texts on motion meet changes. The queries
    attend to the tokens that change most: :math:`u_d = \mathrm{LN}(q_d + \mathrm{MHA}(q_d, M + \pi, M))`, with
    positions :math:`\pi` in time and picture. A query is learned and never depends on the true class.

    Args:
        features: Width D.
        parts: Number of queries.
        heads: Attention heads.
        keep: Share of the tokens that are read, in (0, 1].
        motion: Whether changes are added to the tokens.

    Attributes:
        queries: [parts, D].

    Raises:
        ConfigError: A number is out of range, or does not divide the width.

    Example:
        >>> vectors, attention = FineAttention(16, 4, heads=2)(torch.randn(2, 3, 4, 16))
        >>> vectors.shape, attention.shape
        (torch.Size([2, 4, 16]), torch.Size([2, 4, 3, 4]))

    References:
        FG-SGL, arXiv 2603.16269; the form of the attention is ours.
    """

    def __init__(
        self, features: int, parts: int, *, heads: int = 8, keep: float = 0.25, motion: bool = True
    ) -> None:
        super().__init__()
        if features % 8 or heads < 1 or features % heads or not 0 < keep <= 1:
            raise ConfigError(
                f"{features} features must be a multiple of 8 and of heads={heads}, and keep={keep} in (0, 1].",
                remedy="Choose other heads or another share.",
            )
        self.keep = keep
        self.queries = nn.Parameter(torch.randn(parts, features) * features**-0.5)
        self.gain = nn.Parameter(torch.ones(())) if motion else None
        self.attend = nn.MultiheadAttention(features, heads, batch_first=True)
        self.norm = nn.LayerNorm(features)

    def forward(self, tokens: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a clip.

        Args:
            tokens: [B, T, N, D]; N must be a square number.
            frame_mask: bool [B, T], True for real frames, with padding last; None if all are real.

        Returns:
            Vectors [B, parts, D], and attention [B, parts, T, N] with sum 1, 0 at places that are not read.
        """
        B, T, N, D = tokens.shape
        changes = move(tokens, frame_mask)
        energy = changes.detach().float().square().sum(dim=-1)
        if frame_mask is not None:
            energy = energy.masked_fill(~frame_mask[..., None], -1.0)
        if self.gain is not None:
            tokens = tokens + self.gain * changes
        kept = max(1, round(self.keep * T * N))
        strength, chosen = energy.flatten(1).topk(kept, dim=1)
        batch = torch.arange(B, device=tokens.device)[:, None]
        values = rearrange(tokens, "b t n d -> b (t n) d")[batch, chosen]
        places = positions(T, N, D).flatten(0, 1).to(tokens)[chosen]
        padding = strength < 0
        padding = padding & ~padding.all(dim=1, keepdim=True)  # a clip without real frames reads anything
        queries = repeat(self.queries, "d w -> b d w", b=B)
        read, weights = self.attend(queries, values + places, values, key_padding_mask=padding)
        attention = weights.new_zeros(B, len(self.queries), T * N)
        attention = attention.scatter(2, repeat(chosen, "b k -> b d k", d=len(self.queries)), weights)
        return self.norm(queries + read), attention.unflatten(2, (T, N))


class CategoryAttention(nn.Module):
    r"""CP-A: a clip reads the texts of all categories, :math:`h' = \mathrm{LN}(h + g \, \mathrm{MHA}(h, P, P))`.

    Args:
        features: Width D.
        heads: Attention heads.
        gate: Initial value of the learned g.

    Example:
        >>> CategoryAttention(16, heads=2)(torch.randn(2, 16), torch.randn(5, 16)).shape
        torch.Size([2, 16])

    References:
        FG-SGL, arXiv 2603.16269; the form of the attention is ours.
    """

    def __init__(self, features: int, *, heads: int = 8, gate: float = 0.1) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(features, heads, batch_first=True)
        self.gate = nn.Parameter(torch.tensor(gate))
        self.norm = nn.LayerNorm(features)

    def forward(self, clips: Tensor, categories: Tensor) -> Tensor:
        """Clips [B, D] after reading categories [C, D]."""
        texts = repeat(categories, "c d -> b c d", b=len(clips))
        read, _ = self.attend(clips[:, None], texts, texts, need_weights=False)
        mixed: Tensor = self.norm(clips + self.gate * read[:, 0])
        return mixed
