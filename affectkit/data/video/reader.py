"""Base class of all frame readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.errors import VideoError

__all__ = ["IMAGE_SUFFIXES", "VideoReader"]

IMAGE_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("avif", "bmp", "heic", "heif", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"),
    )
)
"""Suffixes of frames in a folder. GIF is not included: a GIF file is usually a whole clip."""


class VideoReader(ABC):
    """Random access to the frames of one video, and sequential reading.

    Constructors take the media, and raise `VideoError` if it cannot be read.

    Attributes:
        path: The media.
        num_frames: Announced number of frames; frames that a truncated file lacks raise when read.
        fps: Mean frames per second; NaN if unknown.
        timestamps: float64 [num_frames], seconds from the first frame; NaN if unknown.
    """

    path: Path
    num_frames: int
    fps: float
    timestamps: NDArray[np.float64]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Read frames in the given order.

        Args:
            indices: At least one frame number; repeats are allowed.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame does not exist, cannot be decoded, or differs in size from the others.
        """
        places = defaultdict(list)
        for place, index in enumerate(indices):
            if not 0 <= index < self.num_frames:
                frames = "frame" if self.num_frames == 1 else "frames"
                raise self.error(f"The video has {self.num_frames} {frames}.", index)
            places[index].append(place)
        if not places:
            raise self.error("No frames are requested.")
        result = torch.empty(0)
        for index, image in self._decode(sorted(places)):
            if len(result) == 0:
                result = torch.empty((len(indices), 3, *image.shape[:2]), dtype=torch.uint8)
            if result.shape[2:] != image.shape[:2]:
                raise self.error("The frame differs in size from those before it.", index)
            result[places[index]] = torch.from_numpy(image).permute(2, 0, 1)
        return result

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """Iterate over the frames in order, with one frame in memory at a time.

        Args:
            start: First frame. To continue after an unreadable frame, start again at the next one.

        Yields:
            Frame number, timestamp in seconds, and frame, uint8 [3, H, W].

        Raises:
            VideoError: A frame cannot be decoded.
        """
        for index, image in self._decode(range(start, self.num_frames)):
            yield index, float(self.timestamps[index]), torch.from_numpy(image).permute(2, 0, 1).contiguous()

    @abstractmethod
    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode existing frames, given in ascending order, to (index, RGB image [H, W, 3])."""

    def close(self) -> None:  # noqa: B027 - most readers hold nothing open
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def error(self, fault: str, frame: int | None = None) -> VideoError:
        """Create an error that names this file."""
        return VideoError(fault, path=self.path, frame=frame)
