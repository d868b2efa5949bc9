"""The media of a clip report: inside the page where small, linked where browsers play them, else as a copy."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video import VideoReader
from affectkit.data.video.index import open_container
from affectkit.inference.pictures.clip_table import ASSUMED_FPS
from affectkit.inference.pictures.encode import VideoWriter
from affectkit.inference.pictures.overlay import first_size, read_frames

__all__ = ["EMBED_MB", "Embed", "PageMedia", "page_media"]

Embed = Literal["auto", "always", "never"]

EMBED_MB: Final = 8.0
"""Videos up to this size are put into the page by default."""

_PLAYED: Final = {  # what every current browser plays, by container
    ".mp4": {"h264", "vp9", "av1"},
    ".m4v": {"h264"},
    ".webm": {"vp8", "vp9", "av1"},
}
_PHOTO, _COPY = 1280, 480  # pixels: longer side of a photo, height of a copy


@dataclass(frozen=True, slots=True)
class PageMedia:
    """What the page shows.

    Args:
        kind: "video" or "image".
        how: "embedded", "linked" or "copied"; a copy may be embedded.
        mime: Of the embedded data.
        data: The file in base64, where it is embedded.
        href: Relative address of the file, where it is not.
        width: Of the frames in pixels, upright, as boxes are given.
        height: Likewise.
        offset: Seconds on the browser's clock at which the first frame is shown.
        note: What was changed, for the reader.
    """

    kind: Literal["video", "image"]
    how: Literal["embedded", "linked", "copied"]
    mime: str
    data: str | None
    href: str | None
    width: int
    height: int
    offset: float = 0.0
    note: str = ""


def page_media(
    video: VideoReader,
    page: Path,
    *,
    embed: Embed = "auto",
    limit_mb: float = EMBED_MB,
    progress: Callable[[int, int], None] | None = None,
) -> PageMedia:
    """Prepare media for a page.

    A photo is always embedded. A video file that browsers play stays as it is; of any other, and of a folder of frames,
    an H.264 copy without sound, at most 480 pixels high, is made beside the page or embedded.

    Args:
        video: The media.
        page: The page, beside which a copy is written.
        embed: "auto" embeds what is at most `limit_mb` large, "always" everything, "never" no video.
        limit_mb: In units of 10⁶ bytes.
        progress: Called with the frames copied and the number in all, where a copy is made.

    Raises:
        VideoError: No frame can be read.
    """
    height, width = first_size(video)
    if video.num_frames == 1 and not video.path.is_dir():
        picture = next(pixels for _, _, pixels in read_frames(video) if not isinstance(pixels, str))
        return PageMedia("image", "embedded", "image/jpeg", _jpeg(picture), None, width, height)
    offset = _played(video.path)
    if offset is not None:
        if _embeds(video.path, embed, limit_mb):
            data, mime = _encode(video.path), f"video/{video.path.suffix.lower().lstrip('.')}"
            mime = mime.replace("m4v", "mp4")
            return PageMedia("video", "embedded", mime, data, None, width, height, offset)
        href = _address(video.path, page)
        return PageMedia("video", "linked", "", None, href, width, height, offset)
    copy = page.with_name(f"{page.stem}.video.mp4")
    note = _copy(video, copy, (height, width), progress)
    if _embeds(copy, embed, limit_mb):
        data = _encode(copy)
        copy.unlink()
        return PageMedia("video", "copied", "video/mp4", data, None, width, height, 0.0, note)
    return PageMedia("video", "copied", "", None, _address(copy, page), width, height, 0.0, note)


def _embeds(path: Path, embed: Embed, limit_mb: float) -> bool:
    return embed == "always" or (embed == "auto" and path.stat().st_size <= limit_mb * 1e6)


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _address(path: Path, page: Path) -> str:
    """The relative address of a file, as seen from the page."""
    path, folder = path.resolve(), page.resolve().parent
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # on another drive
        return path.as_uri()


def _played(path: Path) -> float | None:
    """Whether every browser plays a file: then the time at which it shows the first frame; else None."""
    codecs = _PLAYED.get(path.suffix.lower())
    if codecs is None or not path.is_file():
        return None
    container, stream = open_container(path)
    with container:
        known: Any = stream.codec_context
        if known.codec.canonical_name not in codecs or known.pix_fmt not in ("yuv420p", "yuvj420p"):
            return None
        first = float((stream.start_time or 0) * (stream.time_base or 0))
        whole = (container.start_time or 0) / 1_000_000
        return max(0.0, first - whole)


def _copy(
    video: VideoReader,
    path: Path,
    size: tuple[int, int],
    progress: Callable[[int, int], None] | None,
) -> str:
    """Write what browsers play; returns a sentence about it."""
    height = min(_COPY, size[0]) // 2 * 2 or 2
    width = max(2, round(size[1] * height / size[0]) // 2 * 2)
    black = np.zeros((height, width, 3), np.uint8)
    with VideoWriter(path, width, height, video.fps, quality=25) as writer:
        for number, time, pixels in read_frames(video):
            writer.write(black if isinstance(pixels, str) else _fit(pixels, width, height), time)
            if progress is not None:
                progress(number + 1, video.num_frames)
    kind = "H.264" if writer.codec != "mpeg4" else "MPEG-4"
    pace = "" if np.isfinite(video.timestamps).all() else f", at {ASSUMED_FPS:g} frames a second"
    return f"Browsers do not play the original; this is a copy in {kind}, {width} × {height} pixels{pace}."


def _fit(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    small = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_PHOTO, _PHOTO))
    file = BytesIO()
    picture.save(file, format="JPEG", quality=88)
    return base64.b64encode(file.getvalue()).decode("ascii")
