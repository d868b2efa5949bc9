"""What the published corpora share: protocol splits, and counts that can be compared with the published ones."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from affectkit.data.record import ClipRecord
from affectkit.data.video import open_video
from affectkit.datasets.bases.dataset import AffectDataset, Split
from affectkit.datasets.bases.protocols import Fold, Protocol
from affectkit.errors import ConfigError, VideoError

__all__ = ["Corpus", "Counts", "Expected", "Found", "compare_counts"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much of everything a corpus, or a part of it, holds; None and absent keys are not stated.

    Args:
        subjects: People; None where the corpus does not know them.
        clips: Annotated rows, sequences or images.
        frames: Coded frames; None where only the media can tell.
        positives: Positive clips (frames, where frames are coded) by unit: `{"AU1": 26}`, sides stripped.
        classes: Clips by class, as the corpus names it, in lower case.
        parts: The same for the parts of its protocol.
    """

    subjects: int | None = None
    clips: int | None = None
    frames: int | None = None
    positives: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Expected(Counts):
    """What a revision of the annotation is known to hold.

    Args:
        all_units: Whether `positives` lists every unit, so that a further one is an error.
    """

    all_units: bool = False


@dataclass(frozen=True, kw_only=True)
class Found(Counts):
    """What was found on disk.

    Args:
        missing: Files and frames that the annotation names and that are absent or unreadable, a line each.
        conflicts: Labels that contradict each other, a line each.
    """

    missing: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


class Corpus(AffectDataset):
    """A published corpus: its annotation is parsed as a whole and divided by a protocol.

    A subclass sets the class attributes of `AffectDataset` and `expected`, stores its own arguments before
    `super().__init__`, and implements `annotations` and `labels`. Opening it must not need the media: paths of
    records may lead nowhere. The hooks `coded_frames`, `positives`, `parts` and `missing` say how to count.

    Args:
        root: Folder of the corpus, as distributed.
        split: The part to read; every part but "all" belongs to a fold.
        fold: Which fold: its name (`part3` tests part 3, `sub01` tests that subject), its place from 1, or a
            published numbering such as `me-graphau/1`. Not needed where the protocol has only one.
        protocol: Name of one of `protocols`; the first by default.
        seed: Seed of the choice of validation subjects.
        **options: Those of `AffectDataset`.

    Raises:
        ConfigError: The protocol or the fold does not exist, or a split was asked for without a fold.

    Attributes:
        expected: Published counts by revision of the annotation.
        protocols: The corpus's protocols, the usual one first.
        revision: The revision that was found.
        warnings: What was odd but could be read, a line each.
        conflicts: Labels that contradict each other, a line each.
    """

    expected: ClassVar[Mapping[str, Expected]] = {}
    protocols: ClassVar[tuple[Protocol, ...]]
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
        """One of `protocols`, the first by default.

        Raises:
            ConfigError: There is no such protocol.
        """
        known = {protocol.name: protocol for protocol in cls.protocols}
        if name is not None and name not in known:
            raise ConfigError(f"{cls.name} has no protocol {name!r}.", remedy=f"It has: {', '.join(known)}.")
        return cls.protocols[0] if name is None else known[name]

    @abstractmethod
    def annotations(self) -> list[ClipRecord]:
        """Parse every row, sequence or image; fill `revision`, `warnings` and `conflicts`."""

    @functools.cached_property
    def everything(self) -> tuple[ClipRecord, ...]:
        """All records of the corpus, whatever the split."""
        return tuple(self.annotations())

    def records(self) -> list[ClipRecord]:
        """The records of the chosen split."""
        if self.split == "all":
            return list(self.everything)
        members = set(getattr(self.chosen_fold, self.split))
        return [record for record in self.everything if self._unit_of_split(record) in members]

    @property
    def chosen_fold(self) -> Fold:
        """The fold that this dataset is a split of.

        Raises:
            ConfigError: No fold was chosen, and there are several.
        """
        people = map(self._unit_of_split, self.everything)
        if self.fold is not None:
            return self.protocol.fold(self.fold, people, seed=self.seed)
        folds = self.folds()
        if len(folds) > 1:
            raise ConfigError(
                f"A split of {type(self).name} needs a fold, its protocol {self.protocol.name} has {len(folds)}.",
                remedy=f"Choose one of {', '.join(fold.name for fold in folds)}, or split='all'.",
            )
        return folds[0]

    def folds(self) -> tuple[Fold, ...]:
        """All folds of the protocol, from the subjects that are there."""
        return self.protocol.folds(map(self._unit_of_split, self.everything), seed=self.seed)

    def count(self, *, media: bool = True) -> Found:
        """Count what is there, whatever the split.

        Args:
            media: Whether to look for the media as well.
        """
        return Found(
            **self._counts(self.everything),
            parts={name: Counts(**self._counts(part)) for name, part in self.parts().items()},
            missing=tuple(self.missing()) if media else (),
            conflicts=tuple(self.conflicts),
        )

    def coded_frames(self, record: ClipRecord) -> int | None:
        """How many frames the annotation codes in a record; None where only the media can tell."""
        return None

    def positives(self, record: ClipRecord) -> Mapping[str, int]:
        """Positives of a record by unit, for every unit the files hold; sides stripped, once a record."""
        active = record.au.active() if record.au is not None else ()
        return {f"AU{number}": 1 for number in sorted({unit.id for unit in active})}

    def parts(self) -> Mapping[str, Sequence[ClipRecord]]:
        """The records of each part of the protocol that has counts of its own; none by default."""
        return {}

    def missing(self) -> Iterable[str]:
        """What the annotation names and the media lack, a line each."""
        for record in self.everything:
            place = f"{record.clip} ({record.path})"
            if not record.path.exists():
                yield f"{place}: there is no such file"
                continue
            try:
                with open_video(record.path, self.backend) as reader:
                    there = reader.num_frames
            except VideoError as fault:
                yield f"{place}: {fault.fault}"
                continue
            named = [key + 1 for key in record.key_frames if key is not None]
            needed = max([record.stop or record.num_frames or 0, *named])
            if there < needed:
                yield f"{place}: {needed} frames are annotated, {there} are there"

    def _counts(self, records: Sequence[ClipRecord]) -> dict[str, Any]:
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

    def _unit_of_split(self, record: ClipRecord) -> str:
        return record.subject if record.subject is not None else record.clip


def compare_counts(expected: Counts, found: Counts, place: str = "") -> list[str]:
    """What differs, a line each; what `expected` does not state is not compared. Classes are stated all or none.

    Example:
        >>> compare_counts(Expected(clips=255, positives={"AU4": 129}), Found(clips=254, positives={"AU4": 129}))
        ['clips: 255 expected, 254 found']
    """
    lines = []
    for name in (item.name for item in fields(Counts)):
        wanted, there = getattr(expected, name), getattr(found, name)
        if name == "parts":
            for part, counts in wanted.items():
                lines += compare_counts(counts, there.get(part, Counts(clips=0)), f"{place}{part} ")
        elif isinstance(wanted, Mapping):
            complete = wanted and (name == "classes" or getattr(expected, "all_units", False))
            lines += [
                f"{place}{name} {key}: {wanted.get(key, 0)} expected, {there.get(key, 0)} found"
                for key in dict.fromkeys([*wanted, *(there if complete else ())])
                if wanted.get(key, 0) != there.get(key, 0)
            ]
        elif wanted is not None and wanted != there:
            lines.append(f"{place}{name}: {wanted} expected, {there} found")
    return lines
