"""When each frame of a video file is shown, and from where it can be decoded."""

from __future__ import annotations

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
_MOST_MISSING = 1_000_000  # frames: a damaged header may announce any number, and each gets reported


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """The frames of a video file in the order of presentation.

    Attributes:
        pts: int64 [readable frames], presentation times, ascending, in units of `time_base`.
        key_pts: int64 [key frames], their presentation times, ascending; also of those that are decoded and
            never shown (an edit list in an mp4 file cuts so).
        key_dts: int64 [key frames], decoding time of each.
        time_base: Seconds a unit.
        fps: Mean frames a second, by their times; NaN where unknown.
        num_frames: Frames that the file announces: more than `pts` holds where it is truncated. Matroska
            announces its duration only, from which they are estimated.
        timed: Whether packets carry the times of their frames. In raw streams they do not: there frames are numbered as
            they are decoded, and `pts` are these numbers.
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    key_dts: NDArray[np.int64]
    time_base: float
    fps: float
    num_frames: int
    timed: bool = True

    def key_before(self, frame: int) -> int:
        """Which key frame is the last one shown no later than `frame`.

        By time shown, not by order in the file: a frame that is stored behind a key frame and shown before it
        may need pictures from before that key frame (an open group of pictures).
        """
        return int(np.searchsorted(self.key_pts, self.pts[frame], side="right")) - 1

    def frame_at(self, pts: int | None) -> int | None:
        """The frame shown at a presentation time, if there is one."""
        if pts is None:
            return None
        frame = int(np.searchsorted(self.pts, pts))
        return frame if frame < len(self.pts) and self.pts[frame] == pts else None

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Seconds from the first frame, float64 [num_frames]; truncated frames continue at the mean rate."""
        known = (self.pts - self.pts[0]) * self.time_base
        missing = np.arange(1, self.num_frames - len(known) + 1) / self.fps
        return np.concatenate([known, known[-1] + missing])


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file with FFmpeg and choose its video stream: never a cover picture; the default one where it says so.

    Raises:
        VideoError: It is not a video that FFmpeg can decode.
    """
    import av
    from av.stream import Disposition

    try:
        # Playlists and other formats that lead to further files or to the network stay closed.
        container = av.open(str(path), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise _not_a_video(path, str(getattr(fault, "strerror", None) or fault)) from fault
    streams = videos_of(container)
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), next(iter(streams), None))
    still = container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty")
    if stream is None or still:
        has_cover = any(stream.disposition & Disposition.attached_pic for stream in container.streams.video)
        container.close()
        raise _not_a_video(path, "no video stream but a cover picture" if has_cover else "no video stream")
    stream.codec_context.thread_count = 1  # data loaders already use every core
    return container, stream


def videos_of(container: InputContainer) -> list[VideoStream]:
    """Video streams that can be decoded and are no cover pictures."""
    from av.stream import Disposition

    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]


def index_video(path: Path) -> VideoIndex:
    """Index a file by one pass over its packets, without decoding; kept until the file changes.

    Raises:
        VideoError: It is not a video that FFmpeg can decode, or holds no frame.
    """
    status = path.stat()
    return _index(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _index(path: Path, mtime: int, size: int) -> VideoIndex:
    import av

    container, stream = open_container(path)
    if not _is_timed(container, stream):
        with container:
            return _index_raw(path, container, stream)
    packets, last, cut = 0, 0, False
    shown: set[int] = set()
    keys: dict[int, int] = {}  # presentation time -> decoding time
    with container:
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.size == 0:  # the empty packet that ends the stream
                    continue
                last = packet.pts if packet.dts is None else packet.dts
                packets, cut = packets + 1, packet.is_corrupt
                if packet.is_keyframe:
                    keys[packet.pts] = last
                if not packet.is_discard:
                    shown.add(packet.pts)
        except av.FFmpegError:
            cut = True
        pts = sorted(shown)
        time_base = float(stream.time_base or 0)
        # A later packet could have been shown at any time from the last decoding time on.
        certain = [time for time in pts if time < last]
        fps = _rate(stream, certain if len(certain) > 1 else pts)
        missing = _missing(stream, packets, pts, fps) if pts else 0
        fps = fps if missing > 0 or cut else _rate(stream, pts)
    num_frames = len(pts) + max(0, min(missing, size, _MOST_MISSING))
    if missing > 0 or cut:
        pts = certain
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


def _is_timed(container: InputContainer, stream: VideoStream) -> bool:
    """Whether packets carry the times of their frames: not in raw streams, nor where AVI holds reordered H.264."""
    raw = container.format.flags & _NO_TIMESTAMPS
    reordered = stream.codec_context.has_b_frames and stream.codec_context.name in ("h264", "hevc")
    return not raw and not (container.format.name == "avi" and reordered)


def _index_raw(path: Path, container: InputContainer, stream: VideoStream) -> VideoIndex:
    """Index a stream without times by decoding it once."""
    import av

    packets, frames, cut = 0, 0, False
    try:
        for packet in container.demux(stream):
            packets += packet.size > 0
            if not cut:
                try:
                    frames += len(packet.decode())
                except av.FFmpegError:
                    cut = True  # what comes behind it is not trusted, but counted
    except av.FFmpegError:
        pass
    num_frames = max(packets, frames) if cut else frames
    if frames == 0:
        raise _not_a_video(path, "no whole picture")
    # Of raw streams FFmpeg states an assumption, unless they say themselves.
    rate = stream.average_rate if container.format.name == "avi" else stream.codec_context.framerate
    return VideoIndex(
        pts=np.arange(num_frames),
        key_pts=np.zeros(1, np.int64),
        key_dts=np.zeros(1, np.int64),
        time_base=1 / float(rate) if rate else float("nan"),
        fps=float(rate) if rate else float("nan"),
        num_frames=num_frames,
        timed=False,
    )


def _rate(stream: VideoStream, pts: list[int]) -> float:
    """Mean frames a second by the times of the frames; as the container states it where the two agree.

    A container that states none leaves FFmpeg to guess, as far off as 1000 for a recording of a browser.
    """
    stated = float(stream.average_rate or stream.guessed_rate or 0) or float("nan")
    unit = float(stream.time_base or 0)
    if len(pts) < 2 or unit == 0:
        return stated
    intervals, span = len(pts) - 1, (pts[-1] - pts[0]) * unit
    rounding = 1.001 * unit  # of the first and the last time
    return stated if abs(intervals / stated - span) <= rounding else intervals / span


def _missing(stream: VideoStream, packets: int, pts: list[int], fps: float) -> int:
    """How many frames the header announces beyond those the file holds; at most 0 where none is missing."""
    if stream.frames:
        # AVI counts moments, its units of time; some of them may show no new frame.
        return stream.frames - (pts[-1] + 1 if stream.container.format.name == "avi" else packets)
    duration = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska
    if duration is None or len(pts) < 2 or not fps > 0:
        return 0
    hours, minutes, seconds = map(float, duration.groups())
    length = hours * 3600 + minutes * 60 + seconds
    unit = float(stream.time_base or 0)
    lacks = (
        length - pts[-1] * unit > 2.5 * unit * np.diff(pts).max()
    )  # the last frame may last a little longer
    return round(length * fps) - packets if lacks else 0


def _not_a_video(path: Path, reason: str) -> VideoError:
    return VideoError(
        f"This cannot be read as a video ({reason}).",
        path=path,
        frame=0,
        remedy="Obtain the file again, or convert it with ffmpeg.",
    )
