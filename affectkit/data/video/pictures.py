"""Picture files and folders of them: their frames, and pixels as 8-bit RGB."""

from __future__ import annotations

import contextlib
import functools
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.heif import read_heif
from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.data.video.signatures import is_still, picture_format, read_head
from affectkit.errors import VideoError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageReader", "has_frames", "open_picture", "picture_errors", "to_rgb"]

_ANIMATED: Final = ("AVIF", "GIF", "PNG", "WEBP")
_SUBFILE_TYPE: Final = 254  # TIFF: bit 0 marks a smaller copy of another page, bit 2 a mask
_DAMAGE: Final = (  # raised by Pillow on damaged files
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError),
    *(ArithmeticError, LookupError, struct.error, zlib.error),
)
_SHORTEST, _INSTEAD = 10, 100  # milliseconds: browsers show frames without duration for a tenth of a second


class ImageReader(VideoReader):
    """Reader of a folder or list of pictures, or of the frames of a single picture file.

    Folders are sorted by the numbers in file names, which need no padding (`img2.jpg` comes before `img10.jpg`) and may
    have gaps. Only the first picture of an MPO file (JPEG with depth, gain map or other eye) is read. Frame rate and
    timestamps are known for animations; they are NaN for folders, lists and pages, and a single picture is at 0 s.

    Attributes:
        files: File of each frame.
    """

    _pages: Sequence[int] | None
    """Page of each frame in a single file; None where each file is one frame."""

    def __init__(self, path: Path | list[Path]) -> None:
        self._pages = None
        if isinstance(path, Path) and not path.is_dir():
            status = path.stat()
            self._pages, self.timestamps = _read_layout(path, status.st_mtime_ns, status.st_size)
            self.path, self.files = path, [path] * len(self.timestamps)
        else:
            self.files = path if isinstance(path, list) else _list_folder(path)
            self.path = path if isinstance(path, Path) else Path(*self.files[:1]).parent
            self.timestamps = np.full(len(self.files), np.nan)
        self.num_frames = len(self.files)
        self.fps = float("nan")
        if self.num_frames > 1 and self.timestamps[-1] > 0:
            self.fps = (self.num_frames - 1) / float(self.timestamps[-1])

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self._pages is None:
            yield from ((index, _read_one(self.files[index], index)) for index in indices)
            return
        with picture_errors(self.path, indices[0]):
            image = open_picture(self.path)
        with image:  # once: frames of an animation build on each other
            for index in indices:
                with picture_errors(self.path, index):
                    image.seek(self._pages[index])
                    pixels = to_rgb(image)
                yield index, pixels


def _list_folder(folder: Path) -> list[Path]:
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        # A pipe would block; a broken link is a frame that cannot be read.
        files = [file for file in files if file.is_file() or not file.exists()]
    except OSError as fault:
        raise VideoError(f"The folder cannot be listed: {fault.strerror or fault}.", path=folder) from fault
    files = [file for file in files if file.name[0] != "."]
    if not files:
        raise VideoError("There is no image here.", path=folder, remedy="Check the path.")
    return sorted(files, key=lambda file: ([int(n) for n in re.findall(r"\d+", file.stem)], file.name))


@functools.lru_cache(maxsize=4096)
def _read_layout(path: Path, mtime: int, size: int) -> tuple[Sequence[int] | None, NDArray[np.float64]]:
    """Pages that are frames, and their times; no pages if the file is one frame or damaged."""
    head = read_head(path)
    if not is_still(picture_format(path, head), head):
        with contextlib.suppress(VideoError), picture_errors(path, 0), open_picture(path) as image:
            pages = _page_numbers(image)
            return pages, _page_starts(image, pages)
    return None, np.zeros(1)


def _read_one(file: Path, index: int) -> NDArray[np.uint8]:
    """Read a file with one frame."""
    with picture_errors(file, index), open_picture(file) as image:
        if not has_frames(image):
            image.seek(_page_numbers(image)[0])
            return to_rgb(image)
    raise VideoError(
        "This frame file has several frames.",
        path=file,
        frame=index,
        remedy="Read it as a clip, or split it into one file per frame.",
    )


@contextlib.contextmanager
def picture_errors(path: Path, frame: int) -> Iterator[None]:
    """Convert all errors of reading to `VideoError` with file and frame; ignore warnings."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # phones have 108 megapixels; damage raises an error
            yield
    except VideoError as fault:
        raise VideoError(fault.fault, path=path, frame=frame, remedy=fault.remedy) from fault
    except Image.DecompressionBombError as fault:
        raise VideoError(
            f"The image has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels.",
            path=path,
            frame=frame,
            remedy="Make it smaller.",
        ) from fault
    except _DAMAGE as fault:
        raise VideoError(f"The image cannot be read ({fault}).", path=path, frame=frame) from fault


def open_picture(path: Path) -> Image.Image:
    """Open a picture file of any kind; pixels are decoded later, except in HEIF files."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except UnidentifiedImageError:
        if picture_format(path, read_head(path)) != "heif":
            raise
        return read_heif(path)


def has_frames(image: Image.Image) -> bool:
    """Check whether a picture has several frames."""
    if image.format == "GIF":  # counting takes a pass over the file
        return bool(getattr(image, "is_animated", False))
    return len(_page_numbers(image)) > 1


def _page_numbers(image: Image.Image) -> Sequence[int]:
    """Pages of a picture that are frames.

    Excluded are the default image of an animated PNG, smaller copies and masks in TIFF files, and all but the first
    picture of an MPO file (depth, gain map, other eye).
    """
    pages = range(getattr(image, "n_frames", 1))
    if image.format in _ANIMATED:
        return pages[1:] if image.info.get("default_image") else pages
    if image.format != "TIFF":
        return pages[:1]
    shown = []
    for page in pages:
        image.seek(page)
        if not image.getexif().get(_SUBFILE_TYPE, 0) & 5:
            shown.append(page)
    if not shown:
        raise VideoError(
            "The image is only a preview, as in camera raw files.", remedy="Save it as JPEG or TIFF."
        )
    return shown


def _page_starts(image: Image.Image, pages: Sequence[int]) -> NDArray[np.float64]:
    """Seconds from the first frame to each frame, float64 [pages]; NaN if the format does not store times."""
    if len(pages) == 1:
        return np.zeros(1)
    if image.format not in _ANIMATED:
        return np.full(len(pages), np.nan)
    durations = []
    for page in pages:
        with contextlib.suppress(*_DAMAGE):  # reported when the frame is read
            image.seek(page)
            if image.format in ("AVIF", "WEBP"):
                image.load()  # durations are unknown before
        duration = float(image.info.get("duration", 0))
        durations.append(duration if duration > _SHORTEST else _INSTEAD)
    return np.cumsum([0.0, *durations[:-1]]) / 1000


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode the current page to upright uint8 RGB [H, W, 3].

    16-bit values keep their upper 8 bits, floating-point values range from 0 (black) to 1 (white), and transparency is
    blended with white.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        limit = 1 if values.dtype.kind == "f" else 65535
        numbers = values.astype(np.float64)
        if not (numbers.min() >= 0 and numbers.max() <= limit):  # also for NaN
            raise VideoError(
                f"The values of the image range from {numbers.min():g} to {numbers.max():g}, not from 0 to {limit}.",
                remedy="Save it with 8 or 16 bits per channel.",
            )
        grey = np.rint(numbers * 255) if limit == 1 else numbers // 256
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
