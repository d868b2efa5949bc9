"""Videos that live in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from affectkit.data.video import VideoReader


class MemoryVideo(VideoReader):
    """Frames from a function of the frame number, with frames that cannot be read."""

    def __init__(self, count: int, picture: Callable[[int], torch.Tensor], broken=(), fps: float = 25.0):
        self.path = Path("memory.mp4")
        self.num_frames = count
        self.fps = fps
        self.timestamps = np.arange(count) / 25.0
        self.picture = picture
        self.broken = frozenset(broken)
        self.decoded = 0

    def _decode(self, indices) -> Iterator:
        for index in indices:
            if index in self.broken:
                raise self.error("The frame cannot be decoded.", index)
            self.decoded += 1
            yield index, self.picture(index).permute(1, 2, 0).numpy()


def noise(index: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(index)
    return torch.randint(0, 256, (3, 40, 48), generator=rng, dtype=torch.uint8)
