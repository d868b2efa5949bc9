"""Frames that lie on disk as images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.errors import VideoError

__all__ = ["ImageReader"]


class ImageReader(VideoReader):
    """A folder of images, ordered by the numbers in their names, or a single image.

    A folder is listed once; names need no padding (`img2.jpg` comes before `img10.jpg`) and may skip numbers.
    Frame rate and timestamps are unknown (NaN); a single image is at 0 s.

    Args:
        path: Folder or image file.

    Attributes:
        files: The image of each frame.

    Raises:
        VideoError: The folder holds no image or cannot be listed, or the file does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            try:
                listed = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
                # A pipe would block; a link that leads nowhere is a frame that cannot be read.
                images = [file for file in listed if file.is_file() or not file.exists()]
            except OSError as fault:
                raise VideoError(
                    f"The folder cannot be listed: {fault.strerror or fault}.", path=path
                ) from fault
            self.files = sorted((file for file in images if file.name[0] != "."), key=_numeric)
        else:
            self.files = [path] if path.is_file() else []
        if not self.files:
            raise VideoError("There is no image here.", path=path, remedy="Check the path.")
        self.num_frames = len(self.files)
        self.fps = float("nan")
        self.timestamps = np.full(self.num_frames, np.nan) if path.is_dir() else np.zeros(1)

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        from PIL import Image, ImageOps

        for index in indices:
            file = self.files[index]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", Image.DecompressionBombWarning
                    )  # phones have 108 megapixels
                    image = Image.open(file)
                with image:
                    if image.mode[0] in "IF":
                        raise VideoError(
                            f"Pixels of mode {image.mode} do not fit 8 bits.",
                            path=file,
                            frame=index,
                            remedy="Convert the image to 8 bits a channel.",
                        )
                    yield index, np.array(ImageOps.exif_transpose(image).convert("RGB"))
            except Image.DecompressionBombError as fault:
                raise VideoError(
                    f"The image has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels.",
                    path=file,
                    frame=index,
                    remedy="Make it smaller.",
                ) from fault
            except (OSError, SyntaxError, ValueError) as fault:
                raise VideoError(f"The image cannot be read ({fault}).", path=file, frame=index) from fault


def _numeric(file: Path) -> tuple[list[int], str]:
    """Sort key: the numbers in a name, then the name."""
    return [int(number) for number in re.findall(r"\d+", file.stem)], file.name
