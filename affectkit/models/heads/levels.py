"""Which of several ordered levels is shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectkit.facs import LabelSpace
from affectkit.models.features import Features
from affectkit.models.heads.base import Head, register
from affectkit.models.heads.intensity import UNIT_GAP, at_least, cumulative

__all__ = ["LevelsHead"]


@register("head", "levels")
class LevelsHead(Head):
    r"""One of K ordered levels, by a cumulative link.

    One score s and K - 1 increasing thresholds: :math:`P(y \ge k) = \sigma(s - \theta_k)`, k = 1..K-1, and
    :math:`P(y = k) = P(y \ge k) - P(y \ge k + 1)`. The gaps between thresholds are learned and kept positive by a
    softplus.

    Args:
        in_features: Width of what it reads.
        space: A `Levels`, or its name: "levels:low,medium,high".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        target: Name of the annotation it learns from, where it is not the usual one.

    Example:
        >>> head = LevelsHead(512, "levels:low,medium,high")
        >>> logits = head(torch.zeros(3, 512))
        >>> logits.shape, head.predict(logits).sum(-1).detach().round(decimals=4)
        (torch.Size([3, 2]), tensor([1., 1., 1.]))

    References:
        P. McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical Society B 42, 1980.
    """

    target = "levels"
    kind = "levels"
    values = "probability"
    meaning = "probability of each level; they sum to 1"

    def __init__(
        self,
        in_features: int,
        space: str | LabelSpace,
        *,
        per_frame: bool = False,
        dropout: float = 0.0,
        hidden: int | None = None,
        target: str | None = None,
    ) -> None:
        super().__init__(
            in_features, space, per_frame=per_frame, dropout=dropout, hidden=hidden, target=target
        )
        self.out = nn.Linear(hidden or in_features, 1)
        self.raw_gaps = nn.Parameter(torch.full((len(self.space) - 2,), UNIT_GAP))

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits of "at least level k", k = 1..K-1.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Returns:
            [..., K-1], decreasing along the last axis.
        """
        return cumulative(super().forward(features), self.raw_gaps)

    def predict(self, logits: Tensor) -> Tensor:
        """The probability of each level.

        Args:
            logits: [..., K-1].

        Returns:
            float32 [..., K] in [0, 1], summing to 1 over K.
        """
        reached = self.scaled(logits).sigmoid()
        ends = reached.new_ones(*reached.shape[:-1], 1)
        return torch.cat([ends, reached], dim=-1) - torch.cat([reached, 0 * ends], dim=-1)

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of "at least level k" beside whether it is.

        Args:
            logits: [N, K-1].
            value: [N], level indices.

        Returns:
            Both [N (K-1)].
        """
        return at_least(logits, value)
