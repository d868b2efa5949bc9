"""Transforms of whole clips: frames, landmarks and labels.

Random parameters are drawn once per clip. Without a generator, transforms take their evaluation form: crops take the
centre; flips, rotations and jitter do nothing. Frames stay uint8. Landmarks are in pixels, with integers at pixel
centres, so the left edge of the picture is at -0.5.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data.clip import Clip
from affectkit.data.target import Target
from affectkit.errors import ConfigError
from affectkit.facs.regions import FLIP_68
from affectkit.facs.sides import mirror_text
from affectkit.facs.spaces import label_space

__all__ = [
    "MIRRORS",
    "CenterCrop",
    "ClipTransform",
    "ColorJitter",
    "Compose",
    "HorizontalFlip",
    "RandomCrop",
    "RandomResizedCrop",
    "RandomRotation",
    "Resize",
]


MIRRORS: Final[dict[str, Callable[[Tensor], Tensor]]] = {}
"""Functions that mirror the signals of a clip, [T, ...], by the name of the signal; `affectkit.faces` adds its own."""


class ClipTransform(ABC):
    """Base class of clip transforms."""

    @abstractmethod
    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """Transform a clip without changing it in place.

        Args:
            clip: The clip.
            rng: Random generator; None for the deterministic evaluation form.
        """


class Compose(ClipTransform):
    """Apply transforms one after the other.

    Args:
        transforms: Transforms in order of application.

    Example:
        >>> clip = Clip.make(torch.zeros(2, 3, 40, 60, dtype=torch.uint8))
        >>> list(Compose([Resize(20), CenterCrop(16)])(clip).frames.shape)
        [2, 3, 16, 16]
    """

    def __init__(self, transforms: Sequence[ClipTransform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        return functools.reduce(lambda clip, transform: transform(clip, rng), self.transforms, clip)


@dataclass(frozen=True)
class Resize(ClipTransform):
    """Resize the shorter side to `size` pixels with antialiasing, keeping the aspect."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"size {self.size} must be at least 1 pixel.")

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        scale = self.size / min(height, width)
        return _crop(clip, (height, width), (0, 0), (round(height * scale), round(width * scale)))


@dataclass(frozen=True)
class RandomCrop(Resize):
    """Crop `size` × `size` pixels at a random place, in evaluation at the centre.

    Raises:
        ConfigError: Frames are smaller than the crop.
    """

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        if min(height, width) < self.size:
            raise ConfigError(
                f"Frames of {height} by {width} pixels are too small for a crop of {self.size}.",
                remedy="Resize before the crop.",
            )
        place = (0.5, 0.5) if rng is None else torch.rand(2, generator=rng).tolist()
        return _crop(clip, (self.size, self.size), place, (self.size, self.size))


class CenterCrop(RandomCrop):
    """Crop `size` × `size` pixels at the centre; see `RandomCrop`."""

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        return super().__call__(clip)


@dataclass(frozen=True)
class RandomResizedCrop(Resize):
    """Crop a random part and resize it to `size` × `size`; in evaluation, the central square.

    Args:
        size: Pixels after resizing.
        scale: Smallest and largest area of the part, as a fraction of the frame.
        ratio: Smallest and largest width over height of the part.

    References:
        C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
    """

    scale: tuple[float, float] = (0.7, 1.0)
    ratio: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ConfigError(
                f"scale {self.scale} must ascend in (0, 1], ratio {self.ratio} must ascend above 0."
            )

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        if rng is None:
            rows = columns = min(height, width)
            place = [0.5, 0.5]
        else:
            area, aspect, *place = torch.rand(4, generator=rng).tolist()
            area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * height * width
            aspect = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** aspect
            rows = max(1, min(height, round(math.sqrt(area / aspect))))
            columns = max(1, min(width, round(math.sqrt(area * aspect))))
        return _crop(clip, (rows, columns), place, (self.size, self.size))


@dataclass(frozen=True)
class RandomRotation(ClipTransform):
    """Rotate a clip about its centre by a random angle of up to ± `degrees`; uncovered corners are black."""

    degrees: float

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ConfigError(f"degrees {self.degrees} must lie in [0, 180].")

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        if rng is None:
            return clip
        angle = math.radians(self.degrees) * (2 * float(torch.rand((), generator=rng)) - 1)
        cos, sin = math.cos(angle), math.sin(angle)
        T, _, H, W = clip.frames.shape
        # Inverse map from new to old positions, in units of half a side.
        inverse = torch.tensor([[cos, sin * H / W, 0.0], [-sin * W / H, cos, 0.0]]).expand(T, 2, 3)
        grid = F.affine_grid(inverse, list(clip.frames.shape), align_corners=False)
        rotated = F.grid_sample(clip.frames.float(), grid, align_corners=False)
        centre = torch.tensor([W - 1, H - 1]) / 2
        points = (clip.landmarks - centre) @ torch.tensor([[cos, sin], [-sin, cos]]) + centre
        return replace(
            clip,
            frames=rotated.round_().clamp_(0, 255).to(torch.uint8),
            landmarks=torch.where(clip.landmarks_mask[..., None], points, 0.0),
        )


