"""Attention over the frames of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["ClipTokenTransformer", "FramewiseTransformer", "LocalTemporalAttention", "TemporalTransformer"]


@register("temporal", "transformer")
class TemporalTransformer(Temporal):
    """Self-attention over the real frames of a clip; the clip vector is their mean or their maximum.

    Pre-norm layers, x + attention(norm(x)) and x + mlp(norm(x)), over frame vectors plus learned positions.

    Args:
        in_features: Width D of the frame vectors.
        depth: Number of layers.
        heads: Attention heads; must divide D.
        dropout: Probability, in attention weights and after both branches.
        max_frames: Longest clip, in frames.
        pool: Clip vector: the "mean" or the "max" over real frames, value by value.

    Raises:
        ConfigError: The heads do not divide the width, or `pool` is unknown; in `forward`, a clip is longer than
            `max_frames`.

    Example:
        >>> temporal = TemporalTransformer(8, heads=2)
        >>> temporal(Features(torch.zeros(1, 8), frames=torch.zeros(1, 5, 8))).frames.shape
        torch.Size([1, 5, 8])

    References:
        A. Vaswani et al., "Attention is all you need", NeurIPS 2017 (here with pre-norm and learned positions).
    """

    def __init__(
        self,
        in_features: int,
        *,
        depth: int = 1,
        heads: int = 4,
        dropout: float = 0.0,
        max_frames: int = 64,
        pool: Literal["mean", "max"] = "mean",
    ) -> None:
        super().__init__(in_features)
        if pool not in ("mean", "max"):
            raise ConfigError(f"pool={pool!r} is unknown.", remedy="Use mean or max.")
        if in_features % heads:
            raise ConfigError(
                f"{heads} attention heads do not divide {in_features} features.",
                remedy="Choose `heads` among the divisors of the backbone's width.",
            )
        self.max_frames, self.pool = max_frames, pool
        self.config = {
            "type": "transformer",
            "depth": depth,
            "heads": heads,
            "dropout": dropout,
            "max_frames": max_frames,
        }
        if pool != "mean":
            self.config["pool"] = pool
        self.position = nn.Parameter(torch.empty(max_frames, in_features))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.layers = nn.ModuleList(
            _Layer(in_features, heads, in_features // heads, 4 * in_features, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(in_features)

    def forward(self, features: Features) -> Features:
        """Relate frames; the mean or maximum over real frames becomes `pooled`, 0 for a clip without any."""
        x = frames_of(features, self.max_frames)
        x = x + self.position[: x.shape[1]]
        allowed = _real_frames_or_itself(x, features.frame_mask)
        for layer in self.layers:
            x = layer(x, allowed)
        related = Features.of_frames(self.norm(x), features.frame_mask, features.tokens)
        return related if self.pool == "mean" else replace(related, pooled=_masked_max(related))


def _masked_max(features: Features) -> Tensor:
    """Maximum [B, D] over real frames, 0 for a clip without any."""
    frames, mask = frames_of(features), features.frame_mask
    if mask is None:
        return frames.amax(1)
    most = frames.masked_fill(~mask[..., None], -torch.inf).amax(1)
    return torch.where(mask.any(1, keepdim=True), most, 0.0)


@register("temporal", "framewise")
class FramewiseTransformer(Temporal):
    r"""Transformer whose output keeps a learned share of its input, :math:`\mathrm{LN}(z_t + \gamma z^0_t)`.

    Pre-norm transformer layers map :math:`z^0_t = f_t + p_t` to :math:`z_t`; γ is learned. A clip of T frames uses the
    first T positions. Attention ignores padding.

    Args:
        in_features: Width D of the frame vectors.
        max_frames: Longest clip, in frames.
        depth: Number of layers.
        heads: Attention heads.
        head_width: Width of a head; heads × head_width may differ from D.
        mlp_ratio: Width of the hidden layer divided by D.
        dropout: Probability, after attention and inside and after the hidden layer.

    Raises:
        ConfigError: A size is not positive; in `forward`, a clip is longer than `max_frames`.

    Example:
        >>> temporal = FramewiseTransformer(8, heads=2, head_width=4)
        >>> temporal(Features(torch.zeros(2, 8), frames=torch.zeros(2, 5, 8))).frames.shape
        torch.Size([2, 5, 8])

    References:
        SSM, arXiv 2604.10541, the action-unit branch of its first release.
    """

    name: ClassVar[str] = "framewise"
    has_clip_token: ClassVar[bool] = False

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
        super().__init__(in_features)
        hidden = round(mlp_ratio * in_features)
        if min(max_frames, depth, heads, head_width, hidden) < 1:
            raise ConfigError(
                f"max_frames={max_frames}, depth={depth}, heads={heads}, head_width={head_width} and "
                f"mlp_ratio={mlp_ratio} must be positive."
            )
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
        self.position = nn.Parameter(torch.randn(max_frames + self.has_clip_token, in_features))
        self.layers = nn.ModuleList(
            _Layer(in_features, heads, head_width, hidden, dropout, of_ssm=True) for _ in range(depth)
        )
        self.gamma = nn.Parameter(torch.ones(()))
        self.norm = nn.LayerNorm(in_features)
        if self.has_clip_token:
            self.token = nn.Parameter(torch.randn(in_features))

    def relate(self, tokens: Tensor, allowed: Tensor | None) -> Tensor:
        """LN(z + γ z⁰) [B, N, D] for tokens [B, N, D]; `allowed` masks attention [B, heads, N, N]."""
        start = z = tokens + self.position[: tokens.shape[1]]
        for layer in self.layers:
            z = layer(z, allowed)
        out: Tensor = self.norm(z + self.gamma * start)
        return out

    def forward(self, features: Features) -> Features:
        """Relate frames; the mean over real frames becomes `pooled`."""
        x = frames_of(features, self.max_frames)
        x = self.relate(x, _real_frames_or_itself(x, features.frame_mask))
        return Features.of_frames(x, features.frame_mask, features.tokens)


@register("temporal", "clip_token")
class ClipTokenTransformer(FramewiseTransformer):
    r"""Transformer with a learned token that collects the clip from its frames.

    Tokens :math:`z^0 = [c; f_1 \ldots f_T] + p` pass through pre-norm transformer layers to z. The clip vector is
    :math:`\mathrm{LN}(z_c + \gamma z^0_c)`, and frame vectors alike. A clip of T frames uses the first T + 1 positions.
    Attention ignores padding. See `FramewiseTransformer` for the arguments.

    Example:
        >>> temporal = ClipTokenTransformer(8, heads=2, head_width=4)
        >>> out = temporal(Features(torch.zeros(2, 8), frames=torch.zeros(2, 5, 8)))
        >>> out.pooled.shape, out.frames.shape
        (torch.Size([2, 8]), torch.Size([2, 5, 8]))

    References:
        SSM, arXiv 2604.10541, the expression branch (padding and shorter clips are our additions).
    """

    name = "clip_token"
    has_clip_token = True

    def forward(self, features: Features) -> Features:
        """Relate frames; the token becomes `pooled`."""
        x = frames_of(features, self.max_frames)
        token = repeat(self.token.to(x.dtype), "d -> b 1 d", b=x.shape[0])
        mask = features.frame_mask
        allowed = None if mask is None else rearrange(F.pad(mask, (1, 0), value=True), "b n -> b 1 1 n")
        z = self.relate(torch.cat([token, x], dim=1), allowed)
        return Features(z[:, 0], z[:, 1:], features.tokens, mask)


@register("temporal", "local_attention")
class LocalTemporalAttention(Temporal):
    r"""Bounded step of each frame vector towards its neighbours.

    In the window of radius r around frame t, each head weights the frames by
    :math:`\alpha = \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{d} + b_{s-t})`, with q and k linear in LN(f), and averages
    its share of the frame vectors:

    .. math:: f_t \leftarrow f_t + 0.25 \tanh(g) \odot (\textstyle\sum_s \alpha_{ts} f_s - f_t)

    The gates g are 0 at initialisation, so a new module changes nothing. Attention ignores padding.

    Args:
        in_features: Width D of the frame vectors.
        max_frames: Longest clip, in frames.
        radius: r, in frames.
        heads: Attention heads; must divide D.

    Raises:
        ConfigError: A size is not positive or the heads do not divide the width; in `forward`, a clip is longer than
            `max_frames`.

    Example:
        >>> frames = torch.randn(1, 5, 8)
        >>> temporal = LocalTemporalAttention(8, heads=2)
        >>> torch.equal(temporal(Features(torch.zeros(1, 8), frames=frames)).frames, frames)
        True

    References:
        SSM, arXiv 2604.10541, the action-unit branch of its second release.
    """

    def __init__(self, in_features: int, *, max_frames: int = 16, radius: int = 1, heads: int = 8) -> None:
        super().__init__(in_features)
        if min(max_frames, radius, heads) < 1 or in_features % heads:
            raise ConfigError(
                f"max_frames={max_frames}, radius={radius} and heads={heads} must be positive, and the heads "
                f"must divide {in_features} features.",
                remedy="Choose `heads` among the divisors of the backbone's width.",
            )
        self.max_frames, self.radius, self.heads = max_frames, radius, heads
        self.config = {
            "type": "local_attention",
            "max_frames": max_frames,
            "radius": radius,
            "heads": heads,
        }
        self.norm = nn.LayerNorm(in_features)
        self.query = nn.Linear(in_features, in_features, bias=False)
        self.key = nn.Linear(in_features, in_features, bias=False)
        # Query and key start equal, so that similar neighbours have large weights.
        nn.init.xavier_uniform_(self.query.weight, gain=0.5)
        self.key.weight.data.copy_(self.query.weight.data)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * radius + 1))
        nn.init.ones_(self.bias[:, radius])
        self.gate = nn.Parameter(torch.zeros(in_features))

    def forward(self, features: Features) -> Features:
        """Relate frames; the mean over real frames becomes `pooled`."""
        x = frames_of(features, self.max_frames)
        normed = self.norm(x)
        query, key, value = (
            rearrange(part, "b t (h d) -> b h t d", h=self.heads)
            for part in (self.query(normed), self.key(normed), x)
        )
        place = torch.arange(x.shape[1], device=x.device)
        offset = place - place[:, None]  # from a frame (row) to the frame that it looks at (column)
        allowed = offset.abs() <= self.radius
        if features.frame_mask is not None:
            # A padding frame may look at itself: the softmax of an empty row is undefined.
            allowed = allowed & (rearrange(features.frame_mask, "b s -> b 1 1 s") | (offset == 0))
        score = query @ key.mT * (query.shape[-1] ** -0.5)
        score = score + self.bias[:, (offset + self.radius).clamp(0, 2 * self.radius)]
        weight = score.masked_fill(~allowed, float("-inf")).softmax(-1).to(value.dtype)
        context = rearrange(weight @ value, "b h t d -> b t (h d)")
        x = x + 0.25 * self.gate.tanh() * (context - x)
        return Features.of_frames(x, features.frame_mask, features.tokens)


class _Layer(nn.Module):
    """Pre-norm transformer layer; that of SSM has heads of any width, no query biases and a tanh-GELU."""

    def __init__(
        self, width: int, heads: int, head_width: int, hidden: int, dropout: float, *, of_ssm: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=not of_ssm)
        self.project = nn.Linear(heads * head_width, width)
        self.norm2 = nn.LayerNorm(width)
        gelu = nn.GELU("tanh" if of_ssm else "none")
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), gelu, nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.attention_dropout = 0.0 if of_ssm else dropout

    def forward(self, x: Tensor, allowed: Tensor | None) -> Tensor:
        """Apply the layer; `allowed` is bool, broadcastable to [B, heads, N, N], True where a row may look."""
        query, key, value = rearrange(
            self.qkv(self.norm1(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        rate = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=rate)
        x = x + self.dropout(self.project(rearrange(mixed, "b h n d -> b n (h d)")))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


def _real_frames_or_itself(x: Tensor, frame_mask: Tensor | None) -> Tensor | None:
    """Attention mask [B, 1, T, T]. A padding frame may look at itself: the softmax of an empty row is undefined."""
    if frame_mask is None:
        return None
    itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return rearrange(rearrange(frame_mask, "b t -> b 1 t") | itself, "b t s -> b 1 t s")
