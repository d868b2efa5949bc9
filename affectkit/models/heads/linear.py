"""Heads with one logit for each label."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.models.features import Features
from affectkit.models.heads.base import Head
from affectkit.models.registry import register

__all__ = ["AUHead", "DimensionsHead", "ExpressionHead"]


@register("head", "au")
class AUHead(Head):
    """Occurrence of action units: one independent logit for each unit, p = sigmoid(logit).

    See `Head` for the arguments; `space` is an `AUSet` or its name, such as "bp4d12" or "AU1,AU12".

    Example:
        >>> import torch
        >>> head = AUHead(512, "AU1,AU12")
        >>> head.labels, head.predict(head(torch.zeros(3, 512))).shape
        (('AU1', 'AU12'), torch.Size([3, 2]))
    """

    target = "au"
    kind = "occurrence"
    values = "probability"
    meaning = "probability of each unit"
    has_thresholds = True

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of each unit, float32 [..., A] in [0, 1], from logits [..., A]."""
        return self.scaled(logits).sigmoid()


@register("head", "expression")
class ExpressionHead(Head):
    """Exclusive expression classes: one logit for each class, p = softmax(logits).

    See `Head` for the arguments; `space` is an `ExpressionSet` or its name, such as "basic7" or "happiness,sadness".

    Example:
        >>> import torch
        >>> head = ExpressionHead(512, "basic7")
        >>> head.predict(head(torch.zeros(3, 512))).sum(-1).detach().round(decimals=4)
        tensor([1., 1., 1.])
    """

    target = "expression"
    kind = "categories"
    values = "probability"
    meaning = "probability of each class; they sum to 1"

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of each class, float32 [..., E] with sum 1 over E, from logits [..., E]."""
        return self.scaled(logits).softmax(-1)


@register("head", "dimensions")
class DimensionsHead(Head):
    r"""Continuous dimensions, such as valence and arousal: :math:`l + (h - l) (1 + \tanh z) / 2` in the range [l, h].

    The tanh keeps every value within the range of the labels and, unlike a clamp, has a gradient everywhere. It is part
    of `forward`, so losses and means over frames use values on the scale of the labels. The head has no probabilities,
    so no temperature is fitted. It starts with small weights, near the middle of the range: with large
    random outputs whose covariance with the labels is negative, the concordance loss falls fastest towards the ends of
    the range, where the tanh has no gradient left.

    See `Head` for the arguments; `space` is a `Dimensions` or its name, such as "va" or "dimensions[0,9]:arousal".

    Example:
        >>> import torch
        >>> head = DimensionsHead(512, "va")
        >>> head.labels, head.predict(head(torch.zeros(3, 512))).shape
        (('valence', 'arousal'), torch.Size([3, 2]))
    """

    target = "va"
    kind = "dimensions"
    meaning = "value on each dimension"

    def add_layers(self) -> None:
        """Shrink the random weights of the output."""
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def forward(self, features: Features | Tensor) -> Tensor:
        """Values on the scale of the labels, [B, D], [B, T, D] per frame, or [..., D] for a tensor."""
        low, high = self.space.value_range
        values = low + (high - low) * (1 + super().forward(features).float().tanh()) / 2
        return values.to(self.out.weight.dtype)  # also under autocast, where 8 bits are too few

    def predict(self, logits: Tensor) -> Tensor:
        """The values in float32."""
        return logits.float()
