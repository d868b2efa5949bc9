"""Sampling weights that make rare action units more frequent."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.errors import ConfigError

__all__ = ["draw_weights"]

_ROUNDS = 200


def draw_weights(positive: Tensor, *, rare: float = 0.1, share: float = 0.25) -> Tensor:
    """Compute weights that give every rare action unit at least `share` of the draws.

    Clips with a unit rarer than `rare` are weighted up to `share` of the draws, unit by unit, until all units have
    their share (iterative proportional fitting). If many rare units exclude each other, the result is approximate.

    Args:
        positive: bool [N, A], active units of each clip; False if not annotated.
        rare: Largest frequency, in [0, 1], of a rare unit.
        share: Share of the draws for each rare unit, in [0, 1).

    Returns:
        float64 [N], with mean 1.

    Raises:
        ConfigError: `share` or `rare` is out of range.

    Example:
        >>> shown = torch.zeros(20, 1, dtype=torch.bool)
        >>> shown[0] = True
        >>> draw_weights(shown)[:2].round(decimals=2)
        tensor([5.0000, 0.7900], dtype=torch.float64)
    """
    if not (0 <= rare <= 1 and 0 <= share < 1):
        raise ConfigError(f"rare {rare} must be in [0, 1] and share {share} in [0, 1).")
    weights = torch.ones(len(positive), dtype=torch.float64)
    rates = positive.double().mean(dim=0)
    rare_units = positive[:, (rates > 0) & (rates < rare)].unbind(1)
    for _ in range(_ROUNDS):
        for shown in rare_units:
            current = weights[shown].sum() / weights.sum()
            if current < share:
                weights[shown] *= share / (1 - share) * (1 - current) / current
        weights /= weights.mean()
    return weights
