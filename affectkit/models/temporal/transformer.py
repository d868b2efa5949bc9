"""A small transformer over frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["TemporalTransformer"]


@register("temporal", "transformer")
class TemporalTransformer(Temporal):
    """Let every frame attend to every other real frame of its clip, then average the real ones.

    Pre-norm layers, x + attention(norm(x)) and x + mlp(norm(x)), over frame vectors plus learned positions.

    Args:
        in_features: Width of the frame vectors.
        depth: Number of layers.
        heads: Attention heads; must divide `in_features`.
        dropout: Probability, in attention weights and after both branches.
        max_frames: Longest clip, in frames.

    Raises:
        ConfigError: The heads do not divide the width.

    Example:
        >>> temporal = TemporalTransformer(8, heads=2)
        >>> temporal(Features(torch.zeros(1, 8), frames=torch.zeros(1, 5, 8))).frames.shape
        torch.Size([1, 5, 8])

    References:
        A. Vaswani et al., "Attention is all you need", NeurIPS 2017 (here with pre-norm and learned
        positions).
    """

    def __init__(
        self, in_features: int, *, depth: int = 1, heads: int = 4, dropout: float = 0.0, max_frames: int = 64
    ) -> None:
        super().__init__()
        if in_features % heads:
            raise ConfigError(
                f"{heads} attention heads do not divide {in_features} features.",
                remedy="Choose `heads` among the divisors of the backbone's width.",
            )
        self.num_features = in_features
        self.max_frames = max_frames
        self.config = {
            "type": "transformer",
            "depth": depth,
            "heads": heads,
            "dropout": dropout,
            "max_frames": max_frames,
        }
        self.position = nn.Parameter(torch.empty(max_frames, in_features))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.ModuleList(_Layer(in_features, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(in_features)

    def forward(self, features: Features) -> Features:
        """Relate frames.

        Args:
            features: With `frames` [B, T, D], T at most `max_frames`.

        Returns:
            `frames` [B, T, D] in context and their masked mean as `pooled`.

        Raises:
            ValueError: The clip is longer than `max_frames`.
        """
        x = frames_of(features)
        length = x.shape[1]
        if length > self.max_frames:
            raise ValueError(
                f"The clip has {length} frames, and max_frames is {self.max_frames}: "
                "cut the clip into windows, or train with a larger max_frames."
            )
        x = x + self.position[:length]
        allowed = None
        if features.frame_mask is not None:
            # A frame may always look at itself, so that no row of the attention is empty (its softmax is
            # undefined).
            itself = torch.eye(length, dtype=torch.bool, device=x.device)
            allowed = (features.frame_mask[:, None, :] | itself)[:, None]
        for layer in self.layers:
            x = layer(x, allowed)
        return Features.of_frames(self.norm(x), features.frame_mask, features.tokens)


class _Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend and transform; `allowed` is bool [B, 1, T, T], True where a row's frame may look."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        rate = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=rate)
        x = x + self.dropout(self.project(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out
