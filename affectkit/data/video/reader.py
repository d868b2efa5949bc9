"""What every reader of frames does, wherever the frames are."""

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
"""What counts as a frame in a folder of frames. GIF is not among them: it is usually a clip by itself."""


class VideoReader(ABC):
    """Random access to the frames of one video, and one pass over them.

    Attributes:
        path: The media.
        num_frames: How many frames it has, or announces: those that a truncated file lacks raise when read.
        fps: Mean frames a second; NaN where the media does not know.
        timestamps: float64 [num_frames], seconds from the first frame; NaN where unknown.
    """

    path: Path
    num_frames: int
    fps: float
    timestamps: NDArray[np.float64]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Read frames in the order asked for; repeats are allowed.

        Args:
            indices: At least one frame number.

        Returns:
            uint8 [T, 3, H, W], RGB.

        Raises:
            VideoError: A frame does not exist, cannot be decoded, or differs in size from the others.
        """
        places = defaultdict(list)
        for place, index in enumerate(indices):
            if not 0 <= index < self.num_frames:
                raise self.error(f"The video has {self.num_frames} frames.", index)
            places[index].append(place)
        if not places:
            raise self.error("No frame was asked for.")
        result = torch.empty(0)
        for index, image in self._decode(sorted(places)):
            if len(result) == 0:
                result = torch.empty((len(indices), 3, *image.shape[:2]), dtype=torch.uint8)
            if result.shape[2:] != image.shape[:2]:
                raise self.error("The frame differs in size from those before it.", index)
            result[places[index]] = torch.from_numpy(image).permute(2, 0, 1)
        return result

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """Pass over the frames in order, holding one at a time.

        Args:
            start: First frame; to go on behind a frame that cannot be read, start again at the next one.

        Yields:
            Frame number, timestamp in seconds, and the frame, uint8 [3, H, W].

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
        """An error that names this file."""
        return VideoError(fault, path=self.path, frame=frame)
