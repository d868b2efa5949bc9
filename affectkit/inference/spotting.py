"""Where in a long clip something moved briefly: onset, apex and offset, without any annotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit
from affectkit.models.micro import PatchRegions

__all__ = ["Interval", "Spotter"]

_SIDE = 56  # pixels of the grey pictures that motion is measured on
_GRID = 14  # patches along a side of them


@dataclass(frozen=True, slots=True)
class Interval:
    """A brief movement.

    Args:
        onset: Its first frame.
        apex: The frame of its greatest strength.
        offset: Its last frame.
        strength: Motion energy at the apex above that around it, in grey levels.
        units: Action units whose regions moved most, strongest first.
    """

    onset: int
    apex: int
    offset: int
    strength: float
    units: tuple[ActionUnit, ...]


class Spotter:
    r"""Finds intervals in which the region of some action unit moves and comes back.

    With k frames to a third of the longest movement, the energy of a region is the mean absolute difference between
    a frame and the mean of the frames k before and k behind, :math:`e_t = \overline{|I_t - (I_{t-k} + I_{t+k}) / 2|}`,
    which slow motion hardly raises; its contrast is :math:`c_t = e_t - (e_{t-k} + e_{t+k}) / 2`, at least 0. Peaks of
    the strongest region's contrast above :math:`\overline{c} + p\,(\max c - \overline{c})` and above `least` are
    movements; they reach as far as the contrast stays above half of the peak, and at most `longest` seconds.

    It sees pictures of a face that does not move: aligned crops. Global changes of brightness are removed, turns of
    the head are not. Regions are those of a mean face that fills the picture.

    Args:
        units: Whose regions to watch; each must have one.
        longest: Of a movement, in seconds; micro-expressions last half a second at most.
        sensitivity: p, in (0, 1): lower finds more.
        least: Contrast below which nothing is a movement, in grey levels: the noise of the camera.

    Raises:
        ConfigError: A value is out of range.
        LabelSpaceError: A unit has no region.

    References:
        A. Moilanen, G. Zhao and M. Pietikäinen, "Spotting rapid facial movements from videos using appearance-based
        feature difference analysis", ICPR 2014, for contrast and threshold; grey levels in the regions of action
        units are ours.
    """

    def __init__(
        self,
        units: Sequence[ActionUnit],
        *,
        longest: float = 0.5,
        sensitivity: float = 0.5,
        least: float = 1.0,
    ) -> None:
        if longest <= 0 or not 0 < sensitivity < 1 or least < 0:
            raise ConfigError(
                f"longest {longest} and least {least} must be positive, and sensitivity {sensitivity} in (0, 1)."
            )
        self.units = tuple(units)
        self.longest, self.sensitivity, self.least = longest, sensitivity, least
        places, weights = PatchRegions(self.units)(None, None, clips=1, picture=_SIDE, grid=_GRID)
        maps = torch.zeros(len(self.units), _GRID * _GRID).scatter_reduce(1, places[0], weights[0], "amax")
        self._maps = maps / maps.sum(dim=1, keepdim=True)

    def shrink(self, frame: Tensor) -> Tensor:
        """What the spotter keeps of a frame: 3 kilobytes.

        Args:
            frame: uint8 [3, H, W].

        Returns:
            uint8 [56, 56], grey.
        """
        red, green, blue = frame.float()
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        small = F.interpolate(grey[None, None], (_SIDE, _SIDE), mode="bilinear", antialias=True)
        return small[0, 0].round().clamp(0, 255).to(torch.uint8)

    def contrast(self, pictures: Tensor, fps: float) -> Tensor:
        """How much every region moves at every frame, beyond what it moves before and after.

        Args:
            pictures: uint8 [T, 56, 56], of `shrink`.
            fps: Frames a second.

        Returns:
            float32 [T, A] in grey levels, 0 within a third of `longest` of both ends.
        """
        length, k = len(pictures), self._reach(fps)
        found = torch.zeros(length, len(self.units))
        if length <= 2 * k:
            return found
        grey = pictures.float()
        grey = grey - grey.mean(dim=(1, 2), keepdim=True)
        energy = torch.zeros(length, len(self.units))
        step = max(
            1, 2_000_000 // (_SIDE * _SIDE)
        )  # frames at once, so that memory does not grow with the clip
        for start in range(k, length - k, step):
            stop = min(start + step, length - k)
            around = (grey[start - k : stop - k] + grey[start + k : stop + k]) / 2
            moved = F.avg_pool2d((grey[start:stop] - around).abs()[:, None], _SIDE // _GRID)
            energy[start:stop] = moved.flatten(1) @ self._maps.T
        if length > 4 * k:
            inner = energy[2 * k : length - 2 * k]
            found[2 * k : length - 2 * k] = (
                inner - (energy[k : length - 3 * k] + energy[3 * k : length - k]) / 2
            )
        else:
            found[k : length - k] = energy[k : length - k]
        return found.clamp(min=0)

    def find(self, frames: Iterable[Tensor], fps: float) -> list[Interval]:
        """The movements of a clip.

        Args:
            frames: uint8 [3, H, W] each, one after the other; only 3 kilobytes of each are kept.
            fps: Frames a second.

        Returns:
            Intervals in order of time; they do not overlap.

        Raises:
            ConfigError: The frame rate is unknown or not positive.
        """
        if not fps > 0:
            raise ConfigError(
                f"Movements cannot be timed with {fps} frames a second.", remedy="State the frame rate."
            )
        small = [self.shrink(frame) for frame in frames]
        if not small:
            return []
        contrast = self.contrast(torch.stack(small), fps)
        strongest = contrast.amax(dim=1)
        level = strongest.mean() + self.sensitivity * (strongest.max() - strongest.mean())
        level = level.clamp(min=self.least)
        reach = max(1, round(self.longest * fps / 2))
        free = torch.ones(len(small), dtype=torch.bool)
        found = []
        for apex in strongest.argsort(descending=True, stable=True).tolist():
            if strongest[apex] <= level:
                break
            if not free[apex]:
                continue
            onset = self._walk(strongest, free, apex, -1, reach)
            offset = self._walk(strongest, free, apex, 1, reach)
            # A neighbouring peak belongs to this movement unless the face came to rest between them.
            free[max(0, apex - reach) : apex + reach + 1] = False
            order = contrast[apex].argsort(descending=True, stable=True).tolist()
            units = tuple(self.units[a] for a in order if contrast[apex, a] >= 0.5 * contrast[apex].max())
            found.append(Interval(onset, apex, offset, float(strongest[apex]), units))
        return sorted(found, key=lambda interval: interval.onset)

    def _reach(self, fps: float) -> int:
        return max(1, round(self.longest * fps / 3))

    @staticmethod
    def _walk(strength: Tensor, free: Tensor, apex: int, step: int, reach: int) -> int:
        """How far to one side the contrast stays above half of the peak."""
        frame, half = apex, float(strength[apex]) / 2
        for distance in range(1, reach + 1):
            there = apex + step * distance
            if not 0 <= there < len(strength) or not free[there] or strength[there] < half:
                break
            frame = there
        return frame
