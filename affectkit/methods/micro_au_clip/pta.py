"""Patch token attention: one vector per unit from the patches of its region."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["PatchTokenAttention"]


class PatchTokenAttention(nn.Module):
    r"""Attention of each unit to the patches of its region, with its own query and shared projections.

    With the patches Z of a unit and their weights w, :math:`u = \mathrm{softmax}(q W_Q (Z W_K)^\top / \sqrt{d} +
    \log w)\, Z W_V`, :math:`f = \mathrm{LN}(q + u)`, and :math:`f + \mathrm{MLP}(\mathrm{LN}(f))`. Units do not
    see each other's patches.

    Args:
        features: Width D.
        units: Number of units A.
        heads: Attention heads; must divide D.
        dropout: Probability, in the MLP.

    Attributes:
        queries: [A, D], learned.

    Raises:
        ConfigError: The heads do not divide the width.

    Example:
        >>> attend = PatchTokenAttention(16, 3, heads=2)
        >>> out, weights = attend(torch.zeros(2, 4, 16), torch.zeros(2, 3, 5).long(), torch.ones(2, 3, 5))
        >>> out.shape, weights.shape
        (torch.Size([2, 3, 16]), torch.Size([2, 3, 5]))

    References:
        Micro-AU CLIP, arXiv 2603.16302. The dimensions are ours: the full paper was not available.
    """

    def __init__(self, features: int, units: int, *, heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        if features % heads:
            raise ConfigError(f"{heads} attention heads do not divide the width {features}.")
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(units, features) * features**-0.5)
        self.query = nn.Linear(features, features, bias=False)
        self.key = nn.Linear(features, features, bias=False)
        self.value = nn.Linear(features, features, bias=False)
        self.norm = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, 2 * features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * features, features),
        )

    def forward(self, tokens: Tensor, places: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Read the regions.

        Args:
            tokens: [B, N, D], the patches of a picture.
            places: int64 [B, A, P], patch numbers of each unit's region.
            weights: float [B, A, P], 0 for entries without a patch; every unit has at least one patch.

        Returns:
            Vectors of the units [B, A, D], and their attention [B, A, P], averaged over heads.
        """
        batch = torch.arange(places.shape[0], device=tokens.device)[:, None, None]
        # Project the N patches once, then gather: regions overlap.
        query, key, value = (
            rearrange(part, "... (h d) -> ... h d", h=self.heads)
            for part in (self.query(self.queries), self.key(tokens), self.value(tokens))
        )
        key, value = key[batch, places], value[batch, places]
        scores = einsum(query, key, "a h d, b a p h d -> b a h p") * query.shape[-1] ** -0.5
        scores = scores + weights.to(scores.dtype).log()[:, :, None]
        attention = F.softmax(scores, dim=-1)
        read = rearrange(einsum(attention, value, "b a h p, b a p h d -> b a h d"), "b a h d -> b a (h d)")
        f = self.norm(self.queries + read)
        return f + self.mlp(f), attention.mean(dim=2)
