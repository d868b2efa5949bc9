"""Video files through decord."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.display import display_matrix, orient, square_size
from affectkit.data.video.index import videos_of
from affectkit.data.video.pyav import PyAVReader
from affectkit.errors import MissingDependencyError, VideoError

__all__ = ["DecordReader"]


class DecordReader(PyAVReader):
    """Reader through decord, checked against the index of the file.

    decord seeks by packet order, so it may silently return a neighbouring frame; see `affectkit.data.video.open_video`.
    """

    def __init__(self, path: Path) -> None:
        import av

        try:
            import decord
        except ImportError as fault:
            raise MissingDependencyError(
                "The video backend 'decord' is not installed.",
                remedy="Run `pip install decord` where it has wheels, or use the backend 'pyav'.",
            ) from fault
        super().__init__(path)
        decord.logging.set_level(decord.logging.QUIET)
        self._faults = (decord.DECORDError, RuntimeError)
        self._open = functools.partial(decord.VideoReader, str(path), num_threads=1)
        fault_at = functools.partial(VideoError, path=path, frame=0, remedy="Use the backend 'pyav'.")
        try:
            self._reader = self._open()
        except self._faults as fault:
            raise fault_at("decord cannot open this video.") from fault
        self._readable = min(len(self._index.pts), len(self._reader))
        if len(videos_of(self._container)) > 1:
            raise fault_at("decord cannot choose among several video streams.")
        try:
            frame = next(self._container.decode(self._stream), None)
        except av.FFmpegError:
            frame = None
        self._matrix = a, b, _, _ = display_matrix(frame)
        self._turns = round(math.atan2(-b, a) / (math.pi / 2))  # quarters, as in FFmpeg 4

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        import av

        for index in indices:
            if index >= self._readable:
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            try:
                image = self._reader[index].asnumpy()
            except self._faults as fault:
                self._reader = self._open()  # the decoder does not survive an error
                raise self.error("The frame cannot be decoded.", index) from fault
            # decord has turned the pixels, but neither mirrored nor squared them.
            image = np.ascontiguousarray(np.rot90(image, -self._turns))
            height, width = image.shape[:2]
            size = square_size(width, height, self._aspect)
            if size != (width, height):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                image = np.asarray(frame.reformat(*size).to_ndarray(), np.uint8)
            yield index, orient(image, self._matrix)
