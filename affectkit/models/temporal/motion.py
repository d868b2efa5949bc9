"""What changed between the beginning of a clip and its apex, place by place."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of
from affectkit.models.temporal.led import LEDFilter

__all__ = ["Motion", "MotionPool", "MotionTokens"]

Motion = Literal["difference", "concat", "led"]


class MotionTokens(nn.Module):
    """Turns the vectors of frames into vectors of motion.

    The first frame is the onset; the apex is the mean over the later half of the real frames, of two frames the
    second (clips end at the apex: sample them with `OnsetApex`). `difference` gives apex - onset; `concat` a linear
    layer over both; `led` the mean over the later half of what a learned temporal filter makes of all frames.

    Args:
        features: Width D.
        motion: Which of the three.

    Raises:
        ConfigError: There is no such motion.

    Example:
        >>> clip = torch.tensor([[[1.0], [2.0], [5.0]]])
        >>> MotionTokens(1)(clip)
        tensor([[2.5000]])
    """

    def __init__(self, features: int, motion: Motion = "difference") -> None:
        super().__init__()
        if motion not in ("difference", "concat", "led"):
            raise ConfigError(f"There is no motion {motion!r}.", remedy="Known: difference, concat, led.")
        self.motion = motion
        self.join = nn.Linear(2 * features, features) if motion == "concat" else None
        self.filter = LEDFilter() if motion == "led" else None

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Motion of every place.

        Args:
            frames: [B, T, ..., D], the vectors of frames or of their patches.
            frame_mask: bool [B, T], True where a frame is real, padding last; None where all are.

        Returns:
            [B, ..., D]; zeros for clips of one frame, but for what `concat` makes of two equal ones.
        """
        later = _later_half(frames, frame_mask)
        if self.filter is not None:
            if frames.shape[1] < 2:
                return torch.zeros_like(frames[:, 0])
            return _mean(self.filter(frames), later[:, 1:])
        onset, apex = frames[:, 0], _mean(frames, later)
        return apex - onset if self.join is None else self.join(torch.cat([onset, apex], dim=-1))


@register("temporal", "motion")
class MotionPool(Temporal):
    """The clip is its motion from the first frame to the apex, and frames stay as they are.

    With a linear head it is the plainest model of micro-expressions: what an image tower says of the apex, less what
    it says of the onset.

    Args:
        in_features: Width of the frame vectors.
        motion: How frames become motion, see `MotionTokens`.

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


def _later_half(frames: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Which frames are real and from the middle on, bool [B, T]; at least one a clip."""
    place = torch.arange(frames.shape[1], device=frames.device)
    length = (
        place.new_full((frames.shape[0], 1), frames.shape[1])
        if frame_mask is None
        else frame_mask.sum(dim=1, keepdim=True).clamp(min=1)
    )
    return (place >= length // 2) & (place < length)


def _mean(frames: Tensor, kept: Tensor) -> Tensor:
    weight = kept.to(frames.dtype).reshape(*kept.shape, *[1] * (frames.ndim - 2))
    return (frames * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
