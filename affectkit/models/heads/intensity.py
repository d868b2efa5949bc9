"""How strong action units are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.facs import LabelSpace
from affectkit.models.features import Features
from affectkit.models.heads.base import Head, register

__all__ = ["AUIntensityHead"]

LEVELS = 5
UNIT_GAP = 0.5413  # softplus of it is 1


def cumulative(score: Tensor, raw_gaps: Tensor) -> Tensor:
    """Logits of "at least level k" from scores and the gaps between thresholds, before the softplus.

    The first threshold is the bias of the score.

    Args:
        score: [..., 1].
        raw_gaps: [..., K - 1].

    Returns:
        [..., K], decreasing along the last axis.
    """
    return torch.cat([score, score - F.softplus(raw_gaps).cumsum(-1)], dim=-1)


def at_least(logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N K] of "at least level k" beside whether it is, from logits [N, K] and levels [N]."""
    truth = value[:, None] >= torch.arange(1, logits.shape[-1] + 1, device=value.device)
    return logits.flatten(), truth.flatten()


@register("head", "intensity")
class AUIntensityHead(Head):
    r"""Ordinal intensities 0-5 (absent, A-E) of each action unit, by a cumulative link.

    One score s a unit and five increasing thresholds: :math:`P(y \ge k) = \sigma(s - \theta_k)`, k = 1..5.
    The gaps between thresholds are learned for each unit and kept positive by a softplus.

    Args:
        in_features: Width of what it reads.
        space: An `AUIntensitySet`, or its name: "intensity:disfa8".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        target: Name of the annotation it learns from, where it is not the usual one.

    Example:
        >>> head = AUIntensityHead(512, "intensity:AU6,AU12")
        >>> logits = head(torch.zeros(3, 512))
        >>> logits.shape, head.predict(logits).shape
        (torch.Size([3, 2, 5]), torch.Size([3, 2]))

    References:
        P. McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical Society B 42,
        1980.
    """

    target = "intensity"
    kind = "intensity"
    values = "intensity 0-5"
    meaning = "intensity of each unit, 0 (absent) to 5"
    logit_axes = 2

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
        self.raw_gaps = nn.Parameter(torch.full((len(self.space), LEVELS - 1), UNIT_GAP))

    def forward(self, features: Features | Tensor) -> Tensor:
        """Logits of "at least level k", k = 1..5.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Returns:
            [..., A, 5], decreasing along the last axis.
        """
        return cumulative(super().forward(features).unsqueeze(-1), self.raw_gaps)

    def expected(self, logits: Tensor) -> Tensor:
        """The expected intensity, the sum over k of P(y >= k).

        Args:
            logits: [..., A, 5].

        Returns:
            float32 [..., A] in [0, 5].
        """
        return self.scaled(logits).sigmoid().sum(-1)

    def predict(self, logits: Tensor) -> Tensor:
        """The expected intensity of each unit, see `expected`.

        Args:
            logits: [..., A, 5].

        Returns:
            float32 [..., A] in [0, 5].
        """
        return self.expected(logits)

    def evidence(self, logits: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of "at least level k" beside whether it is.

        Args:
            logits: [N, 5].
            value: [N], intensities.

        Returns:
            Both [5 N].
        """
        return at_least(logits, value)
