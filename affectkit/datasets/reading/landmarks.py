"""Landmarks in MATLAB files of corpora, mapped to the 68 iBUG points.

They are in pixels of the recorded pictures. Pictures of the same shape and another size count as scaled; pictures of
another shape are cropped, and the position of the points in them is unknown.
"""

from __future__ import annotations

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
from affectkit.datasets.reading.folders import list_frames
from affectkit.datasets.reading.matlab import read_field, read_matrix
from affectkit.errors import AnnotationError, VideoError

__all__ = ["FitFiles", "LandmarkFiles", "PointFiles", "picture_size"]

_NUM_POINTS = 68
_KEPT = 16  # recordings whose points stay in memory, half a megabyte each
_ROUNDING = 2  # tolerance in pixels of the sides of a scaled picture
_FAR = 1.0  # sides of the picture by which a point may be outside; farther points are tracking failures
_FILE = re.compile(r"(?:.*\D)?(\d{1,6})_lm\.mat", re.ASCII | re.IGNORECASE | re.DOTALL)


class LandmarkFiles(ABC):
    """Landmarks of a corpus by recording and frame, from 0.

    Args:
        files: File or folder of each recording.
        places: Index in the 68 points of each of the P given points.
        size: Width and height of the pictures that the coordinates refer to.
    """

    def __init__(self, files: Mapping[str, Path], places: Sequence[int], size: tuple[int, int]) -> None:
        self.files = dict(files)
        self.places = tuple(places)
        self.size = size

    @abstractmethod
    def frames(self, recording: str) -> Collection[int]:
        """Frames with a file or an entry, even an empty one."""

    @abstractmethod
    def read_frame(self, recording: str, frame: int) -> NDArray[np.float32]:
        """Points of one of `frames`, float32 [P, 2], NaN if empty."""

    def read(self, recording: str, frames: Sequence[int]) -> NDArray[np.float32]:
        """Points in the original coordinates, float32 [T, P, 2], NaN for absent frames.

        Raises:
            AnnotationError: A file is damaged or of another form; names file and frame.
        """
        found = np.full((len(frames), len(self.places), 2), np.nan, dtype=np.float32)
        there = self.frames(recording)
        for row, frame in enumerate(frames):
            if frame in there:
                found[row] = self.read_frame(recording, frame)
        return found

    def absent(self, recording: str, frames: Sequence[int]) -> list[int]:
        """Those of `frames` without a file or an entry."""
        there = self.frames(recording)
        return [frame for frame in frames if frame not in there]

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether pictures of a width and height are the recorded ones, perhaps scaled."""
        return abs(size[0] * self.size[1] / self.size[0] - size[1]) <= _ROUNDING

    def points(
        self, recording: str, frames: Sequence[int], size: tuple[int, int], masked: Collection[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Landmarks in pixels of pictures of a width and height; the frames `masked` are known to be wrong.

        Returns:
            Points float32 [T, 68, 2] and their mask bool [T, 68].
        """
        points = torch.zeros(len(frames), _NUM_POINTS, 2)
        mask = torch.zeros(len(frames), _NUM_POINTS, dtype=torch.bool)
        if not self.fits(size):
            return points, mask
        given = self.read(recording, frames)
        sides = np.array(self.size, dtype=np.float32)
        near = (np.abs(given / sides - 0.5) <= 0.5 + _FAR).all(axis=(1, 2))  # False for NaN
        spread = (given.max(axis=1) > given.min(axis=1)).all(axis=-1)
        known = near & spread & np.array([frame not in masked for frame in frames], dtype=bool)
        scaled = (given + 0.5) * (np.array(size, dtype=np.float32) / sides) - 0.5
        rows = torch.from_numpy(known)
        points[:, self.places] = torch.where(rows[:, None, None], torch.from_numpy(scaled), 0.0)
        mask[:, self.places] = rows[:, None]
        return points, mask

    def _check(self, values: NDArray[Any], path: Path, frame: int) -> NDArray[np.float32]:
        if values.shape != (len(self.places), 2):
            raise AnnotationError(
                f"The landmarks are {' x '.join(map(str, values.shape))} numbers, not {len(self.places)} x 2.",
                path=path,
                frame=frame,
                remedy="Unpack the file again, or remove it: frames without landmarks are masked.",
            )
        with np.errstate(over="ignore"):  # overflows become inf, which is masked
            return values.astype(np.float32)


class FitFiles(LandmarkFiles):
    """One file per recording: a structure array `fit` with one entry per frame, its field `pred` P x 2 or empty."""

    def __init__(self, files: Mapping[str, Path], places: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__(files, places, size)
        self._kept: dict[str, NDArray[np.float32]] = {}

    def frames(self, recording: str) -> Collection[int]:
        """See `LandmarkFiles`."""
        return range(len(self._load(recording)))

    def read_frame(self, recording: str, frame: int) -> NDArray[np.float32]:
        """See `LandmarkFiles`."""
        points: NDArray[np.float32] = self._load(recording)[frame]
        return points

    def _load(self, recording: str) -> NDArray[np.float32]:
        """Points of a recording, float32 [N, P, 2]; the last few recordings are kept in memory."""
        if recording not in self._kept:
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            path = self.files.get(recording)
            entries = [] if path is None else read_field(path, "fit", "pred")
            points = np.full((len(entries), len(self.places), 2), np.nan, dtype=np.float32)
            for frame, entry in enumerate(entries):
                if path is not None and entry.size:
                    points[frame] = self._check(entry, path, frame)
            self._kept[recording] = points
        return self._kept[recording]


class PointFiles(LandmarkFiles):
    """One file per frame, with its number in the name: a matrix `pts`, P x 2.

    Numbers count from 0, or from 1 if there is no 0 and the last one is the number of frames.

    Args:
        files: Folder of each recording.
        places: See `LandmarkFiles`.
        size: See `LandmarkFiles`.
        lengths: Number of frames of each recording.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        places: Sequence[int],
        size: tuple[int, int],
        lengths: Mapping[str, int],
    ) -> None:
        super().__init__(files, places, size)
        self._lengths = dict(lengths)
        self._names: dict[str, dict[int, str]] = {}

    def frames(self, recording: str) -> Mapping[int, str]:
        """See `LandmarkFiles`; the names of the files by frame, listed once."""
        if recording not in self._names:
            folder = self.files.get(recording)
            names = {} if folder is None else list_frames(folder, _FILE)
            shift = 0 not in names and max(names, default=0) == self._lengths[recording]
            self._names[recording] = {number - shift: name for number, name in names.items()}
        return self._names[recording]

    def read_frame(self, recording: str, frame: int) -> NDArray[np.float32]:
        """See `LandmarkFiles`."""
        path = self.files[recording] / self.frames(recording)[frame]
        return self._check(read_matrix(path, "pts"), path, frame)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image, or of a video in square pixels, from its header.

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
