"""Folders of frames, found by the numbers in their names: padding and what stands before the number do not matter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.errors import AnnotationError

__all__ = ["ClipTree", "find_trees", "list_frames", "subfolders"]

_STEM = re.compile(r"(?:.*[^0-9])?([0-9]{1,12})", re.DOTALL)


def list_frames(folder: Path) -> dict[int, Path]:
    """The images of a folder by the number at the end of their names, in ascending order.

    Hidden files and names that do not end in a number are left out.

    Args:
        folder: Listed once.

    Raises:
        AnnotationError: Two images have the same number.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("006_0180.jpg", "006_00179.jpg", "._006_0180.jpg", "notes.txt"):
        ...     (folder / name).touch()
        >>> list(list_frames(folder))
        [179, 180]
    """
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a hundred thousand times
            match = _STEM.fullmatch(stem)
            if match is None or suffix.lower() not in IMAGE_SUFFIXES or entry.name.startswith("."):
                continue
            number = int(match[1])
            if number in found:
                raise AnnotationError(
                    f"{found[number].name} and {entry.name} are both frame {number}.",
                    path=folder,
                    remedy="Remove the one that does not belong to the clip.",
                )
            found[number] = folder / entry.name
    return dict(sorted(found.items()))


class ClipTree:
    """A folder that holds a folder a subject, which holds the clips.

    Args:
        root: The folder.
        people: The folder of each subject, by the number in its name.
    """

    def __init__(self, root: Path, people: Mapping[int, Path]) -> None:
        self.root = root
        self.people = people
        self._clips: dict[int, dict[str, Path]] = {}

    def clips(self, subject: int) -> Mapping[str, Path]:
        """What a subject's folder holds, by its name without suffix, in lower case; listed once."""
        if subject not in self._clips:
            self._clips[subject] = self._list(subject) if subject in self.people else {}
        return self._clips[subject]

    def _list(self, subject: int) -> dict[str, Path]:
        entries = sorted(self.people[subject].iterdir())
        return {path.stem.casefold(): path for path in entries if not path.name.startswith(".")}

    def path(self, subject: int, clip: str) -> Path:
        """Where a clip lies; a path that leads nowhere if it is absent."""
        nowhere = self.people.get(subject, self.root / f"{subject:03d}") / clip
        return self.clips(subject).get(clip.casefold(), nowhere)


def find_trees(root: Path, subject: re.Pattern[str], depth: int = 3) -> list[ClipTree]:
    """Find the folders whose folders are named like subjects, the highest first.

    Args:
        root: Where to look; it may be such a folder itself.
        subject: Matches a subject's folder; group 1 is its number.
        depth: How many levels below `root` are looked at.
    """
    trees, level = [], [root]
    for _ in range(depth + 1):
        below = []
        for folder in level:
            people, others = _people(folder, subject)
            if people:
                trees.append(ClipTree(folder, people))
            below += others
        level = below
    return trees


def _people(folder: Path, subject: re.Pattern[str]) -> tuple[dict[int, Path], list[Path]]:
    people: dict[int, Path] = {}
    others = []
    for path in subfolders(folder):
        match = subject.fullmatch(path.name)
        if match is None:
            others.append(path)
        elif people.setdefault(int(match[1]), path) != path:
            raise AnnotationError(
                f"{people[int(match[1])].name} and {path.name} are the same subject.",
                path=folder,
                remedy="Keep one of the folders.",
            )
    return people, others


def subfolders(folder: Path) -> Iterator[Path]:
    """The folders in a folder, sorted; hidden ones and `__MACOSX`, which archives bring along, are left out."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX":
                yield Path(entry.path)
