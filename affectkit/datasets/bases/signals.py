"""Signals of the faces of a dataset: measured once, kept on disk."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from affectkit.data.storage import cache_folder
from affectkit.data.video import open_video
from affectkit.datasets.reading.signal_files import SignalFiles, media_state
from affectkit.errors import AnnotationError, VideoError
from affectkit.faces import (
    SIGNALS_VERSION,
    Face,
    PictureSpec,
    align_face,
    five_points,
    measure_signals,
    picture_transform,
    transform_points,
)

if TYPE_CHECKING:
    from affectkit.datasets.bases.dataset import AffectDataset

__all__ = ["ClipSignals", "NoFaceError", "default_folder"]

_TOGETHER: Final = 32  # frames that are read at once


class NoFaceError(VideoError):
    """No frame of a clip shows a face."""


def default_folder(root: Path) -> Path:
    """Folder of the signals of the corpus at `root`: `.signals` beside it if writable, else the user's cache."""
    home = (root.parent if root.is_file() else root).resolve()
    beside, cache = home.parent / ".signals", cache_folder()
    ready = beside if beside.is_dir() else home.parent
    if cache is None or os.access(ready, os.W_OK):
        return beside / home.name
    return cache / "signals" / home.name


class ClipSignals:
    """Signals of the clips of a dataset, measured on first use.

    The frames of a recording that several clips share are measured together, as loaded from disk, before any crop.
    Unreadable frames, and frames without the main face, are NaN.

    Args:
        dataset: The dataset.
        folder: Folder of the files.
        version: Version of the measurement; that of `affectkit.faces.measure_signals` by default.
    """

    def __init__(self, dataset: AffectDataset, folder: Path, version: str | None = None) -> None:
        self.dataset = dataset
        self.files = SignalFiles(folder, version or SIGNALS_VERSION)
        self._known: dict[int, str] = {}  # key of each clip whose frames are measured

    @cached_property
    def _shared(self) -> dict[str, list[int]]:
        """Clips of each recording."""
        shared: dict[str, list[int]] = {}
        for index in range(len(self.dataset.clips)):
            shared.setdefault(self._key(index), []).append(index)
        return shared

    def _key(self, index: int) -> str:
        data, record = self.dataset, self.dataset.clips[index]
        options = {name: getattr(data, name) for name in data.media_options}
        return json.dumps([data.crop_key(record), data.media_name(record), options], sort_keys=True)

    def _frames(self, index: int) -> range:
        """Frames of a clip; one if its media cannot be opened, which reading it reports."""
        start = self.dataset.clips[index].start
        try:
            return range(start, start + self.dataset.length(index))
        except VideoError:
            return range(start, start + 1)

    def missing(self) -> list[int]:
        """Positions of clips to `measure` so that the signals of all clips are on disk."""
        return [clips[0] for key, clips in self._shared.items() if self._unmeasured(key)]

    def _unmeasured(self, key: str) -> list[int]:
        """Frames to measure of a recording: none, or all that its clips need and those measured before."""
        clips = self._shared[key]
        measured = set(self.files.frames(key, self._state(clips[0])).tolist())
        needed = {frame for index in clips for frame in self._frames(index)}
        return [] if needed <= measured else sorted(needed | measured)

    def _state(self, index: int) -> str:
        return media_state(self.dataset.clips[index].path)

    def measure(self, index: int) -> None:
        """Measure the recording of the clip at `index`, unless its signals are on disk.

        Raises:
            ConfigError: The folder is not writable.
        """
        key, record = self._key(index), self.dataset.clips[index]
        if frames := self._unmeasured(key):
            fps, photo = self._media(record.path)
            values = measure_signals(self._read(index, frames), record.fps or fps, photo=photo)
            self.files.write(key, self._state(index), frames, values)

    def _media(self, path: Path) -> tuple[float, bool]:
        """Frame rate of a media, NaN if unknown, and whether it is a photo."""
        try:
            with open_video(path, self.dataset.backend) as video:
                return video.fps, video.num_frames == 1
        except VideoError:  # the corpus stores it in another way, or reading it reports the fault
            return nan, False

    def num_frames(self, index: int) -> int | None:
        """Number of frames of the media of a clip, if the signals tell."""
        return None

    def _read(self, index: int, frames: Sequence[int]) -> Iterator[Tensor | None]:
        record = self.dataset.clips[index]
        for first in range(0, len(frames), _TOGETHER):
            chunk = frames[first : first + _TOGETHER]
            try:
                yield from self.dataset.load(record, chunk)
            except VideoError:
                for frame in chunk:
                    try:
                        yield self.dataset.load(record, [frame])[0]
                    except VideoError:
                        yield None

    def read(self, index: int, indices: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
        """Read signals of a clip, measured first if they are not on disk.

        Args:
            index: Position of the clip.
            indices: T positions in its media.
            names: Names of `affectkit.faces.SIGNALS`, "landmarks" and "box".

        Returns:
            float32 [T, ...] by name, NaN for frames without a face.
        """
        if index not in self._known:
            self.measure(index)
            self._known[index] = self._key(index)
        return self.files.read(self._known[index], indices, names)

    def faces(self, index: int, indices: Sequence[int]) -> list[Face]:
        """Face of each frame of a clip; a frame without one has that of the nearest frame with a face.

        Args:
            index: Position of the clip.
            indices: T positions in its media.

        Raises:
            NoFaceError: No frame of the clip shows a face.
            VideoError: The media cannot be read.
        """
        frames = self._frames(index)
        found = self.read(index, frames, ["landmarks", "box"])
        seen = found["landmarks"].isfinite().flatten(1).all(1).nonzero()[:, 0]
        if not len(seen):
            self.dataset.load(self.dataset.clips[index], frames[:1])  # raises if the media is the reason
            raise NoFaceError("No face was found in the clip.", path=self.dataset.clips[index].path)
        rows = torch.tensor(indices) - frames.start
        nearest = seen[(seen[None] - rows[:, None]).abs().argmin(1)]
        return [
            Face((box[0], box[1], box[2], box[3]), 1.0, five_points(points))
            for points, box in zip(found["landmarks"][nearest], found["box"][nearest].tolist(), strict=True)
        ]

    def crop(self, frames: Tensor, faces: Sequence[Face], spec: PictureSpec) -> Tensor:
        """Crop the face of each frame as a model expects it; a face outside its frame is black.

        Args:
            frames: uint8 [T, 3, H, W].
            faces: T faces, see `faces`.
            spec: Input of the model.

        Returns:
            uint8 [T, 3, S, S].
        """
        pictures = frames.new_zeros(len(frames), 3, spec.size, spec.size)
        for picture, frame, face in zip(pictures, frames, faces, strict=True):
            with contextlib.suppress(AnnotationError):  # the face lies outside the frame
                picture.copy_(align_face(frame, face, spec))
        return pictures

    def place(self, landmarks: Tensor, faces: Sequence[Face], spec: PictureSpec) -> Tensor:
        """Landmarks of frames, float32 [T, 68, 2], in pixels of their cropped pictures; NaN stays NaN."""
        placed = [
            transform_points(p, picture_transform(f, spec)) for p, f in zip(landmarks, faces, strict=True)
        ]
        return torch.stack(placed)

    def count_faces(self) -> list[tuple[int, int]]:
        """Number of frames, and of frames with a face, of each clip; all are measured before."""
        counts = []
        for index in range(len(self.dataset.clips)):
            frames = self._frames(index)
            points = self.read(index, frames, ["landmarks"])["landmarks"]
            counts.append((len(frames), int(points.isfinite().flatten(1).all(1).sum())))
        return counts
