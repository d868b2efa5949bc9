"""Parts of HTML pages: templates, and media that are embedded, linked or copied."""

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

__all__ = ["EMBED_MB", "TEMPLATES", "Embed", "PageMedia", "encode_jpeg", "page_media", "render_page"]

Embed = Literal["auto", "always", "never"]

EMBED_MB: Final = 8.0
"""Default size limit of embedded videos."""

TEMPLATES: Final = Path(__file__).parent / "templates"
_PLAYED: Final = {  # codecs that every current browser plays, by container
    ".mp4": {"h264", "vp9", "av1"},
    ".m4v": {"h264"},
    ".webm": {"vp8", "vp9", "av1"},
}
_PHOTO, _COPY = 1280, 480  # pixels: longer side of a photo, height of a copy


def render_page(template: str, **values: Any) -> str:
    """Fill a template; text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    import affectkit

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=affectkit.__version__, **values)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 88) -> str:
    """Encode a picture, uint8 [H, W, 3], as a JPEG in base64; sides of more than 1280 pixels are reduced."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_PHOTO, _PHOTO))
    file = BytesIO()
    picture.save(file, format="JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode("ascii")


@dataclass(frozen=True, slots=True)
class PageMedia:
    """Media of a page.

    Args:
        kind: "video" or "image".
        how: "embedded", "linked" or "copied"; a copy may be embedded.
        mime: MIME type of embedded data.
        data: The embedded file in base64, or None.
        href: Relative address of a file that is not embedded, or None.
        width: Width of the upright frames in pixels, the unit of boxes.
        height: Height of the upright frames.
        offset: Time of the first frame on the browser's clock, in seconds.
        note: Description of a copy, for the reader.
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

    A photo is always embedded. A video file that browsers play is unchanged; of any other, and of a folder of frames,
    an H.264 copy without sound, at most 480 pixels high, is embedded or written beside the page.

    Args:
        video: The media.
        page: The page.
        embed: "auto" embeds videos of at most `limit_mb`, "always" all videos, "never" none.
        limit_mb: Size limit in units of 10⁶ bytes.
        progress: Called with the numbers of frames copied and in all, if a copy is made.

    Raises:
        VideoError: No frame can be read.
    """
    size = first_size(video)
    if video.num_frames == 1 and not video.path.is_dir():
        picture = next(pixels for _, _, pixels in read_frames(video) if not isinstance(pixels, str))
        return PageMedia("image", "embedded", "image/jpeg", encode_jpeg(picture), None, size[1], size[0])
    path, offset, note = video.path, _start_if_played(video.path), ""
    is_copy = offset is None
    if is_copy:
        path = page.with_name(f"{page.stem}.video.mp4")
        note = _copy(video, path, size, progress)
    data = href = None
    if embed == "always" or (embed == "auto" and path.stat().st_size <= limit_mb * 1e6):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        if is_copy:
            path.unlink()
    else:
        href = _address(path, page)
    how: Literal["embedded", "linked", "copied"] = "copied" if is_copy else "embedded" if data else "linked"
    mime = "video/webm" if path.suffix.lower() == ".webm" else "video/mp4"
    return PageMedia("video", how, mime, data, href, size[1], size[0], offset or 0.0, note)


def _address(path: Path, page: Path) -> str:
    """The address of a file relative to the page."""
    path, folder = path.resolve(), page.resolve().parent
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # on another drive
        return path.as_uri()


def _start_if_played(path: Path) -> float | None:
    """If every browser plays a file, the time of its first frame; else None."""
    codecs = _PLAYED.get(path.suffix.lower())
    if codecs is None or not path.is_file():
        return None
    container, stream = open_container(path)
    with container:
        known: Any = stream.codec_context
        if known.codec.canonical_name not in codecs or known.pix_fmt not in ("yuv420p", "yuvj420p"):
            return None
        first = float((stream.start_time or 0) * (stream.time_base or 0))
        return max(0.0, first - (container.start_time or 0) / 1_000_000)


def _copy(
    video: VideoReader, path: Path, size: tuple[int, int], progress: Callable[[int, int], None] | None
) -> str:
    """Write a copy that browsers play; returns its description."""
    import cv2

    height = min(_COPY, size[0]) // 2 * 2 or 2
    width = max(2, round(size[1] * height / size[0]) // 2 * 2)
    with VideoWriter(path, width, height, video.fps, quality=25) as writer:
        for number, time, pixels in read_frames(video):
            picture = (
                np.zeros((2, 2, 3), np.uint8) if isinstance(pixels, str) else np.ascontiguousarray(pixels)
            )
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            writer.write(np.asarray(small, np.uint8), time)
            if progress is not None:
                progress(number + 1, video.num_frames)
    kind = "H.264" if writer.codec != "mpeg4" else "MPEG-4"
    pace = "" if np.isfinite(video.timestamps).all() else f", at {ASSUMED_FPS:g} frames a second"
    return f"Browsers do not play the original; this is a copy in {kind}, {width} × {height} pixels{pace}."
