"""Folders of frames, found by the numbers in file names, and trees of large folders, listed once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from affectkit.data.video import IMAGE_SUFFIXES, open_video
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.errors import AnnotationError, VideoError

__all__ = [
    "ClipTree",
    "Listing",
    "find_trees",
    "image_fault",
    "list_frames",
    "number_images",
    "read_images",
    "subfolders",
    "walk",
]

Listing = tuple[Path, list[str], list[str]]
"""A folder with the names of its files and of its folders."""

_FRAME = re.compile(
    rf"(?:.*[^0-9])?([0-9]{{1,12}})(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})",
    re.DOTALL | re.IGNORECASE,
)


def list_frames(folder: Path, pattern: re.Pattern[str] = _FRAME) -> dict[int, str]:
    """Names of the images of a folder by the number at the end of the name, in ascending order.

    Args:
        folder: The folder; hidden files are left out.
        pattern: Matches the names of the files to list; group 1 is the number.

    Raises:
        AnnotationError: Two files have the same number.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("006_0180.jpg", "006_00179.jpg", "._006_0180.jpg", "notes.txt"):
        ...     (folder / name).touch()
        >>> list_frames(folder)
        {179: '006_00179.jpg', 180: '006_0180.jpg'}
    """
    found: dict[int, str] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a hundred thousand names
        match = None if name[0] == "." else pattern.fullmatch(name)
        if match is not None and found.setdefault(int(match[1]), name) != name:
            fault = f"{found[int(match[1])]} and {name} are both frame {int(match[1])}."
            raise AnnotationError(fault, path=folder, remedy="Remove the file that does not belong there.")
    return dict(sorted(found.items()))


def walk(root: Path, closed: re.Pattern[str], depth: int = 6) -> Iterator[Listing]:
    """List a tree of folders in sorted order; hidden folders and files and `__MACOSX` are left out.

    Args:
        root: The topmost folder.
        closed: Names of folders that are listed by their parent, but not entered.
        depth: Number of levels, including the root.
    """
    with os.scandir(root) as entries:
        listed = sorted((entry.name, entry.is_dir()) for entry in entries)
    names = [(name, folder) for name, folder in listed if name[0] != "." and name != "__MACOSX"]
    folders = [name for name, folder in names if folder]
    yield root, [name for name, folder in names if not folder], folders
    for name in folders:
        if depth > 1 and closed.fullmatch(name) is None:
            yield from walk(root / name, closed, depth - 1)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, as in `walk`."""
    return next(walk(folder, _FRAME, 1))[2]


def number_images(folders: Iterable[Path]) -> dict[Path, dict[int, str]]:
    """Names of images by folder and number, from the cache if no folder has changed; empty folders are left out.

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
            "names": np.array([name for images in listed for name in images.values()], dtype=np.str_),
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


def read_images(paths: Sequence[Path], indices: Sequence[int]) -> Tensor:
    """Read images as the frames `indices`, uint8 [T, 3, H, W].

    Raises:
        VideoError: An image cannot be read, or has another size than the first one.
    """
    with open_video(paths) as reader:
        try:
            return reader.read(range(len(paths)))
        except VideoError as fault:  # the reader counts the images of the list
            place = int(fault.frame or 0)
            raise VideoError(
                fault.fault, path=paths[place], frame=indices[place], remedy=fault.remedy
            ) from fault


def image_fault(path: Path) -> str | None:
    """Reason why an image cannot be decoded, or None."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("L", (1, 1))  # an eighth of the size is enough to detect a truncated JPEG
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        return f"the image cannot be read: {fault}"
    return None


@dataclass(frozen=True)
class ClipTree:
    """A folder with one folder per subject.

    Args:
        root: The folder.
        clips: Entries of the subjects' folders, by the subject's number and the lower-case name without suffix.
    """

    root: Path
    clips: Mapping[int, Mapping[str, Path]]

    def path(self, subject: int, clip: str) -> Path:
        """Path of a clip; it does not exist if the clip is absent."""
        clips = self.clips.get(subject, {})
        folder = next((path.parent for path in clips.values()), self.root / f"{subject:03d}")
        return clips.get(clip.casefold(), folder / clip)


def find_trees(root: Path, subject: re.Pattern[str]) -> list[ClipTree]:
    """Trees in `root`, or up to three levels below, the highest first; group 1 of `subject` is the number.

    Raises:
        AnnotationError: Two folders are of one subject.
    """
    trees = []
    for folder, _, names in walk(root, subject, depth=4):
        people: dict[int, Path] = {}
        for match in filter(None, map(subject.fullmatch, names)):
            path = folder / match[0]
            if people.setdefault(int(match[1]), path) != path:
                fault = f"{people[int(match[1])].name} and {path.name} are the same subject."
                raise AnnotationError(fault, path=folder, remedy="Keep one of the folders.")
        if people:
            clips = {
                number: {
                    entry.stem.casefold(): entry for entry in sorted(path.iterdir()) if entry.name[0] != "."
                }
                for number, path in people.items()
            }
            trees.append(ClipTree(folder, clips))
    return sorted(trees, key=lambda tree: len(tree.root.parts))
