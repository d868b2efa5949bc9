"""Learned associations between action units and expressions, from a prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["AssociationMap", "Directions"]

Directions = Literal["both", "au_to_expression", "expression_to_au", "none"]
EPSILON = 1e-8


class AssociationMap(nn.Module):
    r"""Two maps between E expressions and A action units that redistribute a prior M⁰ [E, A].

    .. math::
        M_{a \to e}[i, :] &= \mathrm{softmax}_j(\log(M^0_{ij} + \epsilon) + \Delta^{ae}_{ij}) \sum_j M^0_{ij} \\
        M_{e \to a}[j, :] &= \mathrm{softmax}_i(\log(M^0_{ij} + \epsilon) + \Delta^{ea}_{ji}) \sum_i M^0_{ij}

    Rows keep the mass of the prior; only its distribution is learned. With Δ = 0, the initial value, both maps equal
    the prior. One expression, the neutral one, can be fixed: its entries in both maps are those of the prior, and the
    softmax and the sum over i exclude it.

    Args:
        prior: M⁰, finite and not negative.
        fixed_row: Index of the fixed expression.
        directions: The learned maps; the other map equals the prior.

    Attributes:
        prior: float32 [E, A].
        delta_ae: [E, A], or None if the map from units to expressions is not learned.
        delta_ea: [A, E], or None if the map from expressions to units is not learned.

    Raises:
        ConfigError: The prior is not such a table, or does not contain the fixed row.

    Example:
        >>> association = AssociationMap([[0.9, 0.1], [0.2, 0.8]])
        >>> association()[0]
        tensor([[0.9000, 0.1000],
                [0.2000, 0.8000]], grad_fn=<WhereBackward0>)

    References:
        SSM, arXiv 2604.10541, dynamic prior mapping.
    """

    prior: Tensor

    def __init__(
        self,
        prior: Sequence[Sequence[float]],
        fixed_row: int | None = None,
        *,
        directions: Directions = "both",
    ) -> None:
        super().__init__()
        if not prior or not prior[0] or len({len(row) for row in prior}) != 1:
            raise ConfigError("A prior must have rows of equal length.")
        if not all(0 <= value < math.inf for row in prior for value in row):
            raise ConfigError("A prior must contain finite numbers of at least 0.")
        if fixed_row is not None and not (0 <= fixed_row < len(prior) and len(prior) > 1):
            raise ConfigError(f"Row {fixed_row} cannot be fixed in a prior with {len(prior)} rows.")
        if directions not in get_args(Directions) or directions == "none":
            raise ConfigError(
                f"A map cannot have the directions {directions!r}.",
                remedy="Choose both, au_to_expression or expression_to_au.",
            )
        self.fixed_row = fixed_row
        table = torch.tensor(prior, dtype=torch.float32)
        self.register_buffer("prior", table)
        # An unused map has no parameter, so that every parameter gets a gradient at every step.
        self.delta_ae = None if directions == "expression_to_au" else nn.Parameter(torch.zeros_like(table))
        self.delta_ea = None if directions == "au_to_expression" else nn.Parameter(torch.zeros_like(table.T))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Both maps, float32 [E, A] and [A, E], also under autocast and in half precision."""
        prior = self.prior.float()
        fixed = torch.zeros(len(prior), 1, dtype=torch.bool, device=prior.device)
        if self.fixed_row is not None:
            fixed[self.fixed_row] = True
        log = (prior + EPSILON).log()
        to_expression, to_unit = prior, prior.T
        if self.delta_ae is not None:
            learned = (log + self.delta_ae.float()).softmax(1) * prior.sum(1, keepdim=True)
            to_expression = torch.where(fixed, prior, learned)
        if self.delta_ea is not None:
            score = (log.T + self.delta_ea.float()).masked_fill(fixed.T, float("-inf"))
            mass = prior.masked_fill(fixed, 0.0).sum(0)[:, None]
            to_unit = torch.where(fixed.T, prior.T, score.softmax(1) * mass)
        return to_expression, to_unit
