"""Base of the published corpora: protocol splits, and counts to compare with the published ones."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.data.video import open_video
from affectkit.datasets.bases.dataset import AffectDataset, Split
from affectkit.datasets.bases.protocols import Fold, Protocol
from affectkit.datasets.reading.folders import Listing, image_fault, walk
from affectkit.errors import ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs.expressions import ExpressionSet

__all__ = [
    "Corpus",
    "CountReport",
    "Counts",
    "StillCorpus",
    "check_choice",
    "class_counts",
    "compare_counts",
    "count_parts",
]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of a corpus or of a part of it; None and absent keys are not stated.

    Args:
        subjects: Number of people; None if unknown to the corpus.
        clips: Number of annotated rows, sequences or images.
        frames: Number of coded frames; None if known from the media only.
        positives: Positive clips (or frames, if frames are coded) by unit: `{"AU1": 26}`, without sides.
        classes: Clips by class, in the corpus's words in lower case.
        parts: Counts of the parts of the protocol.
        all_units: Whether `positives` lists every unit, so that another one is an error.
    """

    subjects: int | None = None
    clips: int | None = None
    frames: int | None = None
    positives: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Counts] = field(default_factory=dict)
    all_units: bool = False


@dataclass(frozen=True, kw_only=True)
class CountReport(Counts):
    """Counts found on disk.

    Args:
        missing: Annotated files and frames that are absent or unreadable, a line each.
        conflicts: Contradictory labels, a line each.
    """

    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


