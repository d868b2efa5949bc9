"""Spotting of brief movements in long clips: onset, apex and offset, without annotation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit
from affectkit.models.regions import PatchRegions

__all__ = ["Interval", "Place", "Spotter"]

Place = Callable[[Tensor], Callable[[Tensor], Tensor] | None]
"""Maps a frame, uint8 [3, H, W], to a function that crops its face from any frame; None if it has no face."""

_SIDE: Final = 56  # pixels of the grey pictures
_GRID: Final = 14  # patches per side
_CELL: Final = _SIDE // _GRID
_SEGMENT: Final = 10.0  # seconds searched together
_MOST: Final = 2000  # frames of a segment
_REACH: Final = 0.45  # distance of the frames compared, as a share of the longest movement
_STEADY: Final = 0.05  # seconds averaged against the noise of the camera
_EDGE: Final = 0.15  # share of the apex at which a movement starts and ends
_LEAST_NOISE: Final = 0.01  # grey levels: pictures of integers may show none
_CLEAR: Final = 0.25  # share of the largest change of a pixel below which changes are noise
_SLOPE: Final = 0.75  # largest share of the apex in the frames it is compared with
_EYES: Final = (43, 45)  # units whose region is the eye itself
_EYE_SHARE: Final = 0.5  # share of the change in the eyes from which it is a blink or a glance
_EYE_CHANGE: Final = 0.15  # of the contrast of the eyes: micro-expressions change less


@dataclass(frozen=True, slots=True)
class Interval:
    """A brief movement.

    Args:
        onset: First frame.
        apex: Frame of the largest change.
        offset: Last frame.
        strength: Change of the region that moved most, at the apex, in grey levels of 255.
        units: Action units whose regions moved at least half as much as the first, strongest first.
    """

    onset: int
    apex: int
    offset: int
    strength: float
    units: tuple[ActionUnit, ...]


class Spotter:
    r"""Find intervals in which the region of an action unit changes and returns.

    The change of a pixel is its difference from both the frame k before and the frame k after: the smaller of
    :math:`I_t - I_{t-k}` and :math:`I_t - I_{t+k}` if they have the same sign, else 0. This suppresses drift, steps and
    slow turns, and halves the noise of the camera. The energy of a region is the mean size of its changes minus that of
    the median patch of the face, which moves with the head. At peaks above `threshold`, the change is a picture whose
    share in the other frames gives onset and offset (at 0.15 of it). Movements longer than `longest`, and those mainly
    in the eyes (blinks and glances), are dropped.

    The face must keep its place in the pictures: one crop, or one alignment, for all frames of a segment.

    Args:
        units: Action units whose regions are watched. With AU43 or AU45 blinks are movements too.
        longest: Longest movement in seconds; micro-expressions last half a second at most.
        threshold: Minimum energy of a region above its median, in deviations of its noise; lower values find more.
        least: Minimum energy in grey levels, of 255.
        landmarks: float [68, 2], landmarks in the pictures as shares of their side; by default those of a mean face
            that fills them.

    Raises:
        ConfigError: A value is out of range.
        LabelSpaceError: A unit has no region.

    References:
        After A. Moilanen, G. Zhao and M. Pietikäinen, "Spotting rapid facial movements from videos using
        appearance-based feature difference analysis", ICPR 2014, who compare a frame with those before and after it.
        The returning change, the regions of action units, and the search for onset and offset are ours.
    """

    def __init__(
        self,
        units: Sequence[ActionUnit],
        *,
        longest: float = 0.5,
        threshold: float = 12.0,
        least: float = 0.3,
        landmarks: Tensor | None = None,
    ) -> None:
        if longest <= 0 or threshold <= 0 or least < 0:
            raise ConfigError(
                f"longest {longest}, threshold {threshold} must be above 0; least {least} at least 0."
            )
        self.units = tuple(units)
        self.longest, self.threshold, self.least = longest, threshold, least
        self.landmarks = landmarks
        self._maps = _maps(self.units, landmarks)
        self._eyes = _maps((ActionUnit(45),), landmarks)[0] > 0
        self._blinks = any(unit.id in _EYES for unit in self.units)

    def shrink(self, picture: Tensor) -> Tensor:
        """Reduce a picture, uint8 [3, H, W], to grey, uint8 [56, 56]."""
        red, green, blue = picture.float()
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        small = F.interpolate(grey[None, None], (_SIDE, _SIDE), mode="bilinear", antialias=True)
        return small[0, 0].round().clamp(0, 255).to(torch.uint8)

    def find(self, pictures: Tensor, fps: float) -> list[Interval]:
        """Find the movements of a clip in memory.

        Args:
            pictures: uint8 [T, 56, 56], from `shrink`.
            fps: Frames per second.

        Returns:
            Intervals in order of time, without overlap.

        Raises:
            ConfigError: The frame rate is unknown or not positive.
        """
        _check_rate(fps)
        if len(pictures) < 3:
            return []
        k = max(1, round(_REACH * self.longest * fps))
        grey = pictures.float()
        grey = _steady(grey - grey.mean(dim=(1, 2), keepdim=True), max(1, round(_STEADY * fps)))
        frame = torch.arange(len(grey))
        before, behind = (frame - k).clamp(min=0), (frame + k).clamp(max=len(grey) - 1)
        change = _returning(grey - grey[before], grey - grey[behind])
        energy = F.avg_pool2d(change.abs()[:, None], _CELL).flatten(1)  # [T, patches]
        excess = energy @ self._maps.T - energy.median(dim=1, keepdim=True).values
        excess = excess - excess.median(dim=0).values
        noise = 1.4826 * excess.clamp(max=0).abs().where(excess <= 0, torch.nan).nanmedian(dim=0).values
        strongest = (excess / noise.clamp(min=_LEAST_NOISE)).where(excess > self.least, 0.0).amax(dim=1)
        free = torch.ones(len(grey), dtype=torch.bool)
        found = []
        for peak in strongest.argsort(descending=True, stable=True).tolist():
            if strongest[peak] < self.threshold:
                break
            if not free[peak]:
                continue
            rest = (grey[before[peak]] + grey[behind[peak]]) / 2
            pattern = change[peak].where(change[peak].abs() > _CLEAR * change[peak].abs().max(), 0.0)
            onset, apex, offset = self._extent(grey, rest, pattern, peak, free, fps)
            brief = onset < apex < offset < onset + self.longest * fps and self._rests(
                grey, rest, pattern, peak, fps
            )
            if not brief or self._in_the_eyes(grey, energy, peak):
                free[max(onset, peak - k) : min(offset, peak + k) + 1] = False
                continue
            found.append(Interval(onset, apex, offset, *self._moved(excess[peak])))
            # A neighbouring peak belongs to this movement.
            free[max(0, onset - k // 2) : offset + k // 2 + 1] = False
        return sorted(found, key=lambda interval: interval.onset)

    def stream(
        self, frames: Iterable[Tensor | None], fps: float, place: Place | None = None
    ) -> Iterator[Interval]:
        """Find the movements of a clip of any length, in constant memory.

        Segments of ten seconds are searched with overlap; each has its own noise level. All pictures of a segment are
        cropped in the same way, so cropping adds no motion.

        Args:
            frames: uint8 [3, H, W] each; None for a frame that cannot be read.
            fps: Frames per second.
            place: Called with frames from the start of every segment until it returns a crop; by default the frames
                are the pictures.

        Yields:
            Intervals in order of time.

        Raises:
            ConfigError: The frame rate is unknown or not positive.
        """
        _check_rate(fps)
        margin = max(2, round(1.5 * self.longest * fps))
        core = max(min(round(_SEGMENT * fps), _MOST), 4 * margin)
        opened: list[_Segment] = []
        number = -1
        for number, frame in enumerate(frames):
            if number == 0:
                opened.append(_Segment(0, 0, self, place))
            elif (number + margin) % core == 0:
                opened.append(_Segment(number, number + margin, self, place))
            for segment in opened:
                segment.add(frame)
            if len(opened) > 1 and number + 1 >= opened[1].first + margin:
                yield from opened.pop(0).intervals(fps, opened[0].first)
        for place_of, segment in enumerate(opened):
            stop = number + 1 if place_of == len(opened) - 1 else opened[place_of + 1].first
            yield from segment.intervals(fps, stop)

    def _rests(self, grey: Tensor, rest: Tensor, pattern: Tensor, peak: int, fps: float) -> bool:
        """Whether the frames compared with a peak are at rest, not on the slopes of a longer movement."""
        reach = int(self.longest * fps) + 1
        far = (grey[max(0, peak - reach)] + grey[min(len(grey) - 1, peak + reach)]) / 2
        return bool(((rest - far) * pattern).sum() <= _SLOPE * pattern.square().sum())

    def _extent(
        self, grey: Tensor, rest: Tensor, pattern: Tensor, peak: int, free: Tensor, fps: float
    ) -> tuple[int, int, int]:
        """Onset, apex and offset, from the share of the change in the frames around."""
        reach = int(self.longest * fps) + 1
        first, stop = max(0, peak - reach), min(len(grey), peak + reach + 1)
        share = ((grey[first:stop] - rest) * pattern).sum(dim=(1, 2)) / pattern.square().sum()
        low = ((share <= _EDGE) | ~free[first:stop]).tolist()
        onset = offset = peak - first
        while onset > 0 and not low[onset - 1]:
            onset -= 1
        while offset < len(low) - 1 and not low[offset + 1]:
            offset += 1
        apex = onset + int(share[onset : offset + 1].argmax())
        return first + onset, first + apex, first + offset

    def _in_the_eyes(self, grey: Tensor, energy: Tensor, peak: int) -> bool:
        """Whether the change at a peak is a blink or a glance."""
        if self._blinks:
            return False
        change = (energy[peak] - energy.median(dim=0).values).clamp(min=0)
        pixels = self._eyes.reshape(_GRID, _GRID).repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
        contrast = grey[:: max(1, len(grey) // 16), pixels].std(dim=1).median()
        in_eyes = change[self._eyes]
        return bool(
            in_eyes.sum() > _EYE_SHARE * change.sum() or in_eyes.mean() > _EYE_CHANGE * contrast.clamp(min=1)
        )

    def _moved(self, excess: Tensor) -> tuple[float, tuple[ActionUnit, ...]]:
        """Change of the strongest region, and the units that moved."""
        strength = float(excess.max())
        order = excess.argsort(descending=True, stable=True).tolist()
        return strength, tuple(self.units[row] for row in order if excess[row] >= strength / 2)


class _Segment:
    """Part of a long clip from frame `start`; movements with an apex before `first` belong to the part before."""

    def __init__(self, start: int, first: int, spotter: Spotter, place: Place | None) -> None:
        self.start, self.first, self.spotter = start, first, spotter
        self._place: Place = place or (lambda _: lambda frame: frame)
        self._picture: Callable[[Tensor], Tensor] | None = None
        self._missed = 0  # frames before the first with a face
        self._small: list[Tensor] = []

    def add(self, frame: Tensor | None) -> None:
        """Add the next frame; a missing one repeats the one before."""
        if frame is not None and self._picture is None:
            self._picture = self._place(frame)
        if frame is not None and self._picture is not None:
            self._small.append(self.spotter.shrink(self._picture(frame)))
        elif self._small:
            self._small.append(self._small[-1])
        else:
            self._missed += 1

    def intervals(self, fps: float, stop: int) -> Iterator[Interval]:
        """Movements whose apex is before `stop`."""
        if not self._small or self.first >= stop:
            return
        shift = self.start + self._missed
        for found in self.spotter.find(torch.stack(self._small), fps):
            if self.first <= found.apex + shift < stop:
                frames = {name: getattr(found, name) + shift for name in ("onset", "apex", "offset")}
                yield replace(found, **frames)


def _maps(units: Sequence[ActionUnit], landmarks: Tensor | None) -> Tensor:
    """Weights of the patches in each unit's region, [A, patches]; rows add up to 1."""
    points = None if landmarks is None else landmarks[None] * _SIDE - 0.5
    places, weights = PatchRegions(units)(points, None, clips=1, picture=_SIDE, grid=_GRID)
    maps = torch.zeros(len(units), _GRID * _GRID).scatter_reduce(1, places[0], weights[0], "amax")
    return maps / maps.sum(dim=1, keepdim=True)


def _steady(pictures: Tensor, width: int) -> Tensor:
    """Mean over `width` frames around each, [T, H, W]; the first and last frames are repeated."""
    pixels = pictures.flatten(1).T
    padded = F.pad(pixels, ((width - 1) // 2, width // 2), mode="replicate")
    return F.avg_pool1d(padded, width, stride=1).T.reshape_as(pictures)


def _returning(since: Tensor, until: Tensor) -> Tensor:
    """The smaller of two differences where they have the same sign, else 0."""
    return torch.where(since * until > 0, torch.where(since.abs() < until.abs(), since, until), 0.0)


def _check_rate(fps: float) -> None:
    if not fps > 0:
        raise ConfigError(f"Invalid frame rate: {fps} frames per second.", remedy="State the frame rate.")
