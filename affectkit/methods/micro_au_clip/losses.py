"""Losses of Micro-AU CLIP in addition to the cross-entropy: dependency between units and contrast across clips."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["CrossSampleContrast", "GlobalDependencyLoss"]


class GlobalDependencyLoss(nn.Module):
    r"""Loss that pulls the vectors of units together if both are active, and apart if only one is.

    With :math:`S_{ij}` the cosine of two units' vectors and :math:`R_{ij}` = 1 if both are active, 0 if neither is and
    -1 if one is: :math:`w_{ij} (S_{ij} - \rho R_{ij})^2` over pairs i < j of annotated units that co-occur
    (C_ij or C_ji above `least`); :math:`w_{ij} = \max(C_{ij}, C_{ji})`.

    Args:
        rho: Target cosine ρ, in [0, 1].
        least: Smallest co-occurrence of the pairs.

    Raises:
        ConfigError: A value is out of [0, 1].

    Example:
        >>> both = torch.ones(1, 2)
        >>> loss = GlobalDependencyLoss(rho=1.0)
        >>> loss(torch.ones(1, 2, 4), both, both.bool(), torch.full((2, 2), 0.6))
        (tensor(0.), tensor(1.))

    References:
        Micro-AU CLIP, arXiv 2603.16302. Target and weights are ours: the full paper was not available.
    """

    def __init__(self, *, rho: float = 0.5, least: float = 0.1) -> None:
        super().__init__()
        if not (0 <= rho <= 1 and 0 <= least <= 1):
            raise ConfigError(f"rho {rho} and least {least} must be in [0, 1].")
        self.rho = rho
        self.least = least

    def forward(
        self, units: Tensor, value: Tensor, mask: Tensor, cooccurrence: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            units: [B, A, D], one vector per unit.
            value: [B, A], 0 or 1; any value for entries without annotation.
            mask: bool [B, A], True for annotated entries.
            cooccurrence: [A, A], P(j | i) in row i.

        Returns:
            The sum over annotated pairs and their number, both scalar; the sum always has a gradient to `units`.
        """
        direction = F.normalize(units.float(), dim=-1)
        cosine = direction @ direction.mT
        acts = value >= 0.5
        together = acts[:, :, None] & acts[:, None, :]
        apart = acts[:, :, None] ^ acts[:, None, :]
        goal = self.rho * (together.float() - apart.float())
        weight = torch.maximum(cooccurrence, cooccurrence.T).float()
        pairs = (weight > self.least).triu(diagonal=1) & mask[:, :, None] & mask[:, None, :]
        losses = weight * (cosine - goal).square()
        return torch.where(pairs, losses, 0.0).sum(), pairs.sum().to(losses.dtype)


class CrossSampleContrast(nn.Module):
    r"""Supervised contrast: pulls the vectors of a unit together across clips where it is active, and away from others.

    For an active unit in a clip (the anchor a), with P the same unit in the other clips where it is active:
    :math:`-\frac{1}{|P|} \sum_{p \in P} \log \frac{\exp(\cos(f_a, f_p) / \tau)}{\sum_{k \ne a} \exp(\cos(f_a, f_k) /
    \tau)}`, where k runs over all annotated units of all clips. Anchors with empty P are ignored.

    Example:
        >>> units, value = torch.eye(2).repeat(2, 1, 1), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> total, count = CrossSampleContrast()(units, value, value >= 0, torch.tensor(0.1))
        >>> total.round(decimals=4), count
        (tensor(0.0002), tensor(2.))

    References:
        Micro-AU CLIP, arXiv 2603.16302; after P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    """

    def forward(
        self, units: Tensor, value: Tensor, mask: Tensor, temperature: Tensor, *, local: slice | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            units: [B, A, D], one vector per unit, for all clips of all processes.
            value: [B, A], 0 or 1; any value for entries without annotation.
            mask: bool [B, A], True for annotated entries.
            temperature: τ, a positive scalar.
            local: The clips of this process, which provide its anchors; all by default.

        Returns:
            The sum over anchors and their number, both scalar; the sum always has a gradient to `units`.
        """
        own = slice(None) if local is None else local
        B, A, _ = units.shape
        direction = rearrange(F.normalize(units.float(), dim=-1), "b a d -> (b a) d")
        known, acts = mask.flatten(), ((value >= 0.5) & mask).flatten()
        entry = torch.arange(B * A, device=units.device)
        anchors = entry.reshape(B, A)[own].flatten()
        scores = direction[anchors] @ direction.T / temperature
        others = known & (entry != anchors[:, None])
        lowest = torch.finfo(scores.dtype).min
        likelihood = scores - scores.masked_fill(~others, lowest).logsumexp(dim=1, keepdim=True)
        partners = others & acts & (entry % A == anchors[:, None] % A) & acts[anchors][:, None]
        number = partners.sum(dim=1)
        losses = -torch.where(partners, likelihood, 0.0).sum(dim=1) / number.clamp(min=1)
        return losses.sum(), (number > 0).sum().to(losses.dtype)
