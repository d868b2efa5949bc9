"""Many large folders of images, listed once: trees are walked around them, and their listings are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from affectkit.datasets.reading.folders import list_frames
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays

__all__ = ["image_fault", "number_images", "walk"]


def walk(root: Path, closed: re.Pattern[str], depth: int = 6) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Go through a tree in sorted order, without entering folders that hold too much.

    Args:
        root: Where to start.
        closed: Names of folders that are listed and not entered; hidden ones and `__MACOSX` are left out.
        depth: How many levels are listed, the root's own included.

    Yields:
        Each folder with the names of its files and of all its folders, sorted.
    """
    with os.scandir(root) as entries:
        listed = sorted((entry.name, entry.is_dir()) for entry in entries)
    names = [(name, folder) for name, folder in listed if name[0] != "." and name != "__MACOSX"]
    folders = [name for name, folder in names if folder]
    yield root, [name for name, folder in names if not folder], folders
    for name in folders:
        if depth > 1 and closed.fullmatch(name) is None:
            yield from walk(root / name, closed, depth - 1)


def number_images(folders: Iterable[Path]) -> dict[Path, dict[int, str]]:
    """Name the images of folders by their numbers; from the cache where no folder changed.

    Args:
        folders: The folders.

    Returns:
        Names by folder and number, without the folders that hold no image.

    Raises:
        AnnotationError: Two images of a folder have the same number.
    """
    paths = sorted(folders)
    key = fingerprint("images 1", paths)
    arrays = load_arrays(key)
    if arrays is None:
        listed = [list_frames(path) for path in paths]
        arrays = {
            "numbers": np.array([number for images in listed for number in images], dtype=np.int64),
            "names": np.array([path.name for images in listed for path in images.values()], dtype=np.str_),
            "ends": np.cumsum([len(images) for images in listed], dtype=np.int64),
        }
        save_arrays(key, arrays)
    numbers, names = arrays["numbers"].tolist(), arrays["names"].tolist()
    ends = [0, *arrays["ends"].tolist()]
    return {
        path: dict(zip(numbers[first:end], names[first:end], strict=True))
        for path, first, end in zip(paths, ends[:-1], ends[1:], strict=True)
        if end > first
    }


def image_fault(path: Path) -> str | None:
    """Say why an image cannot be decoded; None for a sound one."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft(
                "L", (1, 1)
            )  # a JPEG is decoded at an eighth of its size, which finds what is cut off
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        return f"cannot be read: {fault}"
    return None
