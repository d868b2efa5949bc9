"""Videos that say in one pixel which frame they are at, and detectors that know what there is to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.faces import Face

Person = Tensor  # uint8 [3, 40, 40]


def person(seed: int) -> Person:
    """Somebody's look, coarse enough to be seen in 16 pixels."""
    noise = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(noise, (40, 40), mode="nearest")[0].to(torch.uint8)


def scene(
    number: int, people: Sequence[tuple[Person, int, int]], *, side: int = 160, ground: int = 90
) -> Tensor:
    """A frame [3, side, side] with people whose faces' boxes, of 20 pixels, have their corners at (x, y)."""
    frame = torch.full((3, side, side), ground, dtype=torch.uint8)
    for look, x, y in people:
        frame[:, y - 10 : y + 30, x - 10 : x + 30] = look
    frame[:, 0, 0] = number
    return frame


def face(x: float, y: float, side: float = 20.0, score: float = 0.9, points: Tensor | None = None) -> Face:
    """A face in a square box."""
    return Face((float(x), float(y), float(side), float(side)), score, points)


class Script:
    """Finds in each frame what a table says, by the frame's number in its first pixel."""

    def __init__(self, found: Mapping[int, Sequence[Face]] | Callable[[int], Sequence[Face]]) -> None:
        self.found = found
        self.shown: list[list[int]] = []

    def __str__(self) -> str:
        return "a script"

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        numbers = frames[:, 0, 0, 0].tolist()
        self.shown.append(numbers)
        if isinstance(self.found, Mapping):
            return [list(self.found.get(number, ())) for number in numbers]
        return [list(self.found(number)) for number in numbers]
