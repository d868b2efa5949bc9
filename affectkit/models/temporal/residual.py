"""Transformers over frames whose output keeps a learned share of their input: of the clip, and of each frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["ClipTokenTransformer", "FramewiseTransformer", "check_length"]


def check_length(length: int, max_frames: int) -> None:
    """Refuse a clip for whose frames there are no positions.

    Args:
        length: Frames of the clip.
        max_frames: The most that the module was built for.

    Raises:
        ConfigError: The clip is longer.
    """
    if length > max_frames:
        raise ConfigError(
            f"The clip has {length} frames, and max_frames is {max_frames}.",
            remedy="Cut the clip into windows, or build the model with a larger max_frames.",
        )


class _ResidualTransformer(Temporal):
    """What both transformers share: positions, layers, and the residual norm LN(z + γ z⁰)."""

    name: str
    extra: int  # tokens beside the frames

    def __init__(
        self,
        in_features: int,
        max_frames: int,
        depth: int,
        heads: int,
        head_width: int,
        mlp_ratio: float,
        dropout: float,
    ) -> None:
        super().__init__()
        if min(max_frames, depth, heads, head_width) < 1 or round(mlp_ratio * in_features) < 1:
            raise ConfigError(
                f"max_frames={max_frames}, depth={depth}, heads={heads}, head_width={head_width} and "
                f"mlp_ratio={mlp_ratio} must be positive."
            )
        self.num_features = in_features
        self.max_frames = max_frames
        self.config: dict[str, Any] = {
            "type": self.name,
            "max_frames": max_frames,
            "depth": depth,
            "heads": heads,
            "head_width": head_width,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
        }
        hidden = round(mlp_ratio * in_features)
        self.position = nn.Parameter(torch.randn(max_frames + self.extra, in_features))
        self.layers = nn.ModuleList(
            _Layer(in_features, heads, head_width, hidden, dropout) for _ in range(depth)
        )
        self.gamma = nn.Parameter(torch.ones(()))
        self.norm = nn.LayerNorm(in_features)

    def relate(self, tokens: Tensor, allowed: Tensor | None) -> Tensor:
        """LN(z + γ z⁰) [B, N, D], z⁰ the tokens with positions and z what the layers make of them.

        Args:
            tokens: [B, N, D].
            allowed: bool, broadcastable to [B, heads, N, N], True where a row may look; None for everywhere.
        """
        start = tokens + self.position[: tokens.shape[1]]
        z = start
        for layer in self.layers:
            z = layer(z, allowed)
        out: Tensor = self.norm(z + self.gamma * start)
        return out


@register("temporal", "clip_token")
class ClipTokenTransformer(_ResidualTransformer):
    r"""A learned token gathers the clip from its frames.

    Tokens :math:`z^0 = [c; f_1 \ldots f_T] + p` pass through pre-norm transformer layers to z, and the clip is
    :math:`\mathrm{LN}(z_c + \gamma z^0_c)`; frames in context are normed alike. A clip of T frames uses the first
    T + 1 positions, a still two. Padding is never looked at.

    Args:
        in_features: Width D of the frame vectors.
        max_frames: Longest clip, in frames.
        depth: Number of layers.
        heads: Attention heads.
        head_width: Width of a head; heads × head_width need not be D.
        mlp_ratio: Width of the hidden layer over D.
        dropout: Probability, after attention and inside and after the hidden layer.

    Raises:
        ConfigError: A size is not positive; in use, a clip is longer than `max_frames`.

    Example:
        >>> temporal = ClipTokenTransformer(8, heads=2, head_width=4)
        >>> out = temporal(Features(torch.zeros(2, 8), frames=torch.zeros(2, 5, 8)))
        >>> out.pooled.shape, out.frames.shape
        (torch.Size([2, 8]), torch.Size([2, 5, 8]))

    References:
        SSM, arXiv 2604.10541, the expression branch (padding and shorter clips are our additions).
    """

    name = "clip_token"
    extra = 1

    def __init__(
        self,
        in_features: int,
        *,
        max_frames: int = 16,
        depth: int = 1,
        heads: int = 8,
        head_width: int = 64,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, max_frames, depth, heads, head_width, mlp_ratio, dropout)
        self.token = nn.Parameter(torch.randn(in_features))

    def forward(self, features: Features) -> Features:
        """Relate frames.

        Args:
            features: With `frames` [B, T, D], T at most `max_frames`.

        Returns:
            The token [B, D] as `pooled`, and `frames` [B, T, D] in context.

        Raises:
            ConfigError: The clip is longer than `max_frames`.
        """
        x = frames_of(features)
        check_length(x.shape[1], self.max_frames)
        tokens = torch.cat([self.token.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        allowed = None
        if features.frame_mask is not None:
            allowed = F.pad(features.frame_mask, (1, 0), value=True)[:, None, None, :]
        z = self.relate(tokens, allowed)
        return Features(z[:, 0], z[:, 1:], features.tokens, features.frame_mask)


@register("temporal", "framewise")
class FramewiseTransformer(_ResidualTransformer):
    r"""Every frame in the context of its clip, :math:`\mathrm{LN}(z_t + \gamma z^0_t)`.

    Pre-norm transformer layers take :math:`z^0_t = f_t + p_t` to :math:`z_t`; the share γ of the input that is kept
    is learned. A clip of T frames uses the first T positions. Padding is never looked at.

    Args:
        in_features: Width D of the frame vectors.
        max_frames: Longest clip, in frames.
        depth: Number of layers.
        heads: Attention heads.
        head_width: Width of a head; heads × head_width need not be D.
        mlp_ratio: Width of the hidden layer over D.
        dropout: Probability, after attention and inside and after the hidden layer.

    Raises:
        ConfigError: A size is not positive; in use, a clip is longer than `max_frames`.

    Example:
        >>> temporal = FramewiseTransformer(8, heads=2, head_width=4)
        >>> temporal(Features(torch.zeros(2, 8), frames=torch.zeros(2, 5, 8))).frames.shape
        torch.Size([2, 5, 8])

    References:
        SSM, arXiv 2604.10541, the action-unit branch of its first release.
    """

    name = "framewise"
    extra = 0

    def __init__(
        self,
        in_features: int,
        *,
        max_frames: int = 16,
        depth: int = 1,
        heads: int = 8,
        head_width: int = 64,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, max_frames, depth, heads, head_width, mlp_ratio, dropout)

    def forward(self, features: Features) -> Features:
        """Relate frames.

        Args:
            features: With `frames` [B, T, D], T at most `max_frames`.

        Returns:
            `frames` [B, T, D] in context, and their masked mean as `pooled`.

        Raises:
            ConfigError: The clip is longer than `max_frames`.
        """
        x = frames_of(features)
        length = x.shape[1]
        check_length(length, self.max_frames)
        allowed = None
        if features.frame_mask is not None:
            # Padding may look at itself, so that no row of the attention is empty (its softmax is undefined).
            itself = torch.eye(length, dtype=torch.bool, device=x.device)
            allowed = (features.frame_mask[:, None, :] | itself)[:, None]
        return Features.of_frames(self.relate(x, allowed), features.frame_mask, features.tokens)


class _Layer(nn.Module):
    """One pre-norm layer: attention of any width without query, key and value biases, and a tanh-GELU MLP."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.project = nn.Linear(heads * head_width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU("tanh"), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend and transform; `allowed` is bool, broadcastable to [B, heads, N, N]."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        x = x + self.dropout(self.project(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out
