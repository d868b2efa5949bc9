"""Media kinds by the first bytes of a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

__all__ = ["Picture", "is_still", "is_video_head", "picture_format", "read_head"]

Picture = Literal["avif", "bmp", "gif", "heif", "jp2", "jpeg", "png", "pnm", "tiff", "webp"]

_HEAD: Final = 1 << 15  # bytes; Matroska and ASF list their streams within
_PICTURES: Final[tuple[tuple[Picture, bytes], ...]] = (
    ("bmp", rb"BM.{4}\0{4}"),
    ("gif", rb"GIF8[79]a"),
    ("jp2", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("pnm", rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s"),
    ("tiff", rb"II[*+]\0|MM\0[*+]"),
    ("webp", rb"RIFF.{4}WEBP"),
)
_STILL_BRANDS: Final[dict[bytes, Picture]] = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), "heif"),
}
_NO_VIDEO_BRANDS: Final = (b"M4A ", b"M4B ", b"M4P ", b"crx ")  # audio; raw photos of Canon
_VIDEOS: Final = (
    rb"\0.{3}(ftyp|moov|wide|free|skip|pnot)|.{4}mdat",  # mp4, QuickTime
    rb"\x1a\x45\xdf\xa3(?=.*\bV_)",  # Matroska, WebM
    rb"RIFF.{4}AVI |FLV\x01|DKIF\0\0|YUV4MPEG2 |\.RMF\0\0",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11(?=.*\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd)",  # WMV
    rb"OggS(?=.{20,300}?(\x80theora|OVP80|\x01video|BBCD\0))",
    rb"\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47",  # transport streams, also from camcorders
    rb"\x06\x0e\x2b\x34\x02\x05\x01\x01|\x1f\x07\0[\x3f\xbf]",  # MXF, DV
    rb"\0\0\x01[\xb0\xb3\xb5\xb8\xba]",  # MPEG-1, 2, 4
    rb"\0?\0\0\x01[\x09\x27\x67\x40\x42\x46]",  # H.264, HEVC
)
_MATCH_VIDEO: Final = re.compile(b"|".join(_VIDEOS), re.DOTALL)


def read_head(path: Path) -> bytes:
    """Read the first bytes of a file; empty if it is not a file or cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def picture_format(path: Path, head: bytes) -> Picture | None:
    """Return the format of a picture file, or None for all other files.

    Only the suffix distinguishes a raw motion-JPEG stream from a JPEG file.
    """
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        listed = re.findall(rb".{4}", head[8 : int.from_bytes(head[:4])], re.DOTALL)
        # "mif1" is any still picture; the compatible brands decide.
        return "avif" if brand == b"mif1" and b"avif" in listed else _STILL_BRANDS.get(brand)
    if head[:3] == b"\xff\xd8\xff" and path.suffix.lower() in (".mjpeg", ".mjpg"):
        return None
    return next((name for name, magic in _PICTURES if re.match(magic, head, re.DOTALL)), None)


def is_still(picture: Picture | None, head: bytes) -> bool:
    """Check whether the first bytes of a picture prove that it has one frame."""
    if picture == "webp":
        return head[12:16] != b"VP8X" or not int.from_bytes(head[20:21]) & 2
    return picture in ("bmp", "heif", "jp2", "jpeg", "pnm")


def is_video_head(head: bytes) -> bool:
    """Check whether the first bytes, not of a picture, are those of a video."""
    if head[4:8] == b"ftyp" and head[8:12] in _NO_VIDEO_BRANDS:
        return False
    return head[:3] == b"\xff\xd8\xff" or _MATCH_VIDEO.match(head) is not None
