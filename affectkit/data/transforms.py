"""Changes to whole clips: every frame, its landmarks and its labels alike.

A transform draws its random numbers once a clip, so that nothing moves between frames but the face. Without a
generator it does what evaluation needs: crops take the centre, flips and jitter do nothing. Frames stay
uint8. Landmarks are pixels with integers at pixel centres, so the left edge of the picture is at -0.5.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data.clip import Clip
from affectkit.data.target import Target
from affectkit.errors import ConfigError
from affectkit.facs.regions import FLIP_68
from affectkit.facs.spaces import label_space

__all__ = [
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


class ClipTransform(ABC):
    """A change to a clip."""

    @abstractmethod
    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """Transform a clip.

        Args:
            clip: The clip, unchanged by this.
            rng: Source of randomness; `None` gives the deterministic form.
        """


class Compose(ClipTransform):
    """Transforms one after the other.

    Args:
        transforms: In order of application.

    Example:
        >>> clip = Clip.make(torch.zeros(2, 3, 40, 60, dtype=torch.uint8))
        >>> list(Compose([Resize(20), CenterCrop(16)])(clip).frames.shape)
        [2, 3, 16, 16]
    """

    def __init__(self, transforms: Sequence[ClipTransform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        for transform in self.transforms:
            clip = transform(clip, rng)
        return clip


@dataclass(frozen=True)
class Resize(ClipTransform):
    """Resize with antialiasing so that the shorter side is `size` pixels; the aspect is kept.

    Args:
        size: Pixels.
    """

    size: int

    def __post_init__(self) -> None:
        _require_size(self.size)

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        scale = self.size / min(height, width)
        return _window(clip, 0, 0, height, width, (round(height * scale), round(width * scale)))


@dataclass(frozen=True)
class CenterCrop(ClipTransform):
    """Cut `size` × `size` pixels out of the centre.

    Args:
        size: Pixels.

    Raises:
        ConfigError: Called on smaller frames.
    """

    size: int

    def __post_init__(self) -> None:
        _require_size(self.size)

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        return RandomCrop(self.size)(clip)


@dataclass(frozen=True)
class RandomCrop(ClipTransform):
    """Cut `size` × `size` pixels out at random; out of the centre in evaluation.

    Args:
        size: Pixels.

    Raises:
        ConfigError: Called on smaller frames.
    """

    size: int

    def __post_init__(self) -> None:
        _require_size(self.size)

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        if min(height, width) < self.size:
            raise ConfigError(
                f"Frames of {height} by {width} pixels are too small for a crop of {self.size}.",
                remedy="Resize before the crop.",
            )
        down, right = (0.5, 0.5) if rng is None else torch.rand(2, generator=rng).tolist()
        top = int(down * (height - self.size + 1))
        left = int(right * (width - self.size + 1))
        return _window(clip, top, left, self.size, self.size, (self.size, self.size))


@dataclass(frozen=True)
class RandomResizedCrop(ClipTransform):
    """Cut out a random part and resize it to `size` × `size`; the whole centre square in evaluation.

    Args:
        size: Pixels after resizing.
        scale: Least and greatest area of the part, as a fraction of the frame.
        ratio: Least and greatest width over height of the part.

    References:
        C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
    """

    size: int
    scale: tuple[float, float] = (0.7, 1.0)
    ratio: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        _require_size(self.size)
        if not (0 < self.scale[0] <= self.scale[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]):
            raise ConfigError(
                f"scale {self.scale} must ascend in (0, 1], ratio {self.ratio} must ascend above 0."
            )

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        height, width = clip.frames.shape[-2:]
        if rng is None:
            rows = columns = min(height, width)
            down = right = 0.5
        else:
            area, aspect, down, right = torch.rand(4, generator=rng).tolist()
            area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * height * width
            aspect = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** aspect
            rows = max(1, min(height, round(math.sqrt(area / aspect))))
            columns = max(1, min(width, round(math.sqrt(area * aspect))))
        top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        return _window(clip, top, left, rows, columns, (self.size, self.size))


@dataclass(frozen=True)
class RandomRotation(ClipTransform):
    """Turn a clip about its centre by one random angle; corners that were not in the picture are black.

    Args:
        degrees: Greatest angle to either side; never in evaluation.
    """

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
        # From each place in the new picture back to the old one, in units of half a side.
        back = torch.tensor([[cos, sin * H / W, 0.0], [-sin * W / H, cos, 0.0]]).expand(T, 2, 3)
        grid = F.affine_grid(back, list(clip.frames.shape), align_corners=False)
        turned = F.grid_sample(clip.frames.float(), grid, align_corners=False)
        centre = torch.tensor([W - 1, H - 1]) / 2
        points = (clip.landmarks - centre) @ torch.tensor([[cos, sin], [-sin, cos]]) + centre
        return replace(
            clip,
            frames=turned.round_().clamp_(0, 255).to(torch.uint8),
            landmarks=torch.where(clip.landmarks_mask[..., None], points, 0.0),
        )


@dataclass(frozen=True)
class HorizontalFlip(ClipTransform):
    """Mirror a clip with probability `p`; sided units and paired landmarks change places with their partners.

    Args:
        p: Probability; never in evaluation.

    Raises:
        ConfigError: `p` is not a probability.
        LabelSpaceError: Called on labels with a sided unit whose partner is not labelled.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"p {self.p} is not a probability.")

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        if rng is None or float(torch.rand((), generator=rng)) >= self.p:
            return clip
        width = clip.frames.shape[-1]
        order = list(FLIP_68)
        points = clip.landmarks[:, order]
        points = torch.stack([(width - 1) - points[..., 0], points[..., 1]], dim=-1)
        seen = clip.landmarks_mask[:, order]
        return replace(
            clip,
            frames=clip.frames.flip(-1),
            targets={name: _mirrored(target) for name, target in clip.targets.items()},
            landmarks=torch.where(seen[..., None], points, 0.0),
            landmarks_mask=seen,
        )


@dataclass(frozen=True)
class ColorJitter(ClipTransform):
    """Change brightness, contrast and saturation by one random factor each, the same for all frames.

    With gray value `y`, its mean `m` over the clip, and factors `b`, `c`, `s`, each pixel becomes
    `b · (c · (s · x + (1 − s) · y) + (1 − c) · m)`: one affine map of RGB, clamped once.

    Args:
        brightness: Greatest deviation of `b` from 1; each factor is uniform in `1 ± deviation`.
        contrast: That of `c`.
        saturation: That of `s`.
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


def _require_size(size: int) -> None:
    if size < 1:
        raise ConfigError(f"size {size} must be at least 1 pixel.")


def _window(clip: Clip, top: int, left: int, rows: int, columns: int, size: tuple[int, int]) -> Clip:
    """Cut out a rectangle and resize it to `size` (height, width)."""
    frames = clip.frames[..., top : top + rows, left : left + columns]
    if size != (rows, columns):
        frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    scale = torch.tensor([size[1] / columns, size[0] / rows])
    points = (clip.landmarks - torch.tensor([left, top]) + 0.5) * scale - 0.5
    return replace(clip, frames=frames, landmarks=torch.where(clip.landmarks_mask[..., None], points, 0.0))


def _mirrored(target: Target) -> Target:
    order = _flip_order(target.space)
    return target if order is None else target.map(lambda labels: _reordered(labels, order))


def _reordered(labels: Tensor, order: list[int]) -> Tensor:
    return labels[..., order]


@functools.cache
def _flip_order(name: str) -> list[int] | None:
    """Where each label comes from under a flip; None where all stay."""
    order = list(label_space(name).flip_permutation())
    return None if order == sorted(order) else order
