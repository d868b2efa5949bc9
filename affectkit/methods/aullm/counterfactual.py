"""Counterfactual consistency: what changes if one unit of the instruction is flipped."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.distributed as dist
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["Consistency", "CounterfactualLoss", "UnitPrototypes"]

Consistency = Literal["flip", "invariant"]


class UnitPrototypes(nn.Module):
    r"""Running means of each unit's node, where the unit is active and where it is not.

    After a step with such clips (of all processes), :math:`\bar h \leftarrow 0.95\, \bar h + 0.05\, m` with m their
    mean; the first mean is taken as it is.

    Args:
        units: Number of units A.
        features: Width D of a node.
        momentum: Weight of the earlier mean.

    Attributes:
        means: [2, A, D], for inactive and for active units.
        known: bool [2, A], whether there is a mean.

    Example:
        >>> prototypes = UnitPrototypes(1, 2)
        >>> nodes, value = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[0.0], [1.0]])
        >>> prototypes.update(nodes, value, value >= 0)
        >>> prototypes.flip(nodes, value, torch.tensor([0, 0]))[:, 0]
        tensor([[0., 1.],
                [1., 0.]])
    """

    means: Tensor
    known: Tensor

    def __init__(self, units: int, features: int, *, momentum: float = 0.95) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("means", torch.zeros(2, units, features))
        self.register_buffer("known", torch.zeros(2, units, dtype=torch.bool))

    @torch.no_grad()
    def update(self, nodes: Tensor, value: Tensor, mask: Tensor) -> None:
        """Include the nodes of a step.

        Args:
            nodes: [B, A, D].
            value: [B, A], 0 or 1; any value for entries without annotation.
            mask: bool [B, A], True for annotated entries.
        """
        active = value >= 0.5
        states = torch.stack([mask & ~active, mask & active]).to(self.means.dtype)
        sums = einsum(states, nodes.to(self.means.dtype), "s b a, b a d -> s a d")
        counts = states.sum(dim=1)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        found = counts > 0
        mean = sums / rearrange(counts.clamp(min=1), "s a -> s a 1")
        mixed = torch.where(self.known[..., None], torch.lerp(mean, self.means, self.momentum), mean)
        self.means.copy_(torch.where(found[..., None], mixed, self.means))
        self.known |= found

    def flip(self, nodes: Tensor, value: Tensor, units: Tensor) -> Tensor:
        """Replace the node of one unit per clip by the mean of the unit's other state.

        Args:
            nodes: [B, A, D].
            value: [B, A], 0 or 1.
            units: int64 [B], index of the unit.

        Returns:
            [B, A, D].
        """
        other = (value.gather(1, units[:, None]).squeeze(1) < 0.5).long()
        flipped = F.one_hot(units, nodes.shape[1]).bool()[..., None]
        return torch.where(flipped, self.means[other, units].to(nodes.dtype)[:, None], nodes)

    def choose(self, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one annotated unit per clip, of those whose other state has a mean.

        Args:
            value: [B, A], 0 or 1; any value for entries without annotation.
            mask: bool [B, A], True for annotated entries.

        Returns:
            Index of the unit, int64 [B], and whether the clip has one, bool [B]; the index is arbitrary otherwise.
        """
        inactive, active = self.known
        possible = mask & torch.where(value >= 0.5, inactive, active)
        some = possible.any(dim=1)
        weights = torch.where(some[:, None], possible, True).float()
        return torch.multinomial(weights, 1).squeeze(1), some


class CounterfactualLoss(nn.Module):
    r"""Loss between the logits of clips and those with one unit of the instruction flipped.

    "flip" keeps the logits of the other units and moves that of the flipped unit i by at least δ:
    :math:`\frac{1}{A - 1} \sum_{j \ne i} (z_j - z_j')^2 + \max(0, \delta - s (z_i - z_i'))` with s = 1 if the unit is
    active and -1 if not. "invariant" asks that nothing changes, so that the prediction rests on the content token: the
    mean over units of :math:`\mathrm{KL}(\sigma(z) \,\|\, \sigma(z'))`.

    Args:
        kind: Kind of consistency.
        margin: δ, in logits.

    Raises:
        ConfigError: The kind is unknown.

    Example:
        >>> logits, active = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
        >>> flipped = torch.tensor([[-1.0, 0.0]])
        >>> CounterfactualLoss()(logits, flipped, active, torch.tensor([0]), torch.tensor([True]))
        (tensor(0.), tensor(1.))

    References:
        AULLM++, arXiv 2603.08387. Both forms are ours: the full paper was not available.
    """

    def __init__(self, kind: Consistency = "flip", *, margin: float = 0.5) -> None:
        super().__init__()
        if kind not in get_args(Consistency):
            raise ConfigError(
                f"Unknown consistency {kind!r}.", remedy=f"Known: {', '.join(get_args(Consistency))}."
            )
        self.kind, self.margin = kind, margin

    def forward(
        self, logits: Tensor, flipped: Tensor, value: Tensor, units: Tensor, some: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            logits: [B, A].
            flipped: [B, A], logits with the flipped unit.
            value: [B, A], 0 or 1.
            units: int64 [B], index of the flipped unit.
            some: bool [B], True for clips that count.

        Returns:
            The sum over clips and their number, both scalar; the sum always has a gradient to the logits.
        """
        logits, flipped = logits.float(), flipped.float()
        own = F.one_hot(units, logits.shape[1]).bool()
        if self.kind == "invariant":
            p = logits.sigmoid()
            log_ratio = F.logsigmoid(logits) - F.logsigmoid(flipped)
            log_other = F.logsigmoid(-logits) - F.logsigmoid(-flipped)
            losses = (p * log_ratio + (1 - p) * log_other).mean(dim=1)
        else:
            others = (logits - flipped).square().masked_fill(own, 0.0).sum(dim=1)
            sign = torch.where(value >= 0.5, 1.0, -1.0)
            moved = (sign * (logits - flipped)).masked_fill(~own, 0.0).sum(dim=1)
            losses = others / max(1, logits.shape[1] - 1) + (self.margin - moved).clamp(min=0)
        return losses.masked_fill(~some, 0.0).sum(), some.sum().to(losses.dtype)
