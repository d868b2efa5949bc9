"""The mean over frames."""

from __future__ import annotations

from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["MeanPool"]


@register("temporal", "mean")
class MeanPool(Temporal):
    """The clip is the mean of its real frames, and frames stay as they are.

    Args:
        in_features: Width of the frame vectors.

    Example:
        >>> import torch
        >>> MeanPool(2)(Features(torch.zeros(1, 2), frames=torch.ones(1, 4, 2))).pooled
        tensor([[1., 1.]])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.num_features = in_features
        self.config = {"type": "mean"}

    def forward(self, features: Features) -> Features:
        """Pool.

        Args:
            features: With `frames` [B, T, D].

        Returns:
            The same, with `pooled` [B, D] the mean over real frames.
        """
        return Features.of_frames(frames_of(features), features.frame_mask, features.tokens)
