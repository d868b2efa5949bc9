"""Corpora that code the frames of long recordings, one by one.

Frames are counted by the label files, from 1; position `k` of a record is label frame `k + 1`. A recording is a
video, or a folder of images whose names hold numbers that lie a fixed distance from the label frames.
"""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from affectkit.data.video import open_video
from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording, pack, unpack
from affectkit.datasets.reading.codes import frame_ranges
from affectkit.datasets.reading.image_folders import image_fault, number_images
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.datasets.reading.landmarks import LandmarkFiles, picture_size
from affectkit.errors import AnnotationError, ConfigError, VideoError
from affectkit.facs.sets import UnitSpace
from affectkit.facs.spaces import label_space

__all__ = ["SequenceCorpus"]


class SequenceCorpus(Corpus):
    """Base of corpora with labels for each frame, read in windows that never cross a gap.

    A gap is a frame without labels, or, once there are images, without an image. The windows of a recording hold
    each of its frames once; the last one before a gap is shorter.

    Landmarks that the corpus ships are read with the frames that they belong to; what lacks them is masked, and so
    is everything where the pictures have been cut (see `affectkit.datasets.reading.landmarks`).

    Args:
        root: See `Corpus`.
        window: Frames a clip; 1 gives stills, None the longest clips without a gap.
        **options: See `Corpus`.

    Raises:
        ConfigError: The window is shorter than one frame.

    Attributes:
        frame_offset: Number of an image less the label frame that it shows; None for -1 where images are counted
            from 0, else 0.
        complete: Whether every coded frame should have an image; else those without one show no face.
    """

    frames_per_second: float
    parser_version: int = 1
    frame_offset: int | None = None
    complete: ClassVar[bool] = True
    clip_frames = 16

    def __init__(self, root: str | Path, *, window: int | None = 16, **options: Any) -> None:
        if window is not None and window < 1:
            raise ConfigError(f"A window of {window} frames is empty.", remedy="Take 1 frame or more.")
        self.window = window
        self.image_offset = 0
        super().__init__(root, **options)

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """See `AffectDataset`: windows of consecutive frames, all of which are read."""
        return {"window": num_frames, "sampler": AllFrames()}

    @abstractmethod
    def annotation_files(self) -> Sequence[Path]:
        """Every file that `parse` reads, sorted.

        Raises:
            DatasetNotFoundError: There is none.
        """

    @abstractmethod
    def parse(self, files: Sequence[Path]) -> CodedCorpus:
        """Read the annotation files."""

    @abstractmethod
    def find_media(self, names: Iterable[str]) -> Mapping[str, Path]:
        """The video or folder of images of each recording that has one."""

    def count_from_zero(self, images: Mapping[Path, Mapping[int, str]]) -> bool:
        """Whether the first image of a recording has the number 0, out of the images by folder and number."""
        return any(0 in numbers for numbers in images.values())

    @abstractmethod
    def find_landmarks(self) -> LandmarkFiles | None:
        """The landmarks of the pictures that are read, counted from 0; None where there are none."""

    def bad_landmarks(self, recording: str) -> Collection[int]:
        """Frames, counted from 0, whose landmarks are known to be wrong."""
        return ()

    @abstractmethod
    def expected_path(self, recording: Recording) -> Path:
        """Where the media of a recording belong, if they are not there yet."""

    @abstractmethod
    def unit_spaces(self, columns: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """The label space of each target, out of what the files code."""

    def decode(self, target: str, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Turn codes [N, C] into label values, whatever `UNKNOWN` becomes."""
        return codes.astype(np.float32)

    def table(self, recording: Recording, target: str) -> Target:
        """The labels of all rows of a recording, [N, A] for units; unknown ones masked."""
        source = self.source(target)
        columns = self.columns[source]
        units = [unit.id for unit in cast("UnitSpace", label_space(self.spaces[target]))]
        places = [columns.index(unit) if unit in columns else -1 for unit in units]
        # The column behind the last one stands for all units that the files do not code.
        codes = np.pad(recording.codes[source], ((0, 0), (0, 1)), constant_values=UNKNOWN)[:, places]
        values = torch.from_numpy(self.decode(target, codes))
        return Target.make(values, torch.from_numpy(codes != UNKNOWN), space=self.spaces[target])

    def source(self, target: str) -> str:
        """Which codes a target is made of."""
        return target

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`: a record a recording."""
        coded = self._coded()
        self.revision = coded.revision
        self.warnings += coded.warnings
        self.conflicts += coded.conflicts
        self.columns = coded.columns
        self.recordings = {recording.name: recording for recording in coded.recordings}
        self.spaces = self.unit_spaces(coded.columns)
        media = self.find_media(self.recordings)
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
        """The windows of the chosen split."""
        return [
            replace(record, clip=f"{record.clip}:{first}", start=first, stop=min(first + size, stop))
            for record in super().records()
            for start, stop in self.runs(record)
            for size in [self.window or stop - start]
            for first in range(start, stop, size)
        ]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`: labels by frame, [T, A]; frames that are not coded are masked."""
        recording = self.recordings[record.extra["sequence"]]
        wanted = np.asarray(indices, dtype=np.int64) + 1
        places = np.searchsorted(recording.frame_ids, wanted).clip(max=len(recording.frame_ids) - 1)
        rows, coded = torch.from_numpy(places), torch.from_numpy(recording.frame_ids[places] == wanted)
        targets = {}
        for name in self.spaces:
            table = self._table(recording.name, name)
            known = coded.reshape(-1, *[1] * (table.mask.dim() - 1))
            targets[name] = Target.make(table.value[rows], table.mask[rows] & known, space=table.space)
        return targets

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """See `AffectDataset`; None where the corpus is there without them.

        Raises:
            AnnotationError: A file of landmarks is damaged.
            VideoError: The picture's size cannot be read.
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
        images = []
        for index in indices:
            number = index + 1 + self.image_offset
            if number not in files:
                remedy = "Unpack the images again, or check frame_offset."
                raise VideoError(f"There is no image {number}.", path=record.path, frame=index, remedy=remedy)
            path = record.path / files[number]
            with open_video(path) as reader:
                images.append(reader.read([0]))
            if images[-1].shape != images[0].shape:
                raise VideoError("The image differs in size from those before it.", path=path, frame=index)
        return torch.cat(images)

    def coded_frames(self, record: ClipRecord) -> int:
        """See `Corpus`."""
        return int(self.recordings[record.clip].coded.sum())

    def positives(self, record: ClipRecord) -> dict[str, int]:
        """See `Corpus`: positive frames by unit, of all units that the occurrence codes hold."""
        columns = self.columns.get(self.source("au"), ())
        if not columns:
            return {}
        positive = self.decode("au", self.recordings[record.clip].codes[self.source("au")]) == 1
        return {f"AU{unit}": int(n) for unit, n in zip(columns, positive.sum(0), strict=True)}

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`: the three parts of the usual protocol, where it knows all subjects."""
        try:
            subjects = {str(recording.subject) for recording in self.recordings.values()}
            tested = self.find_protocol("3fold").divide(sorted(subjects))
        except ConfigError:
            return {}
        return {part: [r for r in self.everything if r.subject in people] for part, people in tested.items()}

    def missing(self) -> Iterator[str]:
        """See `Corpus`: every coded image is decoded at low resolution, videos are opened, landmarks are read.

        Frames without landmarks are only warned of, since the original corpora have some.
        """
        with ThreadPoolExecutor() as pool:
            for record in self.everything:
                place = f"{record.clip} ({record.path})"
                yield from (f"{place}: {fault}" for fault in self._media_faults(record, pool))
                if self._landmark_files is not None:
                    yield from self._landmark_faults(record, self._landmark_files)

    def _media_faults(self, record: ClipRecord, pool: ThreadPoolExecutor) -> Iterator[str]:
        frames = self.recordings[record.clip].frame_ids
        files = self._files.get(record.path)
        if files is None:
            try:
                with open_video(record.path, self.backend) as reader:
                    there = reader.num_frames
            except VideoError as error:
                yield error.fault
                return
            if there < frames[-1]:
                yield f"frames {there + 1}-{frames[-1]} are annotated, the video has {there}"
            return
        absent = [frame for frame in frames.tolist() if frame + self.image_offset not in files]
        if absent and self.complete:
            yield f"there is no image of label frames {frame_ranges(absent)}"
        names = [name for frame in frames.tolist() if (name := files.get(frame + self.image_offset))]
        for name, fault in zip(names, pool.map(lambda n: image_fault(record.path / n), names), strict=True):
            if fault is not None:
                yield f"{name} {fault}"

    def _landmark_faults(self, record: ClipRecord, files: LandmarkFiles) -> Iterator[str]:
        """The first file of a recording's landmarks that cannot be read; warns of what is absent or of no use."""
        frames = self._frames_shown(record, (self.recordings[record.clip].frame_ids - 1).tolist())
        try:
            files.read(record.clip, frames)
            absent = files.absent(record.clip, frames)
        except AnnotationError as error:
            yield str(error)
            return
        notes = [f"{record.clip}: there are no landmarks of frames {frame_ranges(absent)}"] if absent else []
        with contextlib.suppress(VideoError):  # which is reported as such
            size = self._picture_size(record)
            if not files.fits(size):
                shape = "{} x {} pixels are not {} x {} scaled".format(*size, *files.size)
                notes.append(f"{record.path.parent}: {shape}, so landmarks are masked")
        self.warnings += [note for note in notes if note not in self.warnings]

    def runs(self, record: ClipRecord) -> list[tuple[int, int]]:
        """The stretches of frames that have labels and, once there are images, an image: first position and end."""
        recording = self.recordings[record.clip]
        positions, coded = recording.frame_ids - 1, recording.coded
        files = self._files.get(record.path)
        if files is not None:
            there = np.isin(positions + 1 + self.image_offset, np.fromiter(files, dtype=np.int64))
            absent = (positions[~there] + 1).tolist()
            if absent and self.complete:
                frames = frame_ranges(absent)
                self.warnings.append(f"{record.clip}: label frames {frames} have no image and are left out")
            positions, coded = positions[there], coded[there]
        ends = np.flatnonzero((np.diff(positions) != 1) | (coded[1:] != coded[:-1])) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, ends) if len(run)]

    @functools.cached_property
    def _landmark_files(self) -> LandmarkFiles | None:
        return self.find_landmarks()

    def _frames_shown(self, record: ClipRecord, indices: Sequence[int]) -> list[int]:
        """Which frames of the recording, from 0, are read at positions: others if images are counted otherwise."""
        shift = self.image_offset + 1 if self._from_zero and record.path in self._files else 0
        return [index + shift for index in indices]

    def _picture_size(self, record: ClipRecord) -> tuple[int, int]:
        """Width and height of a recording's pictures, of which the first one is looked at, once."""
        if record.path not in self._sizes:
            first = next(iter(self._files.get(record.path, {}).values()), None)
            self._sizes[record.path] = picture_size(record.path if first is None else record.path / first)
        return self._sizes[record.path]

    @functools.cached_property
    def _sizes(self) -> dict[Path, tuple[int, int]]:
        return {}

    def _table(self, recording: str, target: str) -> Target:
        """The labels of all rows of a recording, made once."""
        key = recording, target
        if key not in self._tables:
            self._tables[key] = self.table(self.recordings[recording], target).project(self.spaces[target])
        return self._tables[key]

    @functools.cached_property
    def _tables(self) -> dict[tuple[str, str], Target]:
        return {}

    def _coded(self) -> CodedCorpus:
        """The parsed annotation, from the cache where the files are as they were."""
        files = self.annotation_files()
        key = fingerprint(f"{type(self).name} {self.parser_version}", files)
        arrays = load_arrays(key)
        if arrays is None:
            coded = self.parse(files)
            save_arrays(key, pack(coded))
            return coded
        return unpack(arrays)
