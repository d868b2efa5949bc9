"""Video files through decord."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.display import display_matrix, orient, square_size, turns_of
from affectkit.data.video.index import index_video, open_container, videos_of
from affectkit.data.video.reader import VideoReader
from affectkit.errors import MissingDependencyError, VideoError

__all__ = ["DecordReader"]

_REMEDY = "Use the backend 'pyav'."


class DecordReader(VideoReader):
    """Reader through decord, checked against the index of the file.

    decord seeks by packet order, so it may silently return a neighbouring frame; see `affectkit.data.video.open_video`.

    Args:
        path: Video file.

    Raises:
        VideoError: FFmpeg cannot decode the file as a video.
        MissingDependencyError: decord is not installed.
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
        index = index_video(path)
        self.path, self.num_frames, self.fps = path, index.num_frames, index.fps
        self.timestamps = index.timestamps
        decord.logging.set_level(decord.logging.QUIET)
        self._faults = (decord.DECORDError, RuntimeError)
        self._open = functools.partial(decord.VideoReader, str(path), num_threads=1)
        try:
            self._reader = self._open()
        except self._faults as fault:
            raise VideoError("decord cannot open this video.", path=path, frame=0, remedy=_REMEDY) from fault
        self._readable = min(len(index.pts), len(self._reader))
        container, stream = open_container(path)
        with container:
            if len(videos_of(container)) > 1:
                raise VideoError(
                    "decord cannot choose among several video streams.", path=path, frame=0, remedy=_REMEDY
                )
            try:
                frame = next(container.decode(stream), None)
            except av.FFmpegError:
                frame = None
            self._aspect, self._matrix = stream.sample_aspect_ratio, display_matrix(frame)

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if index >= self._readable:
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            try:
                image = self._reader[index].asnumpy()
            except self._faults as fault:
                self._reader = self._open()  # the decoder does not survive an error
                raise self.error("The frame cannot be decoded.", index) from fault
            yield index, self._to_shown(image)

    def _to_shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make pixels square and upright; decord has turned them, but not mirrored them."""
        import av

        image = np.ascontiguousarray(np.rot90(image, -turns_of(self._matrix)))
        height, width = image.shape[:2]
        size = square_size(width, height, self._aspect)
        if size != (width, height):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            image = np.asarray(frame.reformat(*size).to_ndarray(), np.uint8)
        return orient(image, self._matrix)
