"""Frames that lie on disk as pictures."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.video.pictures import (
    has_frames,
    open_picture,
    page_numbers,
    page_starts,
    picture_errors,
    to_rgb,
)
from affectkit.data.video.reader import IMAGE_SUFFIXES, VideoReader
from affectkit.data.video.signatures import is_still, picture_format, read_head
from affectkit.errors import VideoError

__all__ = ["ImageReader"]


class ImageReader(VideoReader):
    """A folder of pictures, ordered by the numbers in their names, or the frames of a single picture file.

    A folder is listed once; names need no padding (`img2.jpg` comes before `img10.jpg`) and may skip numbers.

    A picture file has as many frames as it shows: all of an animated GIF, PNG, WebP or AVIF, and all pages of a TIFF
    file. Of the pictures that a phone packs into one JPEG (MPO: depth, gain map, other eye) only the first is read.
    Frame rate and timestamps are those of an animation; of folders and pages they are unknown (NaN), and a single
    picture is at 0 s.

    Args:
        path: Folder or picture file.

    Attributes:
        files: The file of each frame.

    Raises:
        VideoError: The folder holds no picture or cannot be listed.
    """

    _pages: Sequence[int] | None
    """Page of each frame in a single file; None where each frame is the one picture of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            self.files = _list_folder(path)
            self._pages = None
            self.timestamps = np.full(len(self.files), np.nan)
        else:
            status = path.stat()
            self._pages, self.timestamps = _layout(path, status.st_mtime_ns, status.st_size)
            self.files = [path] * len(self.timestamps)
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
        with image:  # once: each frame of an animation builds on those before it
            for index in indices:
                with picture_errors(self.path, index):
                    image.seek(self._pages[index])
                    pixels = to_rgb(image)
                yield index, pixels


def _list_folder(folder: Path) -> list[Path]:
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        # A pipe would block; a link that leads nowhere is a frame that cannot be read.
        files = [file for file in files if file.is_file() or not file.exists()]
    except OSError as fault:
        raise VideoError(f"The folder cannot be listed: {fault.strerror or fault}.", path=folder) from fault
    files = sorted((file for file in files if file.name[0] != "."), key=_numeric)
    if not files:
        raise VideoError("There is no image here.", path=folder, remedy="Check the path.")
    return files


@functools.lru_cache(maxsize=4096)
def _layout(path: Path, mtime: int, size: int) -> tuple[Sequence[int] | None, NDArray[np.float64]]:
    """Pages that are frames, and their times; without pages where the file is one frame or damaged."""
    head = read_head(path)
    if not is_still(picture_format(path, head), head):
        with contextlib.suppress(VideoError), picture_errors(path, 0), open_picture(path) as image:
            pages = page_numbers(image)
            return pages, page_starts(image, pages)
    return None, np.zeros(1)


def _read_one(file: Path, index: int) -> NDArray[np.uint8]:
    """Read a file that is one frame."""
    with picture_errors(file, index), open_picture(file) as image:
        if not has_frames(image):
            image.seek(page_numbers(image)[0])
            return to_rgb(image)
    raise VideoError(
        "This file of a folder of frames has several frames itself.",
        path=file,
        frame=index,
        remedy="Read it by itself, or split it into one file a frame.",
    )


def _numeric(file: Path) -> tuple[list[int], str]:
    """Sort key: the numbers in a name, then the name."""
    return [int(number) for number in re.findall(r"\d+", file.stem)], file.name
