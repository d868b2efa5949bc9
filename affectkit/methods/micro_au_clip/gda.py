"""Global dependency attention between the units of a face."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError, LabelSpaceError

__all__ = ["GlobalDependencyAttention"]


class GlobalDependencyAttention(nn.Module):
    r"""Attention of units to each other and to the whole face, biased by co-occurrence.

    Pre-norm layers over the A units and one global token, with :math:`\lambda \log(C_{ij} + 0.05)` added to the
    scores between units, where :math:`C_{ij} = P(j \mid i)` among training labels. A learned gate adds the result to
    the units: :math:`F' = F + g\, \mathrm{GDA}(F)`.

    Args:
        features: Width D.
        units: Number of units A.
        depth: Number of layers.
        heads: Attention heads; must divide D.
        gate: Initial g; 0 makes the module the identity.
        dropout: Probability, after both branches of a layer.

    Attributes:
        cooccurrence: [A, A], a buffer; 1 everywhere, without effect, until `set_cooccurrence`.

    Raises:
        ConfigError: The heads do not divide the width.

    Example:
        >>> depend = GlobalDependencyAttention(16, 3, heads=2, gate=0.0)
        >>> units = torch.randn(2, 3, 16)
        >>> torch.equal(depend(units, torch.randn(2, 16)), units)
        True

    References:
        Micro-AU CLIP, arXiv 2603.16302. Depth, bias and gate are ours: the full paper was not available.
    """

    cooccurrence: Tensor

    def __init__(
        self,
        features: int,
        units: int,
        *,
        depth: int = 2,
        heads: int = 8,
        gate: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if features % heads:
            raise ConfigError(f"{heads} attention heads do not divide the width {features}.")
        self.layers = nn.ModuleList(_Layer(features, heads, dropout) for _ in range(depth))
        self.gate = nn.Parameter(torch.tensor(gate))
        self.strength = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("cooccurrence", torch.ones(units, units))

    def set_cooccurrence(self, conditional: Tensor) -> None:
        """Set the co-occurrence of units.

        Args:
            conditional: [A, A], P(j | i) in row i and column j, in [0, 1].

        Raises:
            LabelSpaceError: The shape or a value is wrong.
        """
        shape = tuple(self.cooccurrence.shape)
        if tuple(conditional.shape) != shape or not ((conditional >= 0) & (conditional <= 1)).all():
            raise LabelSpaceError(f"Co-occurrence must have the shape {list(shape)} and values in [0, 1].")
        self.cooccurrence.copy_(conditional)

    def forward(self, units: Tensor, whole: Tensor) -> Tensor:
        """Relate units.

        Args:
            units: [B, A, D].
            whole: [B, D], the global token.

        Returns:
            [B, A, D].
        """
        bias = self.bias.to(units.dtype)
        tokens = torch.cat([units, whole[:, None]], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return units + self.gate * tokens[:, :-1]

    @property
    def bias(self) -> Tensor:
        """Bias of the scores, [A + 1, A + 1]; 0 for the global token, the last one."""
        return F.pad(self.strength * (self.cooccurrence + 0.05).log(), (0, 1, 0, 1))

    def attention(self, units: Tensor, whole: Tensor) -> Tensor:
        """Attention of each unit, averaged over layers and heads.

        Args:
            units: [B, A, D].
            whole: [B, D], the global token.

        Returns:
            [B, A, A + 1] with rows of sum 1; the last column is the global token.
        """
        bias = self.bias.to(units.dtype)
        tokens, looks = torch.cat([units, whole[:, None]], dim=1), []
        for layer in cast("list[_Layer]", list(self.layers)):
            looks.append(layer.attention(tokens, bias))
            tokens = layer(tokens, bias)
        return torch.stack(looks).mean(dim=0)[:, :-1]


class _Layer(nn.Module):
    def __init__(self, features: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.qkv = nn.Linear(features, 3 * features)
        self.out = nn.Sequential(nn.Linear(features, features), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, 2 * features),
            nn.GELU(),
            nn.Linear(2 * features, features),
            nn.Dropout(dropout),
        )

    def attention(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Attention [B, N, N] of each token, averaged over heads."""
        query, key, _ = self._split(tokens)
        scores = query @ key.mT * query.shape[-1] ** -0.5 + bias
        return F.softmax(scores, dim=-1).mean(dim=1)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [B, heads, N, D / heads] each."""
        query, key, value = rearrange(
            self.qkv(self.norm(tokens)), "b n (three h d) -> three b h n d", three=3, h=self.heads
        )
        return query, key, value

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        query, key, value = self._split(tokens)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.out(rearrange(read, "b h n d -> b n (h d)"))
        out: Tensor = tokens + self.mlp(tokens)
        return out
