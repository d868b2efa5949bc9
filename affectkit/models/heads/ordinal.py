"""Heads for ordered levels, by a cumulative link."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.models.features import Features
from affectkit.models.heads.base import Head
from affectkit.models.registry import register

__all__ = ["AUIntensityHead", "LevelsHead"]

_UNIT_GAP = 0.5413  # its softplus is 1


class _OrdinalHead(Head):
    """Logits of "at least level k": one score, less increasing thresholds whose gaps are learned."""

    raw_gaps: nn.Parameter

    def cumulative(self, score: Tensor) -> Tensor:
        """Logits [..., K], decreasing, from scores [..., 1] whose bias is the first threshold."""
        return torch.cat([score, score - F.softplus(self.raw_gaps).cumsum(-1)], dim=-1)

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of "at least level k" and its truth, both [N K], from logits [N, K] and levels [N]."""
        truth = value[:, None] >= torch.arange(1, logits.shape[-1] + 1, device=value.device)
        return logits.flatten(), truth.flatten()


@register("head", "intensity")
class AUIntensityHead(_OrdinalHead):
    r"""Ordinal intensity of each action unit, 0 (absent) to 5, by a cumulative link.

    One score s for each unit and five increasing thresholds: :math:`P(y \ge k) = \sigma(s - \theta_k)`, k = 1..5.
    The gaps between thresholds are learned for each unit; a softplus keeps them positive.

    See `Head` for the arguments; `space` is an `AUIntensitySet` or its name, such as "intensity:disfa8".

    Example:
        >>> head = AUIntensityHead(512, "intensity:AU6,AU12")
        >>> logits = head(torch.zeros(3, 512))
        >>> logits.shape, head.predict(logits).shape
        (torch.Size([3, 2, 5]), torch.Size([3, 2]))

    References:
        P. McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical Society B 42, 1980.
    """

    target = "intensity"
    kind = "intensity"
    values = "intensity 0-5"
    meaning = "intensity of each unit, 0 (absent) to 5"
    logit_axes = 2

    def add_layers(self) -> None:
        """Add the four gaps of each unit."""
        self.raw_gaps = nn.Parameter(torch.full((len(self.space), 4), _UNIT_GAP))

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits of "at least level k", k = 1..5: [..., A, 5], decreasing along the last axis."""
        return self.cumulative(rearrange(super().forward(features), "... a -> ... a 1"))

    def predict(self, logits: Tensor) -> Tensor:
        """Expected intensity of each unit, the sum of P(y ≥ k): float32 [..., A] in [0, 5]."""
        return self.scaled(logits).sigmoid().sum(-1)


@register("head", "levels")
class LevelsHead(_OrdinalHead):
    r"""One of K ordered levels, by a cumulative link as in `AUIntensityHead`.

    One score s and K - 1 increasing thresholds: :math:`P(y \ge k) = \sigma(s - \theta_k)`, k = 1..K-1, and
    :math:`P(y = k) = P(y \ge k) - P(y \ge k + 1)`. The gaps between thresholds are learned; a softplus keeps them
    positive.

    See `Head` for the arguments; `space` is a `Levels` or its name, such as "levels:low,medium,high".

    Example:
        >>> head = LevelsHead(512, "levels:low,medium,high")
        >>> logits = head(torch.zeros(3, 512))
        >>> logits.shape, head.predict(logits).sum(-1).detach().round(decimals=4)
        (torch.Size([3, 2]), tensor([1., 1., 1.]))
    """

    target = "levels"
    kind = "levels"
    values = "probability"
    meaning = "probability of each level; they sum to 1"

    def add_layers(self) -> None:
        """Replace the output by one score, and add K - 2 gaps."""
        self.out = nn.Linear(self.out.in_features, 1)
        self.raw_gaps = nn.Parameter(torch.full((len(self.space) - 2,), _UNIT_GAP))

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits of "at least level k", k = 1..K-1: [..., K-1], decreasing along the last axis."""
        return self.cumulative(super().forward(features))

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of each level, float32 [..., K] with sum 1 over K."""
        reached = F.pad(self.scaled(logits).sigmoid(), (1, 0), value=1.0)
        return reached - F.pad(reached[..., 1:], (0, 1))
