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
    """Reader that finds frames by presentation time; pixels are made square and upright.

    Packets are indexed once. To read a frame, the reader seeks to the key frame before it, unless it is already past
    that, and decodes forward to the presentation time of the frame. Raw streams (`.h264`, `.mjpeg`) have no times; they
    are decoded from the start and their frames are counted.
    """

    def __init__(self, path: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self._index = index_video(path)
        self.path, self.num_frames, self.fps = path, self._index.num_frames, self._index.fps
        self.timestamps = self._index.timestamps
        self._container, self._stream = open_container(path)
        self._aspect = self._stream.sample_aspect_ratio
        self._reformatter = VideoReformatter()
        self._damage: dict[int, int] = {}  # key frame -> first frame after it that cannot be decoded

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        decoded: _Frames = iter(())
        following: int | None = None  # the frame after the last decoded one
        for index in indices:
            if index >= len(self._index.pts):
                raise self.error(f"The file is truncated: it announces {self.num_frames} frames.", index)
            key = self._index.key_before(index)
            if index >= self._damage.get(key, self.num_frames):
                raise self.error("A frame before it is damaged.", index)
            seeks = following is None or self._index.key_pts[key] > self._index.pts[following]
            decoded = self._decode_from(key) if seeks else decoded
            frame = _find(index, decoded)
            if frame is None and not seeks:  # damage before the key frame may end there
                decoded = self._decode_from(key)
                frame = _find(index, decoded)
            if frame is None:
                self._damage[key] = index
                raise self.error("The frame is damaged.", index)
            following = index + 1
            yield index, self._to_rgb(frame)

    def _decode_from(self, key: int) -> _Frames:
        """Decode from a key frame on."""
        import av

        if self._index.timed:
            goal = int(
                np.searchsorted(self._index.pts, self._index.key_pts[key])
            )  # first frame that needs it
            for times in (self._index.key_pts, self._index.key_dts):  # containers seek by either
                with contextlib.suppress(av.FFmpegError):
                    self._container.seek(int(times[key]), stream=self._stream)
                    decoded = self._decode_forward()
                    first = next(decoded, None)
                    if first is not None and first[0] <= goal:
                        return itertools.chain([first], decoded)
        # Some files cannot seek at all, or not before the goal.
        self._container.close()
        self._container, self._stream = open_container(self.path)
        return self._decode_forward() if self._index.timed else self._count_raw()

    def _count_raw(self) -> _Frames:
        """Decode a raw stream from the start to the first damage."""
        import av

        with contextlib.suppress(av.FFmpegError):
            yield from enumerate(self._container.decode(self._stream))

    def _decode_forward(self) -> _Frames:
        """Decode from the current position to the first damage; later frames are not trusted."""
        import av

        damaged = None
        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                damaged = packet.pts
                if packet.is_corrupt:
                    break
                yield from self._number(packet.decode())
        with contextlib.suppress(av.FFmpegError):  # the decoder may still hold good frames
            held = self._stream.codec_context.decode(None)
            yield from self._number([frame for frame in held if frame.pts != damaged])

    def _number(self, frames: Sequence[VideoFrame]) -> _Frames:
        numbers = map(self._index.frame_at, (frame.pts for frame in frames))
        return ((number, frame) for number, frame in zip(numbers, frames, strict=True) if number is not None)

    def _to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        size = square_size(frame.width, frame.height, self._aspect)
        # More threads would wait for the scheduler on busy machines.
        rgb = self._reformatter.reformat(frame, *size, format="rgb24", threads=1)
        return orient(cast("NDArray[np.uint8]", rgb.to_ndarray()), display_matrix(frame))


def _find(index: int, decoded: _Frames) -> VideoFrame | None:
    """Decode forward to a frame; None if it is missing."""
    for number, frame in decoded:
        if number >= index:
            return frame if number == index else None
    return None
