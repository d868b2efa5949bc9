"""Attention of each frame to its neighbours, initialised as the identity."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["LocalTemporalAttention"]


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
