"""Presentation times and key frames of video files."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoIndex", "index_video", "open_container", "videos_of"]

_NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS of FFmpeg
_MOST_MISSING = 1_000_000  # frames: a damaged header may announce any number, and each one is reported


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Frames of a video file in presentation order.

    Attributes:
        pts: int64 [readable frames], ascending presentation times in units of `time_base`.
        key_pts: int64 [key frames], ascending presentation times, including key frames that are decoded but never shown
            (an edit list in an mp4 file cuts this way).
        key_dts: int64 [key frames], decoding times.
        time_base: Seconds per unit.
        fps: Mean frames per second by presentation times; NaN if unknown.
        num_frames: Announced number of frames, larger than `len(pts)` for truncated files. Matroska announces only a
            duration, from which it is estimated.
        timed: Whether packets carry presentation times. Frames of raw streams do not; they are numbered in decoding
            order, and `pts` holds these numbers.
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    key_dts: NDArray[np.int64]
    time_base: float
    fps: float
    num_frames: int
    timed: bool = True

    def key_before(self, frame: int) -> int:
        """Index of the last key frame shown no later than `frame`.

        Presentation time counts, not file order: a frame stored behind a key frame and shown before it may need
        pictures from before that key frame (open group of pictures).
        """
        return int(np.searchsorted(self.key_pts, self.pts[frame], side="right")) - 1

    def frame_at(self, pts: int | None) -> int | None:
        """Frame shown exactly at a presentation time, or None."""
        if pts is None:
            return None
        frame = int(np.searchsorted(self.pts, pts))
        return frame if frame < len(self.pts) and self.pts[frame] == pts else None

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the first frame, float64 [num_frames]; missing frames continue at the mean rate."""
        known = (self.pts - self.pts[0]) * self.time_base
        missing = np.arange(1, self.num_frames - len(known) + 1) / self.fps
        return np.concatenate([known, known[-1] + missing])


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file with FFmpeg and select the default video stream, never a cover picture.

    Raises `VideoError` if FFmpeg cannot decode the file as a video.
    """
    import av

    try:
        # Playlists and other formats may not open further files or the network.
        container = av.open(str(path), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise _not_a_video(path, str(getattr(fault, "strerror", None) or fault)) from fault
    streams = videos_of(container)
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), next(iter(streams), None))
    is_still = container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty")
    if stream is None or is_still:
        has_cover = any(map(_is_cover, container.streams.video))
        container.close()
        raise _not_a_video(path, "no video stream but a cover picture" if has_cover else "no video stream")
    stream.codec_context.thread_count = 1  # data loaders already use every core
    return container, stream


def videos_of(container: InputContainer) -> list[VideoStream]:
    """Decodable video streams, without cover pictures."""
    streams = container.streams.video
    return [stream for stream in streams if not _is_cover(stream) and stream.codec_context is not None]


def _is_cover(stream: VideoStream) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def index_video(path: Path) -> VideoIndex:
    """Index a file by one pass over its packets, without decoding; cached until the file changes.

    Raises `VideoError` if FFmpeg cannot decode the file as a video, or if it holds no frame.
    """
    status = path.stat()
    return _index(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _index(path: Path, mtime: int, size: int) -> VideoIndex:
    import av

    container, stream = open_container(path)
    # Raw streams and reordered H.264 or HEVC in AVI have no presentation times.
    is_reordered = stream.codec_context.has_b_frames and stream.codec_context.name in ("h264", "hevc")
    if container.format.flags & _NO_TIMESTAMPS or (container.format.name == "avi" and is_reordered):
        with container:
            return _index_raw(path, container, stream)
    packets, last, is_cut = 0, 0, False
    shown: set[int] = set()
    keys: dict[int, int] = {}  # presentation time -> decoding time
    with container:
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.size == 0:  # the empty packet that ends the stream
                    continue
                last = packet.pts if packet.dts is None else packet.dts
                packets, is_cut = packets + 1, packet.is_corrupt
                if packet.is_keyframe:
                    keys[packet.pts] = last
                if not packet.is_discard:
                    shown.add(packet.pts)
        except av.FFmpegError:
            is_cut = True
        pts = sorted(shown)
        time_base = float(stream.time_base or 0)
        # Lost packets may have any presentation time from the last decoding time on.
        certain = [time for time in pts if time < last]
        fps = _mean_rate(stream, certain if len(certain) > 1 else pts)
        missing = _count_missing(stream, packets, pts, fps) if pts else 0
        is_cut = is_cut or missing > 0
        fps = fps if is_cut else _mean_rate(stream, pts)
    num_frames = len(pts) + max(0, min(missing, size, _MOST_MISSING))
    pts = certain if is_cut else pts
    first = min(keys, default=math.inf)
    decodable = [time for time in pts if time >= first]
    if not decodable:
        raise _not_a_video(path, "no whole picture")
    return VideoIndex(
        pts=np.array(decodable),
        key_pts=np.array(sorted(keys)),
        key_dts=np.array([keys[time] for time in sorted(keys)]),
        time_base=time_base,
        fps=fps,
        num_frames=num_frames - (len(pts) - len(decodable)),
    )


def _index_raw(path: Path, container: InputContainer, stream: VideoStream) -> VideoIndex:
    """Index a stream without presentation times by decoding it once."""
    import av

    packets, frames, is_cut = 0, 0, False
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            packets += packet.size > 0
            if not is_cut:
                try:
                    frames += len(packet.decode())
                except av.FFmpegError:
                    is_cut = True  # later frames are counted, but not trusted
    num_frames = max(packets, frames) if is_cut else frames
    if frames == 0:
        raise _not_a_video(path, "no whole picture")
    # For raw streams, the average rate of FFmpeg is an assumption.
    rate = stream.average_rate if container.format.name == "avi" else stream.codec_context.framerate
    fps = float(rate or "nan")
    start = np.zeros(1, np.int64)
    return VideoIndex(np.arange(num_frames), start, start, 1 / fps, fps, num_frames, timed=False)


def _mean_rate(stream: VideoStream, pts: list[int]) -> float:
    """Mean frames per second by presentation times; the rate of the container where the two agree.

    Without a stated rate FFmpeg guesses, up to 1000 for recordings of a browser.
    """
    stated = float(stream.average_rate or stream.guessed_rate or "nan")
    unit = float(stream.time_base or 0)
    if len(pts) < 2 or unit == 0:
        return stated
    intervals, span = len(pts) - 1, (pts[-1] - pts[0]) * unit
    rounding = 1.001 * unit  # of the first and the last time
    return stated if abs(intervals / stated - span) <= rounding else intervals / span


def _count_missing(stream: VideoStream, packets: int, pts: list[int], fps: float) -> int:
    """Number of frames that the header announces and the file lacks; at most 0 if none is missing."""
    if stream.frames:
        # AVI announces units of time, some of which may show no new frame.
        return stream.frames - (pts[-1] + 1 if stream.container.format.name == "avi" else packets)
    duration = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska
    if duration is None or len(pts) < 2 or not fps > 0:
        return 0
    hours, minutes, seconds = map(float, duration.groups())
    length = hours * 3600 + minutes * 60 + seconds
    unit = float(stream.time_base or 0)
    tolerance = 2.5 * unit * np.diff(pts).max()  # the last frame may last a little longer
    return round(length * fps) - packets if length - pts[-1] * unit > tolerance else 0


def _not_a_video(path: Path, reason: str) -> VideoError:
    return VideoError(
        f"This cannot be read as a video ({reason}).",
        path=path,
        frame=0,
        remedy="Obtain the file again, or convert it with ffmpeg.",
    )
