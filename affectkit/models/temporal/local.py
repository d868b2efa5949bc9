"""Attention of every frame to its neighbours only, which starts as the identity."""

from __future__ import annotations

import torch
from torch import nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of
from affectkit.models.temporal.residual import check_length

__all__ = ["LocalTemporalAttention"]


@register("temporal", "local_attention")
class LocalTemporalAttention(Temporal):
    r"""Pull every frame by a bounded amount towards what its neighbours show.

    In the window of radius r around frame t, each head weighs frames by
    :math:`\alpha = \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{d} + b_{s-t})`, q and k linear in LN(f), and averages
    its share of the frame vectors themselves:

    .. math:: f_t \leftarrow f_t + 0.25 \tanh(g) \odot (\textstyle\sum_s \alpha_{ts} f_s - f_t)

    The gates g start at 0, so a fresh module changes nothing. Padding is never looked at.

    Args:
        in_features: Width D of the frame vectors.
        max_frames: Longest clip, in frames.
        radius: r, in frames.
        heads: Attention heads; must divide D.

    Raises:
        ConfigError: A size is not positive or the heads do not divide the width; in use, a clip is longer than
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
        super().__init__()
        if min(max_frames, radius, heads) < 1 or in_features % heads:
            raise ConfigError(
                f"max_frames={max_frames}, radius={radius} and heads={heads} must be positive, and the heads "
                f"must divide {in_features} features.",
                remedy="Choose `heads` among the divisors of the backbone's width.",
            )
        self.num_features = in_features
        self.max_frames = max_frames
        self.radius = radius
        self.heads = heads
        self.config = {
            "type": "local_attention",
            "max_frames": max_frames,
            "radius": radius,
            "heads": heads,
        }
        self.norm = nn.LayerNorm(in_features)
        self.query = nn.Linear(in_features, in_features, bias=False)
        self.key = nn.Linear(in_features, in_features, bias=False)
        # Query and key start equal: neighbours weigh as much as they resemble the frame.
        nn.init.xavier_uniform_(self.query.weight, gain=0.5)
        self.key.weight.data.copy_(self.query.weight.data)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * radius + 1))
        nn.init.ones_(self.bias[:, radius])
        self.gate = nn.Parameter(torch.zeros(in_features))

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
        normed = self.norm(x)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(normed), self.key(normed), x)
        )
        place = torch.arange(length, device=x.device)
        offset = place - place[:, None]  # of the frame looked at (column) from the frame that looks (row)
        allowed = offset.abs() <= self.radius
        if features.frame_mask is not None:
            # A frame may always look at itself, so that no row of the attention is empty.
            allowed = allowed & (features.frame_mask[:, None, None, :] | (offset == 0))
        score = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5)
        score = score + self.bias[:, (offset + self.radius).clamp(0, 2 * self.radius)]
        weight = score.masked_fill(~allowed, float("-inf")).softmax(-1).to(value.dtype)
        context = (weight @ value).transpose(1, 2).flatten(2)
        x = x + 0.25 * self.gate.tanh() * (context - x)
        return Features.of_frames(x, features.frame_mask, features.tokens)
