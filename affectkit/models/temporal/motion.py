"""Motion between the onset and the apex of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register
from affectkit.models.temporal.base import Temporal, frames_of

__all__ = ["LEDFilter", "Motion", "MotionPool", "MotionTokens"]

Motion = Literal["difference", "concat", "led", "apex"]


class LEDFilter(nn.Module):
    r"""Difference of two exponential averages over time, normalised by intensity.

    With decays :math:`r_1 > r_2` and gain α, frame i contributes to output j by
    :math:`W_{ij} = \alpha (1 - r_1)^{j-i} r_1^{\min(1, i)} - \alpha (1 - r_2)^{j-i} r_2^{\min(1, i)}` for j > i,
    :math:`W_{ii} = \alpha (r_1 - r_2)`, and 0 for j < i; then
    :math:`y_j = \sum_i x_i W_{ij} / (\sum_i x_i |W_{ij}| + 1)`. The logarithms of α, r₁ and r₂ are learned.

    Args:
        alpha: Initial α.
        fast: Initial r₁.
        slow: Initial r₂.

    Example:
        >>> still = torch.full((1, 6, 1), 100.0)
        >>> LEDFilter()(still).shape
        torch.Size([1, 5, 1])

    References:
        T. Varanka, W. Peng and G. Zhao, "Learnable Eulerian dynamics for micro-expression action unit detection",
        SCIA 2023.
    """

    def __init__(self, *, alpha: float = 10.0, fast: float = 0.4, slow: float = 0.05) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(alpha).log())
        self.log_fast = nn.Parameter(torch.tensor(fast).log())
        self.log_slow = nn.Parameter(torch.tensor(slow).log())

    def weights(self, frames: int) -> Tensor:
        """W [T, T], with rows i and columns j, for T `frames`."""
        places = torch.arange(frames, device=self.log_alpha.device)
        lag = (places[None, :] - places[:, None]).to(self.log_alpha.dtype)
        inner = (places > 0)[:, None]

        def average(rate: Tensor) -> Tensor:
            return (1 - rate) ** lag.clamp(min=0) * torch.where(inner, rate, 1.0)

        fast, slow = self.log_fast.exp(), self.log_slow.exp()
        later = average(fast) - average(slow)
        kernel = torch.where(lag > 0, later, torch.where(lag == 0, (fast - slow).expand_as(later), 0.0))
        return self.log_alpha.exp() * kernel

    def forward(self, frames: Tensor) -> Tensor:
        """Filter frames.

        Args:
            frames: [B, T, ...], T at least 2; intensities from 0 to 255, or any features of that order.

        Returns:
            [B, T - 1, ...] in [-1, 1]: outputs of all frames except the first, which has no past.
        """
        kernel = self.weights(frames.shape[1]).to(frames.dtype)
        flat = rearrange(frames, "b t ... -> b t (...)")
        signal = einsum(flat, kernel, "b i x, i j -> b j x")
        strength = einsum(flat.abs(), kernel.abs(), "b i x, i j -> b j x")
        return (signal / (strength + 1))[:, 1:].reshape(frames.shape[0], -1, *frames.shape[2:])


class MotionTokens(nn.Module):
    """Motion vectors from frame vectors.

    The first frame is the onset. The apex is the mean over the later half of the real frames; for two frames, it is the
    second one (clips end at the apex: sample them with `OnsetApex`).

    Args:
        features: Width D.
        motion: "difference" is apex - onset; "concat" is a linear layer over both; "led" is the mean over the later
            half of the output of a learned temporal filter; "apex" is the apex alone, for pictures that show motion
            themselves, such as those of `FlowBackbone`.

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
        self.motion = motion
        self.join = nn.Linear(2 * features, features) if motion == "concat" else None
        self.filter = LEDFilter() if motion == "led" else None

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Compute the motion of every place.

        Args:
            frames: [B, T, ..., D], vectors of frames or of their patches.
            frame_mask: bool [B, T], True for real frames, with padding last; None if all are real.

        Returns:
            [B, ..., D]; zeros for clips of one frame, except with "concat" and "apex".
        """
        later = _later_half(frames, frame_mask)
        if self.filter is not None:
            if frames.shape[1] < 2:
                return torch.zeros_like(frames[:, 0])
            return _mean(self.filter(frames), later[:, 1:])
        onset, apex = frames[:, 0], _mean(frames, later)
        if self.motion == "apex":
            return apex
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
