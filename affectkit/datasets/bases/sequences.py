"""Base of corpora with frame-by-frame codes of long recordings.

Frames are numbered by the label files, from 1; position `k` of a record is label frame `k + 1`. A recording is a video,
or a folder of images whose numbers differ from those of the label frames by a constant.
"""

from __future__ import annotations

import contextlib
import functools
import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.frames import AllFrames
from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording, pack, unpack
from affectkit.datasets.reading.codes import frame_ranges
from affectkit.datasets.reading.folders import image_fault, number_images, read_images
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.datasets.reading.landmarks import LandmarkFiles, picture_size
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.facs.sets import UnitSpace
from affectkit.facs.spaces import label_space

__all__ = ["SequenceCorpus"]


class SequenceCorpus(Corpus):
    """Base of corpora with labels per frame, read in windows that never cross a gap.

    A gap is a frame without labels or, if there are images, without an image. The windows of a recording hold each of
    its frames once; the last window before a gap is shorter.

    Landmarks of the corpus are read with their frames. Absent landmarks, and all landmarks of cropped pictures, are
    masked (see `affectkit.datasets.reading.landmarks`).

    A subclass sets `spaces` to the label spaces of all targets before `super().__init__`; targets that the files do
    not code are removed.

    Args:
        root: Folder of the corpus, or a folder above it.
        window: Frames per clip; 1 gives stills, None the longest clips without a gap.
        **options: See `Corpus`.

    Attributes:
        label_files: Names of the annotation files.
        sources: Target from whose codes another target is decoded.
        frame_offset: Number of an image minus the label frame that it shows; None for -1 if images are numbered from
            0, else 0.
        complete: Whether every coded frame should have an image; otherwise frames without one show no face.
    """

    frames_per_second: float
    parser_version: int = 2
    label_files: ClassVar[re.Pattern[str]]
    sources: ClassVar[Mapping[str, str]] = {}
    frame_offset: int | None = None
    complete: ClassVar[bool] = True
    clip_frames = 16

    def __init__(self, root: str | Path, *, window: int | None = 16, **options: Any) -> None:
        if window is not None and window < 1:
            raise ConfigError(f"The window has {window} frames.", remedy="Use 1 frame or more.")
        self.window = window
        self.image_offset = 0
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._tables: dict[tuple[str, str], Target] = {}
        super().__init__(root, **options)

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """See `AffectDataset`: windows of consecutive frames, all of which are read."""
        return {"window": num_frames, "sampler": AllFrames()}

    def annotation_files(self) -> list[tuple[Path, re.Match[str]]]:
        """Annotation files with the match of their name."""
        return self.find_files(self.label_files)

    @abstractmethod
    def parse(self, files: Sequence[tuple[Path, re.Match[str]]]) -> CodedCorpus:
        """Read the annotation files."""

    @abstractmethod
    def find_media(self) -> Mapping[str, Path]:
        """Video or folder of images of each recording on disk."""

    @abstractmethod
    def expected_path(self, recording: Recording) -> Path:
        """Path of the media of a recording that is not on disk."""

    def count_from_zero(self, images: Mapping[Path, Mapping[int, str]]) -> bool:
        """Whether images are numbered from 0, given the images by folder and number."""
        return any(0 in numbers for numbers in images.values())

    def find_landmarks(self) -> LandmarkFiles | None:
        """Landmarks of the pictures, numbered from 0; None if there are none."""
        return None

    def bad_landmarks(self, recording: str) -> Collection[int]:
        """Frames, from 0, whose landmarks are known to be wrong."""
        return ()

    def decode(self, target: str, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Label values of codes [N, C]; values of `UNKNOWN` are ignored."""
        return codes.astype(np.float32)

    def table(self, recording: Recording, target: str) -> Target:
        """Labels of all rows of a recording, [N, A] for units; unknown ones masked."""
        source = self.sources.get(target, target)
        columns = self.columns[source]
        units = [unit.id for unit in cast("UnitSpace", label_space(self.spaces[target]))]
        places = [columns.index(unit) if unit in columns else -1 for unit in units]
        # An additional last column represents all units that the files do not code.
        codes = np.pad(recording.codes[source], ((0, 0), (0, 1)), constant_values=UNKNOWN)[:, places]
        values = torch.from_numpy(self.decode(target, codes))
        return Target.make(values, torch.from_numpy(codes != UNKNOWN), space=self.spaces[target])

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`; one record per recording."""
        coded = self._coded()
        self.revision = coded.revision
        self.warnings += coded.warnings
        self.conflicts += coded.conflicts
        self.columns = coded.columns
        self.recordings = {recording.name: recording for recording in coded.recordings}
        self.spaces = {
            t: space for t, space in self.spaces.items() if self.sources.get(t, t) in coded.columns
        }
        media = self.find_media()
        self._files = number_images({path for path in media.values() if path.is_dir()})
        self._from_zero = self.count_from_zero(self._files)
        self.image_offset = -int(self._from_zero) if self.frame_offset is None else self.frame_offset
        return [
            ClipRecord(
                clip=recording.name,
                path=media.get(recording.name, self.expected_path(recording)),
                subject=recording.subject,
                fps=self.frames_per_second,
                start=int(recording.frame_ids[0]) - 1,
                stop=int(recording.frame_ids[-1]),
                extra={"sequence": recording.name},
            )
            for recording in coded.recordings
        ]

    def records(self) -> list[ClipRecord]:
        """See `AffectDataset`; one record per window."""
        return [
            replace(record, clip=f"{record.clip}:{first}", start=first, stop=min(first + size, stop))
            for record in super().records()
            for start, stop in self.runs(record)
            for size in [self.window or stop - start]
            for first in range(start, stop, size)
        ]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`; labels per frame, [T, A], masked for frames that are not coded."""
        recording = self.recordings[record.extra["sequence"]]
        wanted = np.asarray(indices, dtype=np.int64) + 1
        places = np.searchsorted(recording.frame_ids, wanted).clip(max=len(recording.frame_ids) - 1)
        rows, coded = torch.from_numpy(places), torch.from_numpy(recording.frame_ids[places] == wanted)
        targets = {}
        for name, space in self.spaces.items():
            key = recording.name, name
            if key not in self._tables:
                self._tables[key] = self.table(recording, name).project(space)
            table = self._tables[key]
            known = coded.reshape(-1, *[1] * (table.mask.dim() - 1))
            targets[name] = Target.make(table.value[rows], table.mask[rows] & known, space=table.space)
        return targets

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """See `AffectDataset`.

        Raises:
            AnnotationError: A file of landmarks is damaged.
            VideoError: The size of the picture cannot be read.
        """
        files = self._landmark_files
        if files is None:
            return None
        name = record.extra["sequence"]
        frames = self._frames_shown(record, indices)
        return files.points(name, frames, self._picture_size(record), self.bad_landmarks(name))

    def load(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        """See `AffectDataset`."""
        files = self._files.get(record.path)
        if files is None:
            return super().load(record, indices)
        for index in indices:
            if (number := index + 1 + self.image_offset) not in files:
                remedy = "Unpack the images again, or check frame_offset."
                raise VideoError(f"There is no image {number}.", path=record.path, frame=index, remedy=remedy)
        return read_images([record.path / files[index + 1 + self.image_offset] for index in indices], indices)

    def coded_frames(self, record: ClipRecord) -> int:
        """See `Corpus`."""
        return int(self.recordings[record.clip].coded.sum())

    def positives(self, record: ClipRecord) -> dict[str, int]:
        """See `Corpus`; positive frames of all units with occurrence codes."""
        source = self.sources.get("au", "au")
        columns = self.columns.get(source, ())
        if not columns:
            return {}
        positive = self.decode("au", self.recordings[record.clip].codes[source]) == 1
        return {f"AU{unit}": int(n) for unit, n in zip(columns, positive.sum(0), strict=True)}

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`; the parts of the three-fold protocol, if it contains all subjects."""
        try:
            subjects = {str(recording.subject) for recording in self.recordings.values()}
            tested = self.find_protocol("3fold").divide(sorted(subjects))
        except ConfigError:
            return {}
        return {part: [r for r in self.everything if r.subject in people] for part, people in tested.items()}

    def missing(self) -> Iterator[str]:
        """See `Corpus`; landmarks are read too.

        Frames without landmarks are only warned of: the original corpora have some.
        """
        yield from super().missing()
        if self._landmark_files is not None:
            for record in self.everything:
                yield from self._landmark_faults(record, self._landmark_files)

    def media_faults(self, record: ClipRecord) -> Iterator[str]:
        """See `Corpus`; coded images are decoded at low resolution."""
        files = self._files.get(record.path)
        if files is None:
            yield from super().media_faults(record)
            return
        numbers = self.recordings[record.clip].frame_ids + self.image_offset
        absent = [number - self.image_offset for number in numbers.tolist() if number not in files]
        if absent and self.complete:
            yield f"there is no image of label frames {frame_ranges(absent)}"
        for name in (files[number] for number in numbers.tolist() if number in files):
            if (fault := image_fault(record.path / name)) is not None:
                yield f"{name}: {fault}"

    def _landmark_faults(self, record: ClipRecord, files: LandmarkFiles) -> Iterator[str]:
        """The first damaged file; warns of absent and masked landmarks."""
        frames = self._frames_shown(record, (self.recordings[record.clip].frame_ids - 1).tolist())
        try:
            files.read(record.clip, frames)
            absent = files.absent(record.clip, frames)
        except AnnotationError as error:
            yield str(error)
            return
        notes = [f"{record.clip}: there are no landmarks of frames {frame_ranges(absent)}"] if absent else []
        with contextlib.suppress(VideoError):  # reported by media_faults
            size = self._picture_size(record)
            if not files.fits(size):
                shape = "{} x {} pixels are not {} x {} scaled".format(*size, *files.size)
                notes.append(f"{record.path.parent}: {shape}, so landmarks are masked")
        self.warnings += [note for note in notes if note not in self.warnings]

    def runs(self, record: ClipRecord) -> list[tuple[int, int]]:
        """Stretches of frames with labels and, if there are images, with an image: first position and end."""
        recording = self.recordings[record.clip]
        positions, coded = recording.frame_ids - 1, recording.coded
        files = self._files.get(record.path)
        if files is not None:
            there = np.isin(positions + 1 + self.image_offset, np.fromiter(files, dtype=np.int64))
            if not there.all() and self.complete:
                frames = frame_ranges(positions[~there] + 1)
                self.warnings.append(f"{record.clip}: label frames {frames} have no image and are left out")
            positions, coded = positions[there], coded[there]
        ends = np.flatnonzero((np.diff(positions) != 1) | (coded[1:] != coded[:-1])) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, ends) if len(run)]

    @functools.cached_property
    def _landmark_files(self) -> LandmarkFiles | None:
        return self.find_landmarks()

    def _frames_shown(self, record: ClipRecord, indices: Sequence[int]) -> list[int]:
        """Frames of the recording, from 0, shown at positions; they differ if `frame_offset` is unusual."""
        shift = self.image_offset + 1 if self._from_zero and record.path in self._files else 0
        return [index + shift for index in indices]

    def _picture_size(self, record: ClipRecord) -> tuple[int, int]:
        """Width and height of a recording's first picture, read once."""
        if record.path not in self._sizes:
            first = next(iter(self._files.get(record.path, {}).values()), None)
            self._sizes[record.path] = picture_size(record.path if first is None else record.path / first)
        return self._sizes[record.path]

    def _coded(self) -> CodedCorpus:
        """The parsed annotation, from the cache if the files are unchanged."""
        files = self.annotation_files()
        if not files:
            raise self.no_labels()
        key = fingerprint(f"{type(self).name} {self.parser_version}", [path for path, _ in files])
        arrays = load_arrays(key)
        if arrays is None:
            coded = self.parse(files)
            save_arrays(key, pack(coded))
            return coded
        return unpack(arrays)