class Corpus(AffectDataset):
    """A published corpus: the whole annotation is parsed, then divided by a protocol.

    A subclass sets the class attributes of `AffectDataset` and `expected`, stores its own arguments before
    `super().__init__`, and implements `annotations`. It can be opened without media: paths of records may not exist.
    The hooks `coded_frames`, `positives`, `parts` and `media_faults` define the counts.

    Args:
        root: Folder of the corpus, as distributed.
        split: The split to read; every split but "all" belongs to a fold.
        fold: Name of the fold (`part3` tests part 3, `sub01` tests that subject), its position from 1, or a published
            numbering such as `me-graphau/1`; "all" tests nobody. Not needed if the protocol has one fold.
        protocol: Name of one of `protocols`; the first by default.
        seed: Seed of the selection of validation subjects.
        **options: See `AffectDataset`.

    Raises:
        DatasetNotFoundError: There is no annotation.
        AnnotationError: The annotation is ambiguous or damaged; names file and line.
        ConfigError: The protocol, the fold or another choice does not exist, or a split needs a fold.

    Attributes:
        expected: Published counts by revision of the annotation.
        protocols: Protocols of the corpus, the usual one first.
        classes: Classes of the records' `expression`.
        closed: Names of folders that are listed, but not searched.
        depth: Levels of folders that are searched.
        labels_hint: Files that hold the labels, for errors.
        media: The option of that name.
        revision: Revision of the annotation on disk.
        warnings: Irregularities that do not prevent reading, a line each.
        conflicts: Contradictory labels, a line each.
    """

    expected: ClassVar[Mapping[str, Counts]] = {}
    protocols: ClassVar[tuple[Protocol, ...]]
    classes: ExpressionSet
    closed: ClassVar[re.Pattern[str]]
    depth: ClassVar[int] = 6
    labels_hint: ClassVar[str]
    media: str
    revision: str = "unknown"

    def __init__(
        self,
        root: str | Path,
        *,
        split: Split = "all",
        fold: str | int | None = None,
        protocol: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.protocol = self.find_protocol(protocol)
        self.fold = fold
        self.seed = seed
        self.warnings: list[str] = []
        self.conflicts: list[str] = []
        super().__init__(root, split=split, **options)

    @classmethod
    def find_protocol(cls, name: str | None = None) -> Protocol:
        """One of `protocols`, the first by default; raises a ConfigError if there is none of this name."""
        known = {protocol.name: protocol for protocol in cls.protocols}
        if name is not None and name not in known:
            raise ConfigError(
                f"{cls.name} has no protocol {name!r}.", remedy=f"Use one of: {', '.join(known)}."
            )
        return cls.protocols[0] if name is None else known[name]

    @abstractmethod
    def annotations(self) -> list[ClipRecord]:
        """Parse every row, sequence or image; fill `revision`, `warnings` and `conflicts`."""

    @functools.cached_property
    def everything(self) -> tuple[ClipRecord, ...]:
        """Records of all splits."""
        return tuple(self.annotations())

    @functools.cached_property
    def folders(self) -> list[Listing]:
        """Folders below `root` with the names of their files and folders, in sorted order."""
        return list(walk(self.root, self.closed, self.depth))

    def find_files(self, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
        """Files below `root` whose names match, in sorted order."""
        found = (
            (folder / name, pattern.fullmatch(name)) for folder, names, _ in self.folders for name in names
        )
        return [(path, match) for path, match in found if match is not None]

    def no_labels(self, kind: str = "") -> DatasetNotFoundError:
        """The error for a root without annotation files."""
        fault = f"There are no {kind}labels of {self.name} here."
        return DatasetNotFoundError(fault, path=self.root, remedy=f"Unpack {self.labels_hint}.")

    def choose_media(self, trees: Mapping[Path, Mapping[str, Path]]) -> Mapping[str, Path]:
        """Media by clip in the folder that the option `media` names, else in the first of the folders `trees`."""
        first = next(iter(trees), None)
        if self.media != "auto":
            names = {tree: tree.relative_to(self.root).as_posix() for tree in trees}
            wanted = Path(self.media).as_posix().casefold()
            first = next(
                (tree for tree in trees if wanted in (tree.name.casefold(), names[tree].casefold())), None
            )
            if first is None:
                raise ConfigError(
                    f"No folder {self.media!r} holds media of {self.name}.",
                    path=self.root,
                    remedy=f"Folders with media: {', '.join(sorted(names.values())) or 'none'}.",
                )
        return {} if first is None else trees[first]

    def records(self) -> list[ClipRecord]:
        """Records of the chosen split."""
        if self.split == "all":
            return list(self.everything)
        members = set(getattr(self.chosen_fold, self.split))
        return [record for record in self.everything if self.split_unit(record) in members]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`; by default one class per clip, []."""
        label = torch.tensor(self.classes.index(str(record.expression)))
        target = Target.make(label, space=self.classes.name)
        return {"expression": target.project(self.spaces["expression"])}

    @property
    def chosen_fold(self) -> Fold:
        """The fold of this split; raises a ConfigError if none was chosen and there are several."""
        if self.fold is not None:
            return self.protocol.fold(self.fold, map(self.split_unit, self.everything), seed=self.seed)
        folds = self.folds()
        if len(folds) > 1:
            raise ConfigError(
                f"A split of {type(self).name} needs a fold: the protocol {self.protocol.name} has {len(folds)}.",
                remedy=f"Choose one of {', '.join(fold.name for fold in folds)}, or split='all'.",
            )
        return folds[0]

    def folds(self) -> tuple[Fold, ...]:
        """All folds of the protocol."""
        return self.protocol.folds(map(self.split_unit, self.everything), seed=self.seed)

    def count(self, *, media: bool = True) -> CountReport:
        """Count the records of all splits and, if `media`, check the media."""
        return CountReport(
            **self._count_records(self.everything),
            parts={name: Counts(**self._count_records(part)) for name, part in self.parts().items()},
            missing=tuple(self.missing()) if media else (),
            conflicts=tuple(self.conflicts),
        )

    def coded_frames(self, record: ClipRecord) -> int | None:
        """Number of annotated frames of a record; None if known from the media only."""
        return None

    def positives(self, record: ClipRecord) -> Mapping[str, int]:
        """Positives of a record by unit, without sides; at most one per record by default."""
        active = record.au.active() if record.au is not None else ()
        return {f"AU{number}": 1 for number in sorted({unit.id for unit in active})}

    def parts(self) -> Mapping[str, Sequence[ClipRecord]]:
        """Records of each part of the protocol with published counts."""
        return {}

    def missing(self) -> Iterator[str]:
        """Annotated media that are absent or unreadable, a line each."""
        with ThreadPoolExecutor() as pool:
            faults = pool.map(lambda record: list(self.media_faults(record)), self.everything)
            for record, own in zip(self.everything, faults, strict=True):
                yield from (f"{record.clip} ({record.path}): {fault}" for fault in own)

    def media_faults(self, record: ClipRecord) -> Iterator[str]:
        """Faults of the media of a record; may run in a thread."""
        if not record.path.exists():
            yield "there is no such file or folder"
            return
        needed = [key + 1 for key in record.key_frames if key is not None]
        needed += [end for end in (record.stop, record.num_frames) if end is not None]
        try:
            with open_video(record.path, self.backend) as reader:
                there = reader.num_frames
                if not needed:
                    reader.read(sorted({0, there - 1}))
        except VideoError as fault:
            yield fault.fault
            return
        if needed and there < max(needed):
            yield f"frame {max(needed)} is annotated, the video has {there}"

    def split_unit(self, record: ClipRecord) -> str:
        """Name by which protocols assign a record to splits: its subject if known, else its clip."""
        return record.subject if record.subject is not None else record.clip

    def _count_records(self, records: Sequence[ClipRecord]) -> dict[str, Any]:
        frames = [self.coded_frames(record) for record in records]
        positives: Counter[str] = Counter()
        for record in records:
            positives.update(self.positives(record))
        classes = Counter(r.expression.strip().casefold() for r in records if r.expression is not None)
        return {
            "subjects": len({record.subject for record in records}) if self.has_subjects else None,
            "clips": len(records),
            "frames": None if None in frames else sum(n for n in frames if n is not None),
            "positives": dict(sorted(positives.items(), key=lambda item: int(item[0].removeprefix("AU")))),
            "classes": dict(classes.most_common()),
        }


class StillCorpus(Corpus):
    """Base of corpora of photographs, each a clip of one frame, without subjects.

    The record's `extra` holds its "part" of the published split.

    Attributes:
        part_names: Parts of the published split.
    """

    has_subjects = False
    clip_frames = 1
    part_names: tuple[str, ...]

    def coded_frames(self, record: ClipRecord) -> int:
        """See `Corpus`."""
        return 1

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`."""
        return {
            part: [record for record in self.everything if record.extra["part"] == part]
            for part in self.part_names
        }

    def media_faults(self, record: ClipRecord) -> Iterator[str]:
        """See `Corpus`; images are decoded at low resolution."""
        fault = image_fault(record.path) if record.path.is_file() else "there is no such file"
        yield from [] if fault is None else [fault]


def check_choice(name: str, value: object, choices: Sequence[str | None]) -> None:
    """Raise a ConfigError if an argument is not one of the choices."""
    if value not in choices:
        remedy = f"Use one of: {', '.join(str(choice) for choice in choices if choice) or 'none'}."
        raise ConfigError(f"{name}={value!r} is not known.", remedy=remedy)


def class_counts(classes: ExpressionSet, counts: Sequence[int], **stated: Any) -> Counts:
    """Counts of clips with one class each, from the clips of each class and other `Counts`."""
    return Counts(clips=sum(counts), classes=dict(zip(classes.classes, counts, strict=True)), **stated)


def count_parts(classes: ExpressionSet, parts: Mapping[str, Sequence[int]]) -> Counts:
    """Counts of a corpus and of its parts, from the clips of each class in each part.

    Example:
        >>> counts = count_parts(ExpressionSet.parse("megc3"), {"a": (1, 2, 3), "b": (4, 5, 6)})
        >>> counts.clips, counts.classes["negative"], counts.parts["b"].clips
        (21, 5, 15)
    """
    whole = class_counts(classes, [sum(counts) for counts in zip(*parts.values(), strict=True)])
    return replace(whole, parts={part: class_counts(classes, counts) for part, counts in parts.items()})


def compare_counts(expected: Counts, found: Counts, place: str = "") -> list[str]:
    """Differences, a line each; only counts stated by `expected` are compared. Classes are stated all or none.

    Example:
        >>> compare_counts(Counts(clips=255, positives={"AU4": 129}), CountReport(clips=254, positives={"AU4": 129}))
        ['clips: 255 expected, 254 found']
    """
    lines = []
    for name in ("subjects", "clips", "frames"):
        wanted, there = getattr(expected, name), getattr(found, name)
        if wanted is not None and wanted != there:
            lines.append(f"{place}{name}: {wanted} expected, {there} found")
    for name, complete in (("positives", expected.all_units), ("classes", bool(expected.classes))):
        wanted, there = getattr(expected, name), getattr(found, name)
        lines += [
            f"{place}{name} {key}: {wanted.get(key, 0)} expected, {there.get(key, 0)} found"
            for key in dict.fromkeys([*wanted, *(there if complete else ())])
            if wanted.get(key, 0) != there.get(key, 0)
        ]
    for part, counts in expected.parts.items():
        lines += compare_counts(counts, found.parts.get(part, Counts(clips=0)), f"{place}{part} ")
    return lines
