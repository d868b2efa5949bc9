"""Samplers that choose the frames of a clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch

from affectkit.errors import AnnotationError, ConfigError

__all__ = ["AllFrames", "FrameSampler", "OnsetApex", "UniformSegments", "Window"]


class FrameSampler(ABC):
    """Base class of frame samplers; positions count from the first frame of the clip."""

    @abstractmethod
    def __call__(
        self,
        length: int,
        *,
        rng: torch.Generator | None = None,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
    ) -> list[int]:
        """Choose positions in a clip.

        Args:
            length: Number of frames in the clip, at least 1.
            rng: Random generator in training; None for the deterministic choice.
            onset: Position of the first frame of the movement, if known.
            apex: Position of the strongest frame, if known.
            offset: Position of the last frame, if known.

        Returns:
            Positions in `0 … length - 1`; repeats are possible.
        """


@dataclass(frozen=True)
class AllFrames(FrameSampler):
    """All frames.

    Example:
        >>> AllFrames()(4)
        [0, 1, 2, 3]
    """

    def __call__(self, length: int, **_: object) -> list[int]:
        """See `FrameSampler`."""
        return list(range(length))


@dataclass(frozen=True)
class UniformSegments(FrameSampler):
    """One frame from each of `num_frames` equal segments: a random one in training, else the middle one.

    Args:
        num_frames: Number of frames.
        short: Treatment of shorter clips: "spread" repeats frames about equally often, "hold" repeats the last frame.

    Example:
        >>> UniformSegments(4)(16)
        [2, 6, 10, 14]

    References:
        L. Wang et al., "Temporal Segment Networks", ECCV 2016.
    """

    num_frames: int
    short: Literal["spread", "hold"] = "spread"

    def __post_init__(self) -> None:
        _require_at_least(1, num_frames=self.num_frames)
        if self.short not in ("spread", "hold"):
            raise ConfigError(f"short {self.short!r} must be 'spread' or 'hold'.")

    def __call__(self, length: int, *, rng: torch.Generator | None = None, **_: object) -> list[int]:
        """See `FrameSampler`."""
        n = self.num_frames
        if self.short == "hold" and length < n:
            return [min(position, length - 1) for position in range(n)]
        places = [0.5] * n if rng is None else torch.rand(n, generator=rng).tolist()
        return [int((segment + place) * length / n) for segment, place in enumerate(places)]


@dataclass(frozen=True)
class Window(FrameSampler):
    """Frames at a distance of `stride`, from a random start in training, else around the middle of the clip.

    Shorter clips give the frames they have; batches pad them.

    Args:
        num_frames: Number of frames.
        stride: Distance between frames.

    Example:
        >>> Window(3, stride=2)(9)
        [2, 4, 6]
    """

    num_frames: int
    stride: int = 1

    def __post_init__(self) -> None:
        _require_at_least(1, num_frames=self.num_frames, stride=self.stride)

    def __call__(self, length: int, *, rng: torch.Generator | None = None, **_: object) -> list[int]:
        """See `FrameSampler`."""
        spare = max(0, length - ((self.num_frames - 1) * self.stride + 1))
        start = spare // 2 if rng is None else int(torch.randint(spare + 1, (), generator=rng))
        return list(range(start, length, self.stride))[: self.num_frames]


@dataclass(frozen=True)
class OnsetApex(FrameSampler):
    """Evenly spaced frames from onset to apex, both included.

    Args:
        num_frames: Number of frames, at least 2.
        jitter: Largest random shift of the apex in training, in frames; it stays in the clip and after the onset.

    Example:
        >>> OnsetApex(3)(20, onset=4, apex=10)
        [4, 7, 10]
    """

    num_frames: int = 2
    jitter: int = 0

    def __post_init__(self) -> None:
        _require_at_least(2, num_frames=self.num_frames)
        _require_at_least(0, jitter=self.jitter)

    def __call__(
        self,
        length: int,
        *,
        rng: torch.Generator | None = None,
        onset: int | None = None,
        apex: int | None = None,
        **_: object,
    ) -> list[int]:
        """See `FrameSampler`.

        Raises:
            AnnotationError: Onset or apex is unknown.
        """
        if onset is None or apex is None:
            raise AnnotationError(
                "The clip has no onset or no apex.", remedy="Annotate both, or choose another frame sampler."
            )
        if rng is not None and self.jitter:
            shift = int(torch.randint(-self.jitter, self.jitter + 1, (), generator=rng))
            apex = min(max(apex + shift, min(onset + 1, apex)), max(length - 1, apex))
        gaps = self.num_frames - 1
        return [onset + round(k * (apex - onset) / gaps) for k in range(self.num_frames)]


def _require_at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name} {value} must be at least {least}.")
