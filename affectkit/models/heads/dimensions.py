"""Where on continuous dimensions, such as valence and arousal, a face is."""

from __future__ import annotations

from torch import Tensor

from affectkit.models.features import Features
from affectkit.models.heads.base import Head, register

__all__ = ["DimensionsHead"]


@register("head", "dimensions")
class DimensionsHead(Head):
    r"""One value on each continuous dimension, :math:`l + (h - l) (1 + \tanh z) / 2` between l and h.

    The hyperbolic tangent keeps every answer within the range of the labels; unlike a clamp it has a gradient
    everywhere, so that an answer beyond the range finds back. It is part of `forward`: losses, and means over frames,
    are taken of values on the scale of the labels. There are no probabilities, so no temperature is fitted.

    Args:
        in_features: Width of what it reads.
        space: A `Dimensions`, or its name: "va", "dimensions[0,9]:arousal".
        per_frame: Answer for every frame instead of once a clip.
        dropout: Probability, before each linear layer.
        hidden: Width of a hidden layer with GELU; none by default.
        target: Name of the annotation it learns from, where it is not the usual one.

    Example:
        >>> import torch
        >>> head = DimensionsHead(512, "va")
        >>> head.labels, head.predict(head(torch.zeros(3, 512))).shape
        (('valence', 'arousal'), torch.Size([3, 2]))
    """

    target = "va"
    kind = "dimensions"
    values = "value"
    meaning = "value on each dimension"

    def forward(self, features: Features | Tensor) -> Tensor:
        """Values on the scale of the labels.

        Args:
            features: Features, or a tensor [..., in_features] from any other network.

        Returns:
            [B, D], or [B, T, D] where the head works on frames; [..., D] for a tensor.
        """
        low, high = self.space.value_range
        values = low + (high - low) * (1 + super().forward(features).float().tanh()) / 2
        return values.to(self.out.weight.dtype)  # also under autocast, where 8 bits would not do

    def predict(self, logits: Tensor) -> Tensor:
        """The value on each dimension.

        Args:
            logits: [..., D], values already.

        Returns:
            float32 [..., D] between the ends of the range.
        """
        return logits.float()
