"""Writing of videos that play everywhere, with given times."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from av.container import OutputContainer

__all__ = ["VideoWriter"]

_CODECS: Final = ("libx264", "libopenh264", "mpeg4")
_SOUND: Final = frozenset({"aac", "ac3", "alac", "mp3", "opus"})  # what an MP4 file holds and players know
_FALLBACK_FPS: Final = 25.0


class VideoWriter:
    """Write an MP4 file, H.264 if FFmpeg supports it, one frame at a time; a context manager.

    Each frame has its own time, to 1/90,000 s, so uneven frame rates are kept. The file appears under its name when it
    is complete; an interruption leaves no file, and keeps an older one.

    Args:
        path: The file: .mp4, .mov or .mkv; its folder is created if missing.
        width: Width in pixels, even.
        height: Height in pixels, even.
        fps: Mean frames per second, for the bit rate; NaN if unknown.
        sound: A video whose sound is copied unchanged, if an MP4 file can hold it.
        quality: Constant rate factor of H.264, 0 (lossless) to 51.

    Attributes:
        codec: Encoder of the frames; "mpeg4", which browsers do not play, if there is none for H.264.
        has_sound: Whether sound is copied.

    Raises:
        ConfigError: The file name has another suffix.

    Example:
        >>> path = getfixture("tmp_path") / "new" / "grey.mp4"
        >>> with VideoWriter(path, 64, 48) as video:
        ...     for time in (0.0, 0.04, 0.12):
        ...         video.write(np.full((48, 64, 3), 99, np.uint8), time)
        >>> from affectkit.data.video import open_video
        >>> open_video(path).timestamps.round(3).tolist()
        [0.0, 0.04, 0.12]
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float = _FALLBACK_FPS,
        *,
        sound: Path | None = None,
        quality: int = 20,
    ) -> None:
        import av

        self.path = Path(path)
        if self.path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
            raise ConfigError(
                f"{self.path.name!r} is not the name of a video.",
                remedy="Use a name that ends in .mp4, .mov or .mkv.",
            )
        self.width, self.height, self.quality = width, height, quality
        self.fps = fps if isfinite(fps) and fps > 0 else _FALLBACK_FPS
        known = av.codec.codecs_available
        self.codec = next((name for name in _CODECS[:-1] if name in known), _CODECS[-1])
        self._ticks = 90_000 if self.codec != "mpeg4" else 1000  # per second; MPEG-4 counts them in 16 bits
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._last = -1
        self._sound = None if sound is None else _open_sound(sound)
        self.has_sound = self._sound is not None

    def __enter__(self) -> Self:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        options = {} if self.path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
        self._container: OutputContainer = av.open(str(self._partial), "w", options=options)
        stream: Any = self._container.add_stream(self.codec, rate=Fraction(self.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, self._ticks)
        if self.codec == "libx264":
            stream.options = {"crf": str(self.quality), "preset": "veryfast"}
        else:
            stream.bit_rate = int(self.width * self.height * self.fps * 0.15)
        self._stream = stream
        if self._sound is not None:
            self._sound.start(self._container)
        return self

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Append a frame.

        Args:
            image: uint8 [height, width, 3], RGB.
            time: Seconds; if it is NaN or not after the frame before, one mean interval is added to that.
        """
        import av

        tick = round(time * self._ticks) if isfinite(time) else -1
        if tick <= self._last:
            tick = self._last + (max(1, round(self._ticks / self.fps)) if self._last >= 0 else 1)
        self._last = tick
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = tick, Fraction(1, self._ticks)
        if self._sound is not None:
            self._sound.copy(until=tick / self._ticks)
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._sound is not None:
                    self._sound.copy(until=(self._last / self._ticks) + 1 / self.fps)
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            if self._sound is not None:
                self._sound.container.close()
            self._partial.unlink(missing_ok=True)


class _Sound:
    """The sound of a video, packet by packet, on the clock of its first picture."""

    def __init__(self, container: Any, start: float) -> None:
        self.container, self._start = container, start
        self._packets = container.demux(container.streams.audio[0])
        self._waiting: Any = None

    def start(self, output: OutputContainer) -> None:
        self._output = output
        self._stream: Any = output.add_stream_from_template(self.container.streams.audio[0])

    def copy(self, until: float) -> None:
        """Copy packets that begin before `until` seconds; damage ends the sound."""
        import av

        with contextlib.suppress(av.FFmpegError, StopIteration):
            while True:
                packet = self._waiting or next(self._packets)
                self._waiting = None
                if packet.pts is None or packet.size == 0:
                    continue
                unit = float(packet.time_base)
                time = packet.pts * unit - self._start
                if time >= until:
                    self._waiting = packet
                    return
                if time >= 0:
                    packet.pts -= round(self._start / unit)
                    packet.dts = packet.pts
                    packet.stream = self._stream
                    self._output.mux(packet)


def _open_sound(path: Path) -> _Sound | None:
    """Open the sound of a video; None if there is none that can be copied."""
    from affectkit.data.video.index import open_container

    if not path.is_file():
        return None
    try:
        container, video = open_container(path)
    except VideoError:
        return None
    sound: Any = next(iter(container.streams.audio), None)
    if sound is None or sound.codec_context.codec.canonical_name not in _SOUND:
        container.close()
        return None
    return _Sound(container, float((video.start_time or 0) * (video.time_base or 0)))
