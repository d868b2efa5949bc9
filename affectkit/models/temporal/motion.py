"""What changed between the beginning of a clip and its apex."""

from __future__ import annotations

from dataclasses import replace

from affectkit.models.features import Features
from affectkit.models.micro.motion import Motion, MotionTokens
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["MotionPool"]


@register("temporal", "motion")
class MotionPool(Temporal):
    """The clip is its motion from the first frame to the apex, and frames stay as they are.

    With a linear head it is the plainest model of micro-expressions: what an image tower says of the apex, less what
    it says of the onset.

    Args:
        in_features: Width of the frame vectors.
        motion: How frames become motion, see `affectkit.models.micro.MotionTokens`.

    Example:
        >>> import torch
        >>> MotionPool(1)(Features(torch.zeros(1, 1), frames=torch.tensor([[[1.0], [3.0]]]))).pooled
        tensor([[2.]])
    """

    def __init__(self, in_features: int, *, motion: Motion = "difference") -> None:
        super().__init__()
        self.num_features = in_features
        self.motion = MotionTokens(in_features, motion)
        self.config = {"type": "motion", "motion": motion}

    def forward(self, features: Features) -> Features:
        """Pool.

        Args:
            features: With `frames` [B, T, D].

        Returns:
            The same, with `pooled` [B, D] the motion.
        """
        return replace(features, pooled=self.motion(frames_of(features), features.frame_mask))
