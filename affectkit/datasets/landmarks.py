"""Landmarks that corpora ship beside their frames: MATLAB files, put in the places of the 68 iBUG points.

They are given in pixels of the pictures as recorded. Pictures of the same shape in another size are taken for
those, scaled; pictures of another shape have been cut, and where the points lie in them is not known.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.data.video.display import square_size
from affectkit.data.video.index import open_container
from affectkit.datasets.matlab import read_field, read_matrix
from affectkit.errors import AnnotationError, VideoError

__all__ = ["FitFiles", "LandmarkFiles", "PointFiles", "picture_size"]

_NUM_POINTS = 68
_KEPT = 16  # recordings whose points stay in memory, half a megabyte each
_ROUNDING = 2  # pixels by which the sides of a scaled picture may be off
_FAR = 1.0  # sides of the picture by which a point may lie outside of it; what lies farther was lost by the tracker
_FILE = re.compile(r"(?:.*\D)?(\d{1,6})_lm\.mat", re.ASCII | re.IGNORECASE | re.DOTALL)


class LandmarkFiles(ABC):
    """The landmarks of a corpus, by recording and by frame, counted from 0.

    Args:
        places: Which of the 68 points each of its P points is.
        size: Width and height of the pictures in whose pixels they are given.
    """

    def __init__(self, places: Sequence[int], size: tuple[int, int]) -> None:
        self.places = tuple(places)
        self.size = size

    @abstractmethod
    def read(self, recording: str, frames: Sequence[int]) -> NDArray[np.float32]:
        """Read points as they are given.

        Args:
            recording: Its name.
            frames: T frame numbers; there may be none of them.

        Returns:
            float32 [T, P, 2], NaN where there is nothing.

        Raises:
            AnnotationError: A file cannot be read, or holds something else; names file and frame.
        """

    @abstractmethod
    def absent(self, recording: str, frames: Sequence[int]) -> list[int]:
        """The frames of which there is no file or entry; an entry that says that nothing was found is one."""

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether pictures of a width and height show all that was recorded."""
        return abs(size[0] * self.size[1] / self.size[0] - size[1]) <= _ROUNDING

    def points(
        self, recording: str, frames: Sequence[int], size: tuple[int, int], masked: Collection[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Landmarks in pixels of given pictures.

        Args:
            recording: Its name.
            frames: T frame numbers.
            size: Width and height of the pictures.
            masked: Frames whose points are known to be wrong.

        Returns:
            Points float32 [T, 68, 2], and their mask bool [T, 68].

        Raises:
            AnnotationError: See `read`.
        """
        points = torch.zeros(len(frames), _NUM_POINTS, 2)
        mask = torch.zeros(len(frames), _NUM_POINTS, dtype=torch.bool)
        if not self.fits(size):
            return points, mask
        given = self.read(recording, frames)
        sides = np.array(self.size, dtype=np.float32)
        near = (np.abs(given / sides - 0.5) <= 0.5 + _FAR).all(axis=(1, 2))  # not where NaN
        spread = (given.max(axis=1) > given.min(axis=1)).all(axis=-1)
        known = near & spread & np.array([frame not in masked for frame in frames], dtype=bool)
        scaled = (given + 0.5) * (np.array(size, dtype=np.float32) / sides) - 0.5
        rows = torch.from_numpy(known)
        points[:, self.places] = torch.where(rows[:, None, None], torch.from_numpy(scaled), 0.0)
        mask[:, self.places] = rows[:, None]
        return points, mask


class FitFiles(LandmarkFiles):
    """A file a recording: a structure array `fit` with an entry a frame, its field `pred` P x 2 or empty.

    Args:
        files: The file of each recording.
        places: See `LandmarkFiles`.
        size: See `LandmarkFiles`.
    """

    def __init__(self, files: Mapping[str, Path], places: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__(places, size)
        self.files = dict(files)
        self._kept: dict[str, NDArray[np.float32]] = {}

    def read(self, recording: str, frames: Sequence[int]) -> NDArray[np.float32]:
        """See `LandmarkFiles`."""
        found = np.full((len(frames), len(self.places), 2), np.nan, dtype=np.float32)
        whole = self._whole(recording)
        for row, frame in enumerate(frames):
            if 0 <= frame < len(whole):
                found[row] = whole[frame]
        return found

    def absent(self, recording: str, frames: Sequence[int]) -> list[int]:
        """See `LandmarkFiles`."""
        length = len(self._whole(recording))
        return [frame for frame in frames if not 0 <= frame < length]

    def _whole(self, recording: str) -> NDArray[np.float32]:
        """The points of a recording, the last few recordings' being kept: float32 [N, P, 2]."""
        if recording not in self._kept:
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            path = self.files.get(recording)
            count = len(self.places)
            self._kept[recording] = (
                np.empty((0, count, 2), dtype=np.float32) if path is None else _read_fit(path, count)
            )
        return self._kept[recording]


class PointFiles(LandmarkFiles):
    """A file a frame, its number in its name: a matrix `pts`, P x 2.

    Numbers count from 0. Where there is no 0 and the last one is that of the last label frame, they can only
    count from 1.

    Args:
        folders: The folder of each recording.
        lengths: Frames of each recording.
        places: See `LandmarkFiles`.
        size: See `LandmarkFiles`.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        lengths: Mapping[str, int],
        places: Sequence[int],
        size: tuple[int, int],
    ) -> None:
        super().__init__(places, size)
        self.folders = dict(folders)
        self._lengths = dict(lengths)
        self._names: dict[str, dict[int, str]] = {}

    def read(self, recording: str, frames: Sequence[int]) -> NDArray[np.float32]:
        """See `LandmarkFiles`."""
        found = np.full((len(frames), len(self.places), 2), np.nan, dtype=np.float32)
        names = self._list(recording)
        for row, frame in enumerate(frames):
            if frame in names:
                path = self.folders[recording] / names[frame]
                found[row] = _checked(read_matrix(path, "pts"), len(self.places), path, frame)
        return found

    def absent(self, recording: str, frames: Sequence[int]) -> list[int]:
        """See `LandmarkFiles`."""
        names = self._list(recording)
        return [frame for frame in frames if frame not in names]

    def _list(self, recording: str) -> dict[int, str]:
        """Names of a recording's files by frame, listed once."""
        if recording not in self._names:
            folder = self.folders.get(recording)
            names = {} if folder is None else _numbered(folder)
            if 0 not in names and max(names, default=0) == self._lengths[recording]:
                names = {number - 1: name for number, name in names.items()}
            self._names[recording] = names
        return self._names[recording]


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image or of a video in square pixels, from its head.

    Raises:
        VideoError: It cannot be read.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        from PIL import Image

        try:
            with Image.open(path) as image:
                return image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
            raise VideoError(f"The image cannot be read: {fault}.", path=path) from fault
    container, stream = open_container(path)
    with container:
        return square_size(stream.width, stream.height, stream.sample_aspect_ratio)


def _numbered(folder: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries if not entry.name.startswith(".")):
            match = _FILE.fullmatch(name)
            if match is not None and names.setdefault(int(match[1]), name) != name:
                raise AnnotationError(
                    f"{names[int(match[1])]} and {name} are both frame {int(match[1])}.",
                    path=folder,
                    line=1,
                    remedy="Remove the one that does not belong there.",
                )
    return names


def _read_fit(path: Path, count: int) -> NDArray[np.float32]:
    """The points of a file with a structure array, float32 [N, P, 2]."""
    entries = read_field(path, "fit", "pred")
    points = np.full((len(entries), count, 2), np.nan, dtype=np.float32)
    for frame, entry in enumerate(entries):
        if entry.size:
            points[frame] = _checked(entry, count, path, frame)
    return points


def _checked(values: NDArray[Any], count: int, path: Path, frame: int) -> NDArray[np.float32]:
    """Points of a frame; what single precision cannot hold is as lost as what is not a number."""
    if values.shape != (count, 2):
        raise AnnotationError(
            f"The landmarks are {' x '.join(map(str, values.shape))} numbers, not {count} x 2.",
            path=path,
            frame=frame,
            remedy="Unpack the file again, or remove it: frames without landmarks are masked.",
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
