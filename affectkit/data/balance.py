"""How often to draw clips, so that rare action units are seen."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.errors import ConfigError

__all__ = ["draw_weights"]

_ROUNDS = 200


def draw_weights(positive: Tensor, *, rare: float = 0.1, share: float = 0.25) -> Tensor:
    """Weights with which every rare action unit has a share of at least `share` in what is drawn.

    Clips that show a unit rarer than `rare` are weighed up until they make `share` of the draws; units are taken
    in turn until all of them are there (iterative proportional fitting). Where many rare units exclude each
    other, not all can have so much, and they come as near to it as the rounds allow.

    Args:
        positive: bool [N, A], whether a clip shows a unit; units that were not annotated are False.
        rare: Units that a smaller share of the clips show are rare, in [0, 1].
        share: What they shall have of the draws, in [0, 1).

    Returns:
        float64 [N], with mean 1.

    Raises:
        ConfigError: `share` or `rare` out of range.

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
    lacking = [unit for unit in range(positive.shape[1]) if 0 < rates[unit] < rare]
    for _ in range(_ROUNDS):
        for unit in lacking:
            shown = positive[:, unit]
            has = weights[shown].sum() / weights.sum()
            if has < share:
                weights[shown] *= share / (1 - share) * (1 - has) / has
        weights /= weights.mean()
    return weights
