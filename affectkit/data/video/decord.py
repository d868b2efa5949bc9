"""Video files through decord, as selectable as it is old."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.display import Matrix, display_matrix, orient, square_size, turns_of
from affectkit.data.video.index import index_video, open_container, videos_of
from affectkit.data.video.reader import VideoReader
from affectkit.errors import MissingDependencyError, VideoError

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
            raise VideoError(
                "decord cannot open this video.", path=path, frame=0, remedy="Use the backend 'pyav'."
            ) from fault
        self._aspect, self._matrix = self._read_display()
        self.num_frames = index.num_frames
        self.fps = index.fps
        self.timestamps = index.timestamps

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if index >= min(self._readable, len(self._reader)):
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            try:
                image = self._reader[index].asnumpy()
            except self._faults as fault:
                self._reader = self._open()  # its decoder does not survive an error
                raise self.error("The frame cannot be decoded.", index) from fault
            yield index, self._to_shown(image)

    def _read_display(self) -> tuple[Fraction | None, Matrix]:
        """Aspect of the pixels, and display matrix of the first frame that can be decoded."""
        import av

        container, stream = open_container(self.path)
        with container:
            if len(videos_of(container)) > 1:
                raise VideoError(
                    "decord cannot choose among the video streams of a file.",
                    path=self.path,
                    frame=0,
                    remedy="Use the backend 'pyav'.",
                )
            try:
                frame = next(container.decode(stream), None)
            except av.FFmpegError:
                frame = None
            return stream.sample_aspect_ratio, display_matrix(frame)

    def _to_shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make pixels square and upright; decord has turned them and not mirrored them."""
        import av

        image = np.ascontiguousarray(np.rot90(image, -turns_of(self._matrix)))
        height, width = image.shape[:2]
        size = square_size(width, height, self._aspect)
        if size != (width, height):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            image = np.asarray(frame.reformat(*size).to_ndarray(), np.uint8)
        return orient(image, self._matrix)
