"""Heads with one logit for each ordered level."""

from __future__ import annotations

from torch import Tensor

from affectkit.models.heads.base import Head
from affectkit.models.registry import register

__all__ = ["NominalLevelsHead"]


@register("head", "nominal_levels")
class NominalLevelsHead(Head):
    """One of K ordered levels, with one logit for each level: p = softmax(logits).

    The head does not use the order; `LevelsHead` does. Its default loss is cross-entropy.

    See `Head` for the arguments; `space` is a `Levels` or its name, such as "levels:low,medium,high".

    Example:
        >>> import torch
        >>> head = NominalLevelsHead(512, "levels:low,medium,high")
        >>> head.predict(head(torch.zeros(2, 512))).sum(-1).detach().round(decimals=4)
        tensor([1., 1.])
    """

    target = "levels"
    kind = "levels"
    values = "probability"
    meaning = "probability of each level; they sum to 1"
    loss = "cross_entropy"

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of each level, float32 [..., K] with sum 1 over K."""
        return self.scaled(logits).softmax(-1)