@dataclass(frozen=True)
class HorizontalFlip(ClipTransform):
    """Mirror a clip with probability `p`; one-sided units, paired landmarks and side words in captions change places.

    Signals are mirrored by `MIRRORS`.

    Raises:
        ConfigError: A signal has no mirror.
        LabelSpaceError: The labels lack the other side of a one-sided unit.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"p {self.p} is not a probability.")

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        if rng is None or float(torch.rand((), generator=rng)) >= self.p:
            return clip
        if unknown := clip.signals.keys() - MIRRORS.keys():
            raise ConfigError(
                f"HorizontalFlip cannot mirror the signals {', '.join(sorted(unknown))}.",
                remedy="Remove it from the transforms.",
            )
        order = list(FLIP_68)
        points, mask = clip.landmarks[:, order], clip.landmarks_mask[:, order]
        points = torch.stack([(clip.frames.shape[-1] - 1) - points[..., 0], points[..., 1]], dim=-1)
        return replace(
            clip,
            frames=clip.frames.flip(-1),
            targets={name: _mirror(target) for name, target in clip.targets.items()},
            captions={part: mirror_text(text) for part, text in clip.captions.items()},
            landmarks=torch.where(mask[..., None], points, 0.0),
            landmarks_mask=mask,
            signals={name: MIRRORS[name](values) for name, values in clip.signals.items()},
        )


@dataclass(frozen=True)
class ColorJitter(ClipTransform):
    """Change brightness, contrast and saturation by a random factor each, the same for all frames.

    With gray value `y`, its mean `m` over the clip, and factors `b`, `c`, `s`, each pixel becomes
    `b · (c · (s · x + (1 − s) · y) + (1 − c) · m)`: one affine map of RGB, clamped once.

    Args:
        brightness: Largest deviation of `b` from 1; factors are uniform in `1 ± deviation`.
        contrast: Largest deviation of `c`.
        saturation: Largest deviation of `s`.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        if not all(0 <= deviation <= 1 for deviation in (self.brightness, self.contrast, self.saturation)):
            raise ConfigError("brightness, contrast and saturation must lie in [0, 1].")

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        if rng is None:
            return clip
        deviations = torch.tensor([self.brightness, self.contrast, self.saturation])
        b, c, s = (1 + deviations * (2 * torch.rand(3, generator=rng) - 1)).tolist()
        T, C, H, W = clip.frames.shape
        pixels = clip.frames.reshape(T, C, H * W).float()
        gray = torch.tensor([0.299, 0.587, 0.114])
        mean = float(pixels.mean((0, 2)) @ gray)
        mix = b * c * (s * torch.eye(3) + (1 - s) * gray.expand(3, 3))
        mixed = torch.baddbmm(torch.full((1, 1, 1), b * (1 - c) * mean + 0.5), mix.expand(T, 3, 3), pixels)
        return replace(clip, frames=mixed.clamp_(0, 255).to(torch.uint8).reshape(T, C, H, W))


def _crop(clip: Clip, part: tuple[int, int], place: Sequence[float], size: tuple[int, int]) -> Clip:
    """Crop a part (height, width), placed by fractions of the free space, and resize it to `size`."""
    (rows, columns), (height, width) = part, clip.frames.shape[-2:]
    top, left = int(place[0] * (height - rows + 1)), int(place[1] * (width - columns + 1))
    frames = clip.frames[..., top : top + rows, left : left + columns]
    if size != part:
        frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    scale = torch.tensor([size[1] / columns, size[0] / rows])
    points = (clip.landmarks - torch.tensor([left, top]) + 0.5) * scale - 0.5
    return replace(clip, frames=frames, landmarks=torch.where(clip.landmarks_mask[..., None], points, 0.0))


def _mirror(target: Target) -> Target:
    order = _flip_order(target.space)
    if order is None:
        return target
    if target.indexed:  # whose mask has no label axis
        value = target.value[..., order] if target.soft else torch.tensor(order)[target.value]
        return Target(
            torch.where(target.mask[..., None] if target.soft else target.mask, value, 0),
            target.mask,
            target.space,
        )
    return target.map(lambda labels: labels[..., order])


@functools.cache
def _flip_order(name: str) -> list[int] | None:
    """Label order after a flip; None if unchanged."""
    order = list(label_space(name).flip_permutation())
    return None if order == sorted(order) else order
