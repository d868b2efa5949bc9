"""Heads that regress values on the scale of the labels, as models of other programs do."""

from __future__ import annotations

from torch import Tensor

from affectkit.models.features import Features
from affectkit.models.heads.base import Head
from affectkit.models.heads.linear import DimensionsHead
from affectkit.models.heads.ordinal import AUIntensityHead
from affectkit.models.registry import register

__all__ = ["LinearDimensionsHead", "ScaledIntensityHead"]


@register("head", "linear_dimensions")
class LinearDimensionsHead(DimensionsHead):
    """Continuous dimensions by a linear layer, without the tanh of `DimensionsHead`; predictions are clipped.

    See `Head` for the arguments; `space` is a `Dimensions` or its name, such as "va".

    Example:
        >>> import torch
        >>> head = LinearDimensionsHead(512, "va")
        >>> head.predict(torch.tensor([0.5, -3.0]))
        tensor([ 0.5000, -1.0000])
    """

    def forward(self, features: Features | Tensor) -> Tensor:
        """Values on the scale of the labels, unbounded: [B, D], [B, T, D] per frame, or [..., D] for a tensor."""
        return Head.forward(self, features)

    def predict(self, logits: Tensor) -> Tensor:
        """The values in float32, clipped to the range of the labels."""
        return logits.float().clamp(*self.space.value_range)


@register("head", "scaled_intensity")
class ScaledIntensityHead(AUIntensityHead):
    r"""Intensity of each action unit, 0 to 5, as a scaled sigmoid: :math:`5 \sigma(s)` of one score s.

    It is an `AUIntensityHead` whose thresholds coincide: the logit of "at least level k" is s for every k. The ordinal
    loss then is the cross-entropy of :math:`\sigma(s)` with a fifth of the intensity.

    See `Head` for the arguments; `space` is an `AUIntensitySet` or its name, such as "intensity:disfa12".

    Example:
        >>> import torch
        >>> head = ScaledIntensityHead(512, "intensity:AU6,AU12")
        >>> head.predict(torch.zeros(2, 5))
        tensor([2.5000, 2.5000])
    """

    def add_layers(self) -> None:
        """Add nothing: there are no gaps between thresholds."""

    def cumulative(self, score: Tensor) -> Tensor:
        """Logits [..., 5], all equal, from scores [..., 1]."""
        return score.expand(*score.shape[:-1], 5)
