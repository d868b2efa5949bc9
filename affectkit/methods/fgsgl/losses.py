"""Losses of FG-SGL: texts that mean the same are no negatives of each other, and stages of training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Order", "consistency", "grouped_cross_entropy", "stage_weights"]

Order = Literal["coarse_first", "fine_first", "one_stage"]
_FIRST, _RAMP = 0.3, 0.2  # shares of the training


def stage_weights(progress: float, order: Order = "coarse_first") -> dict[str, float]:
    """Weights of the losses by category, by the course of the movement, and of their consistency (ML-CO).

    The first 30 % of the training use one level of texts, from coarse to fine the categories. The weight of the other
    level rises from 0 to 1 in the next 20 %. Then consistency is added.

    Args:
        progress: Share of the training that is over, from 0 to 1.
        order: Which level comes first; "one_stage" uses everything from the start.

    Example:
        >>> stage_weights(0.4)
        {'category': 1.0, 'fine': 0.5, 'consistency': 0.0}

    References:
        FG-SGL, arXiv 2603.16269; lengths and ramp are ours.
    """
    second = min(1.0, max(0.0, round((progress - _FIRST) / _RAMP, 9)))
    if order == "one_stage":
        second = 1.0
    coarse, fine = (second, 1.0) if order == "fine_first" else (1.0, second)
    return {"category": coarse, "fine": fine, "consistency": float(second == 1.0)}


def grouped_cross_entropy(logits: Tensor, classes: Tensor, groups: Tensor) -> Tensor:
    """Cross-entropy [B] in which the classes with the same text as the true one are left out.

    Args:
        logits: [B, C].
        classes: int64 [B], true classes.
        groups: int64 [C], equal for classes whose texts mean the same.

    Example:
        >>> grouped_cross_entropy(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([5, 5, 7]))
        tensor([0.6931])
    """
    same = groups[classes][:, None] == groups
    same = same & (torch.arange(len(groups), device=groups.device) != classes[:, None])
    lowest = torch.finfo(logits.dtype).min
    return F.cross_entropy(logits.masked_fill(same, lowest), classes, reduction="none")


def consistency(category: Tensor, fine: Tensor) -> Tensor:
    """Divergence KL(softmax(category) ‖ softmax(fine)) [B] of logits [B, C] of the two levels.

    Example:
        >>> consistency(torch.zeros(1, 2), torch.zeros(1, 2))
        tensor([0.])
    """
    p, q = category.log_softmax(dim=-1), fine.log_softmax(dim=-1)
    return F.kl_div(q, p, reduction="none", log_target=True).sum(dim=-1)
