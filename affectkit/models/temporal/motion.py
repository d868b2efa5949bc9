"""Motion between the onset and the apex of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of
from affectkit.models.temporal.led import LEDFilter

__all__ = ["Motion", "MotionPool", "MotionTokens"]

Motion = Literal["difference", "concat", "led"]


class MotionTokens(nn.Module):
    """Motion vectors from frame vectors.

    The first frame is the onset. The apex is the mean over the later half of the real frames; for two frames, it is the
    second one (clips end at the apex: sample them with `OnsetApex`).

    Args:
        features: Width D.
        motion: "difference" is apex - onset; "concat" is a linear layer over both; "led" is the mean over the later
            half of the output of a learned temporal filter.

    Raises:
        ConfigError: `motion` is unknown.

    Example:
        >>> clip = torch.tensor([[[1.0], [2.0], [5.0]]])
        >>> MotionTokens(1)(clip)
        tensor([[2.5000]])
    """

    def __init__(self, features: int, motion: Motion = "difference") -> None:
        super().__init__()
        if motion not in get_args(Motion):
            raise ConfigError(f"Unknown motion {motion!r}.", remedy=f"Known: {', '.join(get_args(Motion))}.")
        self.join = nn.Linear(2 * features, features) if motion == "concat" else None
        self.filter = LEDFilter() if motion == "led" else None

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Compute the motion of every place.

        Args:
            frames: [B, T, ..., D], vectors of frames or of their patches.
            frame_mask: bool [B, T], True for real frames, with padding last; None if all are real.

        Returns:
            [B, ..., D]; zeros for clips of one frame, except with "concat".
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
    """Motion from onset to apex as clip vector; frame vectors are unchanged.

    With a linear head, it is the simplest model of micro-expressions: the difference of two image embeddings.

    Args:
        in_features: Width of the frame vectors.
        motion: Kind of motion, see `MotionTokens`.

    Example:
        >>> import torch
        >>> MotionPool(1)(Features(torch.zeros(1, 1), frames=torch.tensor([[[1.0], [3.0]]]))).pooled
        tensor([[2.]])
    """

    def __init__(self, in_features: int, *, motion: Motion = "difference") -> None:
        super().__init__(in_features)
        self.motion = MotionTokens(in_features, motion)
        self.config = {"type": "motion", "motion": motion}

    def forward(self, features: Features) -> Features:
        """Set `pooled` to the motion."""
        return replace(features, pooled=self.motion(frames_of(features), features.frame_mask))


def _later_half(frames: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Mask bool [B, T], True for real frames of the later half; at least one per clip."""
    place = torch.arange(frames.shape[1], device=frames.device)
    if frame_mask is None:
        length = place.new_full((frames.shape[0], 1), frames.shape[1])
    else:
        length = frame_mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (place >= length // 2) & (place < length)


def _mean(frames: Tensor, kept: Tensor) -> Tensor:
    weight = rearrange(kept.to(frames.dtype), f"b t -> b t {'1 ' * (frames.ndim - 2)}")
    return (frames * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
