"""A camera as a video that has no end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.video import VideoReader
from affectkit.errors import ConfigError, VideoError

__all__ = ["Camera", "Webcam"]


class Camera(Protocol):
    """What is needed of a camera; `cv2.VideoCapture` is one."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether it can be read."""

    def read(self) -> tuple[bool, Any]:
        """The next picture, uint8 [H, W, 3] in the order blue, green, red; False where there is none."""

    def release(self) -> None:
        """Give it back."""


class _Clock(Sequence[float]):
    """The time of the last frame for any frame: a camera knows no others."""

    def __init__(self) -> None:
        self.now = 0.0

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: Any) -> Any:
        return self.now


class Webcam(VideoReader):
    """Frames of a camera as they come, until it is stopped.

    Frames are numbered as they are read: while the model is busy the camera goes on, and pictures that nobody took
    are lost, not queued. Timestamps are seconds between the readings of this frame and the first one; the frame
    rate is unknown (NaN), as the camera's claim says little about how many frames are read.

    Args:
        device: Number of the camera, 0 for the first.
        seconds: When to stop; None to go on until `stop` is called.
        open_camera: Opens a camera by its number; OpenCV by default.
        clock: Seconds, for the timestamps.

    Raises:
        ConfigError: `seconds` is not positive.
        VideoError: There is no such camera, or it does not give a picture.

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
        open_camera: Callable[[int], Camera] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seconds is not None and not seconds > 0:
            raise ConfigError(
                f"A camera cannot be watched for {seconds} seconds.", remedy="Give more than 0."
            )
        self.path = Path(f"camera-{device}")
        self.num_frames = sys.maxsize
        self.fps = float("nan")
        self._times = _Clock()
        self.timestamps = self._times  # type: ignore[assignment]  # as long as the frames, without holding them
        self._seconds, self._clock, self._stopped = seconds, clock, False
        self._began: float | None = None
        self._camera = (open_camera or _opencv)(device)
        if not self._camera.isOpened():
            self._camera.release()
            remedy = (
                "Check that it is connected, free and allowed to be used; the first one has the number 0."
            )
            raise VideoError(f"There is no camera {device}.", remedy=remedy)

    @property
    def seen(self) -> bool:
        """Whether there was a picture."""
        return self._began is not None

    def stop(self) -> None:
        """End behind the frame that is being read."""
        self._stopped = True

    def close(self) -> None:
        """Give the camera back."""
        self._camera.release()

    def frames(self, start: int = 0) -> Iterator[tuple[int, float, Tensor]]:
        """Pass over the frames; see `VideoReader`.

        Raises:
            VideoError: The camera gives no first picture. If it gives no further one, the frames end.
        """
        for index, image in self._decode(range(start, self.num_frames)):
            yield index, self._times.now, torch.from_numpy(image).permute(2, 0, 1).contiguous()

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if self._stopped:
                return
            good, picture = self._camera.read()
            if not good:
                if self._began is None:
                    self._stopped = True  # reading on would never end
                    raise self.error("The camera gives no picture.", index)
                return
            now = self._clock()
            self._began = now if self._began is None else self._began
            if self._seconds is not None and now - self._began >= self._seconds:
                return
            self._times.now = now - self._began
            yield index, np.ascontiguousarray(picture[..., ::-1])


def _opencv(device: int) -> Camera:
    import cv2

    camera = cv2.VideoCapture(device)
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited
    return camera
