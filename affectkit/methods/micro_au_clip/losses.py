"""Losses of Micro-AU CLIP beside the cross-entropy: how units depend on each other, and likeness across clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["CrossSampleContrast", "GlobalDependencyLoss"]


class GlobalDependencyLoss(nn.Module):
    r"""Draws the vectors of units that act together towards each other, and those of which one acts apart.

    With :math:`S_{ij}` the cosine of two units' vectors and :math:`R_{ij}` = 1 where both act, 0 where neither does and
    -1 where one does: :math:`w_{ij} (S_{ij} - \rho R_{ij})^2` over pairs i < j that are both annotated and of which
    one occurs with the other, C_ij or C_ji above `least`; :math:`w_{ij} = \max(C_{ij}, C_{ji})`.

    Args:
        rho: ρ, the cosine that is aimed at, in [0, 1].
        least: Pairs that occur together more rarely than this are left out.

    Raises:
        ConfigError: A value is out of [0, 1].

    Example:
        >>> both = torch.ones(1, 2)
        >>> loss = GlobalDependencyLoss(rho=1.0)
        >>> loss(torch.ones(1, 2, 4), both, both.bool(), torch.full((2, 2), 0.6))
        (tensor(0.), tensor(1.))

    References:
        Micro-AU CLIP, arXiv 2603.16302. Target and weights are ours: the paper's text could not be had.
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
            units: [B, A, D], a vector a unit.
            value: [B, A], 0 or 1; entries that are not annotated may hold anything.
            mask: bool [B, A], True where annotated.
            cooccurrence: [A, A], P(j | i) in row i.

        Returns:
            The sum over annotated pairs, and their number. Both scalar; the sum is connected to `units` always.
        """
        direction = F.normalize(units.float(), dim=-1)
        cosine = direction @ direction.transpose(1, 2)
        acts = value >= 0.5
        together = acts[:, :, None] & acts[:, None, :]
        apart = acts[:, :, None] ^ acts[:, None, :]
        goal = self.rho * (together.float() - apart.float())
        weight = torch.maximum(cooccurrence, cooccurrence.T).float()
        pairs = (weight > self.least).triu(diagonal=1) & mask[:, :, None] & mask[:, None, :]
        losses = weight * (cosine - goal).square()
        return torch.where(pairs, losses, 0.0).sum(), pairs.sum().to(losses.dtype)


class CrossSampleContrast(nn.Module):
    r"""Draws the vectors of a unit that acts in several clips together, and away from all others.

    For a unit that acts in a clip (the anchor a), with P the same unit in the other clips in which it acts:
    :math:`-\frac{1}{|P|} \sum_{p \in P} \log \frac{\exp(\cos(f_a, f_p) / \tau)}{\sum_{k \ne a} \exp(\cos(f_a, f_k) /
    \tau)}`, where k runs over all annotated units of all clips. Anchors without a partner have no part.

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
            units: [B, A, D], a vector a unit, of all clips of all processes.
            value: [B, A], 0 or 1; entries that are not annotated may hold anything.
            mask: bool [B, A], True where annotated.
            temperature: τ, a positive scalar.
            local: The clips of this process, which are its anchors; all by default.

        Returns:
            The sum over anchors, and their number. Both scalar; the sum is connected to `units` always.
        """
        own = slice(None) if local is None else local
        B, A, _ = units.shape
        direction = F.normalize(units.float(), dim=-1).flatten(0, 1)
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
