"""Corpora that code the frames of long recordings, one by one.

Frames are counted by the label files, from 1; position `k` of a record is label frame `k + 1`. A recording is a
video, or a folder of images whose names hold numbers that lie a fixed distance from the label frames.
"""

from __future__ import annotations

import functools
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affectkit.data.clip import Target
from affectkit.data.record import ClipRecord
from affectkit.data.video import open_video
from affectkit.datasets.codes import frame_ranges
from affectkit.datasets.corpus import Corpus
from affectkit.datasets.image_folders import image_fault, number_images
from affectkit.datasets.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.datasets.protocols import find_protocol
from affectkit.errors import ConfigError, VideoError
from affectkit.facs.sets import AUSet

__all__ = ["UNKNOWN", "CodedCorpus", "Recording", "SequenceCorpus"]

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Recording:
    """The coded frames of one recording.

    Args:
        name: Name, unique in the corpus.
        subject: Who is seen.
        frames: int64 [N], label frames, ascending.
        codes: int8 [N, C] by target, in the columns of `CodedCorpus.columns`; `UNKNOWN` where not coded.
        coded: bool [N], which frames are coded by the corpus's own count; a clip holds only these, or none of them.
    """

    name: str
    subject: str
    frames: NDArray[np.int64]
    codes: Mapping[str, NDArray[np.int8]]
    coded: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CodedCorpus:
    """The parsed annotation of a corpus.

    Args:
        revision: Which annotation it is.
        columns: Numbers of the action units by target.
        recordings: All recordings.
        warnings: What was odd but could be read, a line each.
        conflicts: Labels that contradict each other, a line each.
    """

    revision: str
    columns: Mapping[str, tuple[int, ...]]
    recordings: Sequence[Recording]
    warnings: Sequence[str] = field(default_factory=tuple)
    conflicts: Sequence[str] = field(default_factory=tuple)


