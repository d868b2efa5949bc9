"""Writing a video that plays everywhere, with the times of the one it was made from."""

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
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

__all__ = ["VideoWriter"]

_CODECS: Final = ("libx264", "libopenh264", "mpeg4")
_SOUND: Final = frozenset({"aac", "ac3", "alac", "mp3", "opus"})  # what an MP4 file holds and players know
_TICKS: Final = 90_000  # a second: divides by all usual frame rates
_FALLBACK_FPS: Final = 25.0


class VideoWriter:
    """Writes an MP4 file, H.264 where FFmpeg can, one frame at a time.

    Each frame is shown at the time it is given, to 1/90,000 s, so that uneven frame rates stay as they are.
    The file appears under its name when it is complete; an interruption leaves no file, and one that was there
    before stays.

    Args:
        path: The file; its folder is made if absent. It must end in .mp4, .mov or .mkv.
        width: Pixels, even.
        height: Pixels, even.
        fps: Mean frames a second, by which bits are dealt out; NaN where unknown.
        sound: A video whose sound is copied as it is, where an MP4 file can hold it.
        quality: Constant rate factor of H.264, 0 (lossless) to 51.

    Attributes:
        codec: What the frames are encoded with; "mpeg4", which browsers do not play, where nothing better is there.
        has_sound: Whether sound is copied.

    Raises:
        ConfigError: The name does not end in one of these.

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
        self.path = Path(path)
        if self.path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
            raise ConfigError(
                f"{self.path.name!r} cannot name a video.",
                remedy="Use a name that ends in .mp4, .mov or .mkv.",
            )
        self.width, self.height = width, height
        self.fps = fps if isfinite(fps) and fps > 0 else _FALLBACK_FPS
        self.quality = quality
        self.codec = _best_codec()
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._last = -1
        self._sound = None if sound is None else _Sound.open(sound)
        self.has_sound = self._sound is not None

    def __enter__(self) -> Self:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        options = {} if self.path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
        self._container: OutputContainer = av.open(str(self._partial), "w", options=options)
        rate = Fraction(self.fps).limit_denominator(1001)
        stream: Any = self._container.add_stream(self.codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        # MPEG-4 counts ticks in 16 bits.
        self._ticks = _TICKS if self.codec != "mpeg4" else 1000
        stream.codec_context.time_base = Fraction(1, self._ticks)
        if self.codec == "libx264":
            stream.options = {"crf": str(self.quality), "preset": "veryfast"}
        else:
            stream.bit_rate = int(self.width * self.height * self.fps * 0.15)
        self._stream = stream
        if self._sound is not None:
            self._sound.join(self._container)
        return self

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Append a frame.

        Args:
            image: uint8 [height, width, 3], RGB.
            time: Seconds; NaN, or what is not after the frame before it, means one mean interval later.
        """
        import av

        tick = round(time * self._ticks) if isfinite(time) else -1
        if tick <= self._last:
            tick = self._last + (max(1, round(self._ticks / self.fps)) if self._last >= 0 else 1)
        self._last = tick
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = tick, Fraction(1, self._ticks)
        if self._sound is not None:
            self._sound.copy(self._container, until=tick / self._ticks)
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._sound is not None:
                    self._sound.copy(self._container, until=(self._last / self._ticks) + 1 / self.fps)
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            if self._sound is not None:
                self._sound.close()
            self._partial.unlink(missing_ok=True)


class _Sound:
    """The sound of a video, packet by packet, on the clock of its first picture."""

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        self._container = container
        self._stream = container.streams.audio[0]
        self._start = float((video.start_time or 0) * (video.time_base or 0))
        self._packets = iter(container.demux(self._stream))
        self._waiting: Any = None

    @classmethod
    def open(cls, path: Path) -> _Sound | None:
        """The sound, or None where there is none that can be copied."""
        from affectkit.data.video.index import open_container

        if not path.is_file():
            return None
        try:
            container, video = open_container(path)
        except VideoError:
            return None
        sound: Any = next(iter(container.streams.audio), None)
        codec = None if sound is None else sound.codec_context
        if codec is None or codec.codec.canonical_name not in _SOUND:
            container.close()
            return None
        return cls(container, video)

    def join(self, output: OutputContainer) -> None:
        self._output: Any = output.add_stream_from_template(self._stream)

    def copy(self, output: OutputContainer, until: float) -> None:
        """Copy what begins before `until` seconds; damage ends the sound."""
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
                if time < 0:
                    continue
                shift = round(self._start / unit)
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = self._output
                output.mux(packet)

    def close(self) -> None:
        self._container.close()


def _best_codec() -> str:
    """The first encoder that this FFmpeg has."""
    import av

    for name in _CODECS[:-1]:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):
            av.codec.Codec(name, "w")
            return name
    return _CODECS[-1]
