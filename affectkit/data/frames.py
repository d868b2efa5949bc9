"""Which frames of a clip are read.

A frame sampler is a callable that turns the length of a clip into a list of positions in it. Without a random
generator it is deterministic, as evaluation needs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch

from affectkit.errors import AnnotationError, ConfigError

__all__ = ["AllFrames", "FrameSampler", "OnsetApex", "UniformSegments", "Window", "sliding_windows"]


class FrameSampler(ABC):
    """Chooses frames; positions count from the first frame of the clip."""

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
            length: Frames in the clip, at least 1.
            rng: Source of train-time jitter; `None` gives the deterministic choice.
            onset: Position of the movement's first frame, if known.
            apex: Position of its strongest frame, if known.
            offset: Position of its last frame, if known.

        Returns:
            Positions in `0 … length - 1`, repeats allowed.
        """


@dataclass(frozen=True)
class AllFrames(FrameSampler):
    """Every frame.

    Example:
        >>> AllFrames()(4)
        [0, 1, 2, 3]
    """

    def __call__(self, length: int, **_: object) -> list[int]:
        """See `FrameSampler`."""
        return list(range(length))


@dataclass(frozen=True)
class UniformSegments(FrameSampler):
    """One frame out of each of `num_frames` equal segments: a random one in training, else the middle one.

    Args:
        num_frames: Frames to take.
        short: What clips shorter than `num_frames` do: "spread" repeats each frame about equally often, "hold"
            takes every frame once and then the last one again and again.

    Example:
        >>> UniformSegments(4)(16)
        [2, 6, 10, 14]

    References:
        L. Wang et al., "Temporal Segment Networks", ECCV 2016.
    """

    num_frames: int
    short: Literal["spread", "hold"] = "spread"

    def __post_init__(self) -> None:
        _require_positive(num_frames=self.num_frames)
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
    """Consecutive frames, `stride` apart: from a random start in training, else from the middle of the clip.

    A clip too short for the window gives the frames it has; batches pad it.

    Args:
        num_frames: Frames to take.
        stride: Distance between them.

    Example:
        >>> Window(3, stride=2)(9)
        [2, 4, 6]
    """

    num_frames: int
    stride: int = 1

    def __post_init__(self) -> None:
        _require_positive(num_frames=self.num_frames, stride=self.stride)

    def __call__(self, length: int, *, rng: torch.Generator | None = None, **_: object) -> list[int]:
        """See `FrameSampler`."""
        spare = max(0, length - ((self.num_frames - 1) * self.stride + 1))
        start = spare // 2 if rng is None else int(torch.randint(spare + 1, (), generator=rng))
        return list(range(start, length, self.stride))[: self.num_frames]


@dataclass(frozen=True)
class OnsetApex(FrameSampler):
    """`num_frames` evenly spaced frames from onset to apex, both included; two give just these two.

    Args:
        num_frames: Frames to take, at least 2.
        jitter: In training, the apex lies up to so many frames earlier or later, but in the clip and behind the onset:
            nobody annotates it to the frame.

    Example:
        >>> OnsetApex(3)(20, onset=4, apex=10)
        [4, 7, 10]
    """

    num_frames: int = 2
    jitter: int = 0

    def __post_init__(self) -> None:
        if self.num_frames < 2:
            raise ConfigError(f"num_frames {self.num_frames} must be at least 2.")
        if self.jitter < 0:
            raise ConfigError(f"jitter {self.jitter} must be at least 0.")

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


def sliding_windows(length: int, num_frames: int, stride: int) -> list[list[int]]:
    """Cover a clip with windows of consecutive frames; the last one ends with the clip.

    Args:
        length: Frames in the clip.
        num_frames: Frames a window; a shorter clip gives one window of all its frames.
        stride: Distance between the starts of windows, at most `num_frames` if every frame is to be covered.

    Example:
        >>> sliding_windows(6, 3, 2)
        [[0, 1, 2], [2, 3, 4], [3, 4, 5]]
    """
    _require_positive(length=length, num_frames=num_frames, stride=stride)
    last = max(0, length - num_frames)
    starts = [*range(0, last, stride), last]
    return [list(range(start, min(start + num_frames, length))) for start in starts]


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name} {value} must be at least 1.")