class SequenceCorpus(Corpus):
    """Base of corpora with labels for each frame, read in windows that never cross a gap.

    A gap is a frame without labels, or, once there are images, without an image. The windows of a recording hold
    each of its frames once; the last one before a gap is shorter.

    Args:
        root: See `Corpus`.
        window: Frames a clip; 1 gives stills, None the longest clips without a gap.
        **options: See `Corpus`.

    Raises:
        ConfigError: The window is shorter than one frame.
    """

    frames_per_second: float
    parser_version: int = 1

    def __init__(self, root: str | Path, *, window: int | None = 16, **options: Any) -> None:
        if window is not None and window < 1:
            raise ConfigError(f"A window of {window} frames is empty.", remedy="Take 1 frame or more.")
        self.window = window
        self.image_offset = 0
        super().__init__(root, **options)

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

    @abstractmethod
    def find_offset(self, images: Mapping[Path, Mapping[int, str]]) -> int:
        """Number of an image less the label frame that it shows, out of the images by folder and number."""

    @abstractmethod
    def expected_path(self, recording: Recording) -> Path:
        """Where the media of a recording belong, if they are not there yet."""

    @abstractmethod
    def unit_spaces(self, columns: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """The label space of each target, out of what the files code."""

    def decode(self, target: str, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """Turn codes [N, C] into label values; `UNKNOWN` stays."""
        return codes.astype(np.float32)

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
        self.image_offset = self.find_offset(self._files)
        return [
            ClipRecord(
                clip=recording.name,
                path=media.get(recording.name, self.expected_path(recording)),
                subject=recording.subject,
                fps=self.frames_per_second,
                start=int(recording.frames[0]) - 1,
                stop=int(recording.frames[-1]),
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
        frames = np.asarray(indices, dtype=np.int64) + 1
        rows = np.searchsorted(recording.frames, frames).clip(max=len(recording.frames) - 1)
        coded = torch.from_numpy(recording.frames[rows] == frames)[:, None]
        places = torch.from_numpy(rows)
        targets = {}
        for target, space in self.spaces.items():
            values = self._values(recording.name, target)[places]
            targets[target] = Target.make(torch.where(coded, values, torch.nan), space=space)
        return targets

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
            subjects = {recording.subject for recording in self.recordings.values()}
            tested = find_protocol(type(self).name, "3fold").divide(sorted(subjects))
        except ConfigError:
            return {}
        return {part: [r for r in self.everything if r.subject in people] for part, people in tested.items()}

    def missing(self) -> Iterator[str]:
        """See `Corpus`: every coded image is decoded at low resolution, videos are opened."""
        with ThreadPoolExecutor() as pool:
            for record in self.everything:
                place = f"{record.clip} ({record.path})"
                yield from (f"{place}: {fault}" for fault in self._media_faults(record, pool))

    def _media_faults(self, record: ClipRecord, pool: ThreadPoolExecutor) -> Iterator[str]:
        frames = self.recordings[record.clip].frames
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
        if absent:
            yield f"there is no image of label frames {frame_ranges(absent)}"
        names = [name for frame in frames.tolist() if (name := files.get(frame + self.image_offset))]
        for name, fault in zip(names, pool.map(lambda n: image_fault(record.path / n), names), strict=True):
            if fault is not None:
                yield f"{name} {fault}"

    def runs(self, record: ClipRecord) -> list[tuple[int, int]]:
        """The stretches of frames that have labels and, once there are images, an image: first position and end."""
        recording = self.recordings[record.clip]
        positions, coded = recording.frames - 1, recording.coded
        files = self._files.get(record.path)
        if files is not None:
            there = np.isin(positions + 1 + self.image_offset, np.fromiter(files, dtype=np.int64))
            absent = (positions[~there] + 1).tolist()
            if absent:
                frames = frame_ranges(absent)
                self.warnings.append(f"{record.clip}: label frames {frames} have no image and are left out")
            positions, coded = positions[there], coded[there]
        ends = np.flatnonzero((np.diff(positions) != 1) | (coded[1:] != coded[:-1])) + 1
        return [(int(run[0]), int(run[-1]) + 1) for run in np.split(positions, ends) if len(run)]

    def _values(self, name: str, target: str) -> Tensor:
        """Label values of all rows of a recording in the target's space, float32 [N, A], NaN where unknown."""
        if (name, target) not in self._value_table:
            source = self.source(target)
            codes = self.recordings[name].codes[source]
            known = np.where(codes == UNKNOWN, np.float32(np.nan), self.decode(target, codes))
            place = {unit: column for column, unit in enumerate(self.columns[source])}
            units = [unit.id for unit in AUSet.parse(self.spaces[target])]
            values = np.full((len(codes), len(units)), np.nan, dtype=np.float32)
            for column, unit in enumerate(units):
                if unit in place:
                    values[:, column] = known[:, place[unit]]
            self._value_table[name, target] = torch.from_numpy(values)
        return self._value_table[name, target]

    @functools.cached_property
    def _value_table(self) -> dict[tuple[str, str], Tensor]:
        return {}

    def _coded(self) -> CodedCorpus:
        """The parsed annotation, from the cache where the files are as they were."""
        files = self.annotation_files()
        key = fingerprint(f"{type(self).name} {self.parser_version}", files)
        arrays = load_arrays(key)
        if arrays is None:
            coded = self.parse(files)
            save_arrays(key, _pack(coded))
            return coded
        return _unpack(arrays)


def _pack(coded: CodedCorpus) -> dict[str, NDArray[Any]]:
    """A parsed annotation as arrays."""
    words = {
        "revision": coded.revision,
        "columns": {target: list(columns) for target, columns in coded.columns.items()},
        "recordings": [(r.name, r.subject, len(r.frames)) for r in coded.recordings],
        "warnings": list(coded.warnings),
        "conflicts": list(coded.conflicts),
    }
    return {
        "words": np.array(json.dumps(words)),
        "frames": np.concatenate([recording.frames for recording in coded.recordings]),
        "coded": np.concatenate([recording.coded for recording in coded.recordings]),
        **{f"codes {t}": np.concatenate([r.codes[t] for r in coded.recordings]) for t in coded.columns},
    }


def _unpack(arrays: Mapping[str, NDArray[Any]]) -> CodedCorpus:
    """The inverse of `_pack`."""
    words = json.loads(str(arrays["words"]))
    columns = {target: tuple(units) for target, units in words["columns"].items()}
    ends = np.cumsum([length for _, _, length in words["recordings"]])
    recordings = [
        Recording(
            name,
            subject,
            arrays["frames"][end - length : end],
            {target: arrays[f"codes {target}"][end - length : end] for target in columns},
            arrays["coded"][end - length : end],
        )
        for (name, subject, length), end in zip(words["recordings"], ends, strict=True)
    ]
    return CodedCorpus(words["revision"], columns, recordings, words["warnings"], words["conflicts"])
