"""Video files through decord, as selectable as it is old."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.index import index_video
from affectkit.data.video.reader import VideoReader
from affectkit.errors import MissingDependencyError

__all__ = ["DecordReader"]


class DecordReader(VideoReader):
    """Reads with decord, checked against the index of the file.

    decord seeks by the order of packets. Where frames depend on others across a key frame, it may return a
    neighbour of the frame wanted, without a sign; `affectkit.data.video.open_video` names such files.

    Args:
        path: Video file.

    Raises:
        VideoError: The file is not a video that FFmpeg can decode.
        MissingDependencyError: decord is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import decord
        except ImportError as fault:
            raise MissingDependencyError(
                "The video backend 'decord' is not installed.",
                remedy="Run `pip install decord` where it has wheels, or use the backend 'pyav'.",
            ) from fault
        self.path = path
        index = index_video(path)
        self._readable = len(index.pts)
        decord.logging.set_level(decord.logging.QUIET)
        self._faults = (decord.DECORDError, RuntimeError)
        self._open = functools.partial(decord.VideoReader, str(path), num_threads=1)
        try:
            self._reader = self._open()
        except self._faults as fault:
            raise self.error("decord cannot open this video.", 0) from fault
        self.num_frames = index.num_frames
        self.fps = index.fps
        self.timestamps = index.timestamps

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if index >= min(self._readable, len(self._reader)):
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            try:
                yield index, self._reader[index].asnumpy()
            except self._faults as fault:
                self._reader = self._open()  # its decoder does not survive an error
                raise self.error("The frame cannot be decoded.", index) from fault
