"""Base of video corpora whose clips have levels, such as degrees of engagement, in fixed parts of different people."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from affectkit.data.frames import UniformSegments
from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.bases.protocols import Protocol
from affectkit.errors import SubjectLeakError
from affectkit.facs.scales import Levels

__all__ = ["PARTS", "LeveledCorpus", "fixed_parts"]

PARTS: Final = ("train", "validation", "test")
_VIDEOS: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})


class LeveledCorpus(Corpus):
    """A corpus of videos with a level per clip, divided into parts of different people.

    A subclass sets `lists` and `scales` and implements `read_list`; the `extra` of a record holds its "part" and, by
    target, the index of its level, -1 if it is not annotated. Counts of classes are those of the first scale.

    Attributes:
        lists: Names of the lists; the first group is the part.
        scales: Label space of each target.
    """

    clip_frames = 280
    lists: ClassVar[re.Pattern[str]]
    scales: ClassVar[Mapping[str, Levels]]

    def __init__(self, root: str | Path, **options: Any) -> None:
        self.spaces = {name: scale.name for name, scale in self.scales.items()}
        super().__init__(root, **options)

    @classmethod
    def sampling(cls, num_frames: int) -> dict[str, Any]:
        """See `AffectDataset`; shorter clips repeat their last frame."""
        return {"sampler": UniformSegments(num_frames, short="hold")}

    @functools.cached_property
    def media_files(self) -> Mapping[str, Path]:
        """Videos below the root, by their names without suffix."""
        return {
            Path(name).stem: folder / name
            for folder, names, _ in self.folders
            for name in names
            if Path(name).suffix.lower() in _VIDEOS
        }

    @abstractmethod
    def read_list(self, path: Path, part: str) -> Iterator[ClipRecord]:
        """Parse the rows of a list."""

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`.

        Raises:
            SubjectLeakError: A person is in two parts.
        """
        records: dict[str, ClipRecord] = {}
        found = {match[1].lower(): path for path, match in self.find_files(self.lists)}
        if not found:
            raise self.no_labels()
        rows = (self.read_list(found[part], part) for part in PARTS if part in found)
        for record in chain.from_iterable(rows):
            if records.setdefault(record.clip, record) is not record:
                self.warnings.append(f"{record.clip} is listed twice; the first row counts")
        self.revision = self.name
        home: dict[str | None, str] = {}
        for record in records.values():
            part = record.extra["part"]
            if home.setdefault(record.subject, part) != part:
                raise SubjectLeakError(
                    f"Subject '{record.subject}' appears in both '{home[record.subject]}' and '{part}'.",
                    path=record.path,
                    remedy="Get the original lists: their parts have different people.",
                )
        return list(records.values())

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`; one level per clip, []."""
        return {
            name: Target.make(torch.tensor(record.extra[name]), space=space)
            for name, space in self.spaces.items()
        }

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`."""
        return {part: [r for r in self.everything if r.extra["part"] == part] for part in PARTS}

    def split_unit(self, record: ClipRecord) -> str:
        """See `Corpus`; part and person."""
        return f"{record.extra['part']}/{record.subject}"

    def _count_records(self, records: Sequence[ClipRecord]) -> dict[str, Any]:
        name, scale = next(iter(self.scales.items()))
        levels = Counter(record.extra[name] for record in records)
        counts = {level: levels[place] for place, level in enumerate(scale.levels)}
        return super()._count_records(records) | {"classes": counts}


def fixed_parts(corpus: str) -> Protocol:
    """Protocol of three fixed parts of different people."""
    description = f"{corpus}, test people of the published division; epoch chosen on its validation people"
    return Protocol("official", corpus, description, prefix="test/", val_prefix="validation/")
