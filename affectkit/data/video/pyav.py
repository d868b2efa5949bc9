"""Video files through PyAV (FFmpeg), exact to the frame."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.display import display_matrix, orient, square_size
from affectkit.data.video.index import index_video, open_container
from affectkit.data.video.reader import VideoReader

if TYPE_CHECKING:
    from av import VideoFrame

    _Frames = Iterator[tuple[int, VideoFrame]]

__all__ = ["PyAVReader"]


class PyAVReader(VideoReader):
    """Finds frames by their presentation time, which no seek can get wrong; pixels are made square and upright.

    The packets of the file are indexed once. To read a frame, the reader seeks to the key frame before it,
    unless it is already past that, decodes forward, and takes the frame whose time is the one wanted. A raw stream
    (`.h264`, `.mjpeg`), which has no times, is decoded from its start and its frames are counted.

    Args:
        path: Video file.

    Raises:
        VideoError: The file is not a video that FFmpeg can decode.
    """

    def __init__(self, path: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = path
        self._index = index_video(path)
        self._container, self._stream = open_container(path)
        self._aspect = self._stream.sample_aspect_ratio
        self._reformatter = VideoReformatter()
        self._damage: dict[int, int] = {}  # key frame -> first frame after it that cannot be decoded
        self.num_frames = self._index.num_frames
        self.fps = self._index.fps
        self.timestamps = self._index.timestamps

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        decoded: _Frames = iter(())
        following: int | None = None  # the frame next to the last one decoded
        for index in indices:
            if index >= len(self._index.pts):
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            key = self._index.key_before(index)
            if index >= self._damage.get(key, self.num_frames):
                raise self.error("A frame before it is damaged.", index)
            seeks = following is None or self._index.key_pts[key] > self._index.pts[following]
            decoded = self._from_key(key) if seeks else decoded
            frame = _find(index, decoded)
            if frame is None and not seeks:  # damage before the key frame need not reach behind it
                decoded = self._from_key(key)
                frame = _find(index, decoded)
            if frame is None:
                self._damage[key] = index
                raise self.error("The frame is damaged.", index)
            following = index + 1
            yield index, self._to_rgb(frame)

    def _from_key(self, key: int) -> _Frames:
        """Decode from a key frame on."""
        import av

        if not self._index.timed:
            self._reopen()
            return self._count_raw()
        goal = int(np.searchsorted(self._index.pts, self._index.key_pts[key]))  # the first frame it leads to
        for times in (self._index.key_pts, self._index.key_dts):  # by which of them one seeks, differs
            with contextlib.suppress(av.FFmpegError):
                self._container.seek(int(times[key]), stream=self._stream)
                decoded = self._forward()
                first = next(decoded, None)
                if first is not None and first[0] <= goal:
                    return itertools.chain([first], decoded)
        # Some cannot seek at all, or not before the goal: take the long way.
        self._reopen()
        return self._forward()

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = open_container(self.path)

    def _count_raw(self) -> _Frames:
        """Decode a raw stream from its start to the first damage."""
        import av

        with contextlib.suppress(av.FFmpegError):
            yield from enumerate(self._container.decode(self._stream))

    def _forward(self) -> _Frames:
        """Decode from where the container stands to the first damage; what comes behind it is not trusted."""
        import av

        damaged = None
        try:
            for packet in self._container.demux(self._stream):
                damaged = packet.pts
                if packet.is_corrupt:
                    break
                yield from self._numbered(packet.decode())
        except av.FFmpegError:
            pass
        with contextlib.suppress(av.FFmpegError):  # the decoder may still hold good frames
            held = self._stream.codec_context.decode(None)
            yield from self._numbered([frame for frame in held if frame.pts != damaged])

    def _numbered(self, frames: Sequence[VideoFrame]) -> _Frames:
        numbers = map(self._index.frame_at, (frame.pts for frame in frames))
        return ((number, frame) for number, frame in zip(numbers, frames, strict=True) if number is not None)

    def _to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        # One thread: handing slices of small frames to others waits for the scheduler wherever the cores are busy.
        size = square_size(frame.width, frame.height, self._aspect)
        rgb = self._reformatter.reformat(frame, *size, format="rgb24", threads=1)
        image = cast("NDArray[np.uint8]", rgb.to_ndarray())
        return orient(image, display_matrix(frame))


def _find(index: int, decoded: _Frames) -> VideoFrame | None:
    """Decode forward to a frame; None where it does not come."""
    for number, frame in decoded:
        if number >= index:
            return frame if number == index else None
    return None
