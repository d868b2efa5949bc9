"""Picture files: their frames, and their pixels as 8-bit RGB."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.heif import read_heif
from affectkit.data.video.signatures import picture_format, read_head
from affectkit.errors import VideoError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["has_frames", "open_picture", "page_numbers", "page_starts", "picture_errors", "to_rgb"]

_ANIMATED: Final = ("AVIF", "GIF", "PNG", "WEBP")
_SUBFILE_TYPE: Final = 254  # TIFF: bit 0 marks a smaller copy of another page, bit 2 a mask
_DAMAGE: Final = (  # raised by Pillow on damaged files
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError),
    *(ArithmeticError, LookupError, struct.error, zlib.error),
)
_SHORTEST, _INSTEAD = 10, 100  # milliseconds: browsers show a frame of no duration for a tenth of a second


@contextlib.contextmanager
def picture_errors(path: Path, frame: int) -> Iterator[None]:
    """Turn whatever is raised while a picture is read into errors that name file and frame; ignore warnings."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # phones have 108 megapixels; damage is told by an error
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
    """Whether a picture has several frames."""
    # Counting those of a GIF takes a pass over the file.
    return (
        bool(getattr(image, "is_animated", False)) if image.format == "GIF" else len(page_numbers(image)) > 1
    )


def page_numbers(image: Image.Image) -> Sequence[int]:
    """Pages of a picture that are frames.

    The still that stands in for an animated PNG, smaller copies and masks in TIFF files, and all but the first picture
    of an MPO file (depth, gain map, other eye) are none.

    Raises:
        VideoError: There is none.
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
            "The image is a preview only, as in camera raw files.", remedy="Save it as JPEG or TIFF."
        )
    return shown


def page_starts(image: Image.Image, pages: Sequence[int]) -> NDArray[np.float64]:
    """Seconds from the first frame to each, float64 [pages]; NaN where the format does not say."""
    if len(pages) == 1:
        return np.zeros(1)
    if image.format not in _ANIMATED:
        return np.full(len(pages), np.nan)
    lasts = []
    for page in pages:
        with contextlib.suppress(*_DAMAGE):  # damage shows when it is read
            image.seek(page)
            if image.format in ("AVIF", "WEBP"):
                image.load()  # only then are their durations known
        duration = float(image.info.get("duration", 0))
        lasts.append(duration if duration > _SHORTEST else _INSTEAD)
    return np.cumsum([0.0, *lasts[:-1]]) / 1000


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode the current page to uint8 RGB [H, W, 3], held as the camera was.

    16-bit values keep their upper 8 bits, floating-point values range from 0 (black) to 1 (white), and what is
    transparent shows white.

    Raises:
        VideoError: Values are beyond that range.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        return np.repeat(_grey(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    numbers = np.asarray(values, np.float64)
    limit = 1 if values.dtype.kind == "f" else 65535
    if not (numbers.min() >= 0 and numbers.max() <= limit):  # also where they are NaN
        raise VideoError(
            f"The values of the image range from {numbers.min():g} to {numbers.max():g}, not from 0 to {limit}.",
            remedy="Save it with 8 or 16 bits a channel.",
        )
    return np.asarray(np.rint(numbers * 255) if limit == 1 else numbers // 256, np.uint8)
