"""A camera as a video without end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.video import VideoReader
from affectkit.errors import ConfigError, VideoError

__all__ = ["Webcam"]


class _Clock(Sequence[float]):
    """Timestamps of a camera: only that of the last frame is known."""

    def __init__(self) -> None:
        self.now = 0.0

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: Any) -> Any:
        return self.now


class Webcam(VideoReader):
    """Frames of a camera until it is stopped.

    Frames are numbered as they are read; pictures that the camera takes while the model is busy are lost. Timestamps
    are seconds since the first frame; the frame rate is unknown (NaN).

    Args:
        device: Number of the camera, 0 for the first.
        seconds: Time limit; None for no limit.
        open_camera: Opens a camera by its number; by default, `cv2.VideoCapture`. The camera needs `isOpened`, `read`
            (success and uint8 [H, W, 3] in the order blue, green, red) and `release`.
        clock: Seconds, for the timestamps.

    Attributes:
        seen: Whether there was a picture.

    Raises:
        ConfigError: `seconds` is not positive.
        VideoError: The camera does not exist or gives no picture.

    Example:
        >>> class Fake:
        ...     isOpened = lambda self: True
        ...     read = lambda self: (True, np.zeros((4, 6, 3), np.uint8))
        ...     release = lambda self: None
        >>> ticks = iter([0.0, 1.0, 2.0, 3.0])
        >>> with Webcam(0, seconds=2, open_camera=lambda _: Fake(), clock=lambda: next(ticks)) as camera:
        ...     [(frame, when, tuple(picture.shape)) for frame, when, picture in camera.frames()]
        [(0, 0.0, (3, 4, 6)), (1, 1.0, (3, 4, 6))]
    """

    def __init__(
        self,
        device: int = 0,
        *,
        seconds: float | None = None,
        open_camera: Callable[[int], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seconds is not None and not seconds > 0:
            raise ConfigError(f"Invalid time limit: {seconds} seconds.", remedy="Give more than 0.")
        self.path = Path(f"camera-{device}")
        self.num_frames = sys.maxsize
        self.fps = float("nan")
        self._times = _Clock()
        self.timestamps = self._times  # type: ignore[assignment]  # as long as the frames, without holding them
        self._seconds, self._clock, self._stopped = seconds, clock, False
        self._start, self.seen = 0.0, False
        self._camera = (open_camera or _opencv)(device)
        if not self._camera.isOpened():
            self._camera.release()
            remedy = "Check its connection and permissions, and that it is not in use; the first camera is 0."
            raise VideoError(f"Cannot open camera {device}.", remedy=remedy)

    def stop(self) -> None:
        """End after the current frame."""
        self._stopped = True

    def close(self) -> None:
        """Close the camera."""
        self._camera.release()

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """Read frames until the camera gives no more; raises VideoError if it gives none at all."""
        for index, image in self._decode(range(start, self.num_frames)):
            yield index, self._times.now, torch.from_numpy(image).permute(2, 0, 1).contiguous()

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if self._stopped:
                return
            good, picture = self._camera.read()
            if not good:
                if not self.seen:
                    self._stopped = True
                    raise self.error("The camera gives no picture.", index)
                return
            now = self._clock()
            if not self.seen:
                self._start, self.seen = now, True
            self._times.now = now - self._start
            if self._seconds is not None and self._times.now >= self._seconds:
                return
            yield index, np.ascontiguousarray(picture[..., ::-1])


def _opencv(device: int) -> Any:
    import cv2

    camera = cv2.VideoCapture(device)
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited
    return camera
