"""Base of the micro-expression corpora: short movements with onset, apex and offset, in folders of frames.

The annotation uses the frame numbers of file names. `onset`, `apex` and `offset` of a record are positions among the
files on disk, so they are known only if the media are there; the numbers are in `extra`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Corpus, CountReport, check_choice, compare_counts
from affectkit.datasets.bases.movements import MOVEMENT_COLUMNS, Movement
from affectkit.datasets.reading.codes import frame_ranges
from affectkit.datasets.reading.folders import ClipTree, find_trees, image_fault, list_frames, read_images
from affectkit.datasets.reading.sheets import Sheet, find_sheets, read_sheet
from affectkit.errors import DatasetNotFoundError, VideoError
from affectkit.facs.coding import AlternativePolicy
from affectkit.facs.expressions import ExpressionSet, canonical_expression, crosswalk
from affectkit.facs.recognition import OBJECTIVE
from affectkit.facs.rules import objective_class
from affectkit.facs.sets import AUSet

__all__ = ["ApexPolicy", "MicroCorpus", "ObjectiveSource", "unit_counts"]

ApexPolicy = Literal["midpoint", "none", "drop"]
ObjectiveSource = Literal["auto", "file", "column", "rules"]


def unit_counts(text: str) -> dict[str, int]:
    """Parse counts by unit.

    Example:
        >>> unit_counts("1:26 12:34")
        {'AU1': 26, 'AU12': 34}
    """
    return {f"AU{number}": int(count) for number, count in (pair.split(":") for pair in text.split())}


class MicroCorpus(Corpus):
    """Base of the micro-expression corpora.

    The record's `extra` holds `line`, `onset_frame`, `apex_frame`, `offset_frame` (numbers as in file names), `no_apex`
    (reason why there is none), `objective` (class 1 to 7), `objective_source` and `class` (index in `classes`, -1 for
    none of them).

    Args:
        root: Folder of the corpus, as distributed; or its spreadsheet, beside the folders of frames.
        units: Action units of the target "au": name of an `AUSet`, or a comma list.
        classes: Classes of the target "expression": name of an `ExpressionSet`, a comma list, "objective" (classes I
            to V) or "objective7".
        alternatives: Interpretation of the coder's "or": the first reading, all, none, or unknown ("mask").
        references: Whether units written as `ref(...)` count.
        apex: Apex for frame samplers if none is annotated: the frame midway from onset to offset, or none; "drop"
            leaves such clips out. The record's apex stays None.
        objective: Source of objective classes: "file", "column" (of the spreadsheet), "rules"
            (`affectkit.facs.objective_class`), or "auto": the first source available.
        require: Targets that a clip must be annotated for: ["expression"] keeps the clips of the chosen classes.
        errata: Names of published corrections to apply (`corrections`); none by default.
        media: Variant of the frames; "auto": the first of `media_order` on disk.
        sheet: Name of the spreadsheet in `root`, if there are several.
        **options: See `Corpus`.

    Attributes:
        units: Action units of "au"; None if the corpus codes none.
        classes: Classes of "expression".
        corrections: Descriptions of published corrections by name.
        tree: Folder of the frames; None if there is none.
    """

    fps = 200.0
    align_per = "clip"
    native: ClassVar[str]
    default_units: ClassVar[str | None] = None
    default_classes: ClassVar[str]
    media_order: ClassVar[tuple[str, ...]] = ("cropped", "raw")
    subject_form: ClassVar[str]
    folder_form: ClassVar[re.Pattern[str]]
    sheet_names: ClassVar[tuple[str, ...]] = ()
    corrections: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        root: str | Path,
        *,
        units: str | None = None,
        classes: str | None = None,
        alternatives: AlternativePolicy = "first",
        references: bool = True,
        apex: ApexPolicy = "midpoint",
        objective: ObjectiveSource = "auto",
        require: Sequence[str] = (),
        errata: Sequence[str] = (),
        media: str = "auto",
        sheet: str | None = None,
        **options: Any,
    ) -> None:
        units = units or self.default_units
        classes = classes or self.default_classes
        self.units = None if units is None else AUSet.parse(units)
        self.classes = OBJECTIVE[classes] if classes in OBJECTIVE else ExpressionSet.parse(classes)
        self.spaces = {} if self.units is None else {"au": self.units.name}
        self.spaces["expression"] = self.classes.name
        check_choice("alternatives", alternatives, get_args(AlternativePolicy))
        check_choice("apex", apex, get_args(ApexPolicy))
        check_choice("objective", objective, get_args(ObjectiveSource))
        check_choice("media", media, ("auto", *self.media_order))
        for erratum in errata:
            check_choice("errata", erratum, tuple(self.corrections))
        for target in require:
            check_choice("require", target, tuple(self.spaces))
        self.alternatives: AlternativePolicy = alternatives
        self.references = references
        self.apex: ApexPolicy = apex
        self.objective: ObjectiveSource = objective
        self.require = tuple(require)
        self.errata = tuple(errata)
        self.media = media
        self.sheet = sheet
        self.tree: ClipTree | None = None
        self._files: dict[str, list[Path]] = {}
        self._class_of: Mapping[str, int] | None = None
        if classes not in OBJECTIVE:
            native = ExpressionSet.parse(self.native)
            goals = (-1 if goal is None else goal for goal in crosswalk(native, self.classes))
            self._class_of = dict(zip(native.classes, goals, strict=True))
        super().__init__(root, **options)

    @abstractmethod
    def movements(self) -> list[Movement]:
        """Parse every row of the annotation."""

    def correct(self, movements: list[Movement], erratum: str) -> list[Movement]:
        """Apply one of the published `corrections`."""
        return movements

    def is_excluded(self, movement: Movement) -> bool:
        """Whether the protocol of `classes` leaves out a clip in spite of its class."""
        return False

    def revisions(self) -> tuple[str, ...]:
        """Keys of `expected` that the annotation may be."""
        return tuple(self.expected)

    def select_tree(self, tree: ClipTree) -> ClipTree | None:
        """The tree as read by this dataset; None for a tree of something else."""
        return tree

    def find_variant(self, tree: ClipTree) -> str:
        """Variant in `media_order` of a tree."""
        return "cropped" if "crop" in self._place(tree) else "raw"

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        self.tree = self._find_media()
        movements = self.movements()
        self.revision = self._find_revision([self._record(movement) for movement in movements])
        for erratum in self.errata:
            movements = self.correct(movements, erratum)
        if self.tree is None:
            self.warnings.append("No frames were found: annotations only.")
            records = [self._record(movement) for movement in movements]
        else:
            records = [self._locate(movement, self.tree) for movement in movements]
            self._warn_of_unlisted(movements, self.tree)
            self.crop = "none" if self.find_variant(self.tree) == "cropped" else "auto"
        for record in records:
            if record.extra["no_apex"] is not None and record.au is not None:
                self._warn(record, f"no apex: {record.extra['no_apex']}")
            if record.au is not None and not record.au.known:
                self._warn(record, f"the action units are unknown ({record.au.text!r})")
        return [record for record in records if self._is_wanted(record)]

    def parts(self) -> Mapping[str, Sequence[ClipRecord]]:
        """See `Corpus`; the records of each subject."""
        return _by_subject(self.everything)

    def coded_frames(self, record: ClipRecord) -> int | None:
        """See `Corpus`; frames from onset to offset, or all frames of the clip without these."""
        onset, offset = record.extra["onset_frame"], record.extra["offset_frame"]
        return record.num_frames if onset is None else int(offset - onset + 1)

    def missing(self) -> Iterator[str]:
        """See `Corpus`."""
        if self.tree is None:
            yield f"{self.root}: there is no folder with the frames of {self.name}"
        else:
            yield from super().missing()

    def media_faults(self, record: ClipRecord) -> Iterator[str]:
        """See `Corpus`; images are decoded at low resolution."""
        if not record.path.is_dir():
            yield from super().media_faults(record)
            return
        files = list_frames(record.path)
        if absent := _absent(record.extra["onset_frame"], record.extra["offset_frame"], files):
            yield f"frames {frame_ranges(absent)} are missing"
        elif not files:
            yield "there is no frame"
        for path in self._files.get(record.clip, [])[record.start : record.stop]:
            if (fault := image_fault(path)) is not None:
                yield f"{path.name}: {fault}"

    def sampling_keys(self, record: ClipRecord) -> tuple[int | None, int | None, int | None]:
        """See `AffectDataset`; with the option `apex` for clips without one."""
        onset, apex, offset = record.key_frames
        if self.apex == "midpoint" and apex is None and onset is not None and offset is not None:
            apex = (onset + offset) // 2
        return onset, apex, offset

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`."""
        targets = {}
        if self.units is not None and record.au is not None:
            values, known = record.au.occurrence(self.units, self.alternatives, references=self.references)
            targets["au"] = Target.make(torch.tensor(values), torch.tensor(known), space=self.spaces["au"])
        index = torch.tensor(record.extra["class"])
        targets["expression"] = Target.make(index, space=self.spaces["expression"])
        return targets

    def load(self, record: ClipRecord, indices: Sequence[int]) -> Tensor:
        """See `AffectDataset`; the frames of a folder are the images whose names end in a number."""
        files = self._files.get(record.clip)
        if files is None:
            return super().load(record, indices)
        if max(indices) >= len(files):
            raise VideoError(f"The clip has {len(files)} frames.", path=record.path, frame=max(indices))
        return read_images([files[index] for index in indices], indices)

    def find_sheet(self) -> Sheet:
        """Read the coding table."""
        if self.sheet is not None:
            return read_sheet(self._folder / self.sheet, MOVEMENT_COLUMNS)
        fitting = find_sheets(self.root, MOVEMENT_COLUMNS, self.sheet_names)
        if not fitting:
            remedy = f"Copy it there; datasets/{self.name.lower()}/README.md describes its source."
            raise DatasetNotFoundError(
                f"There is no spreadsheet of {self.name} here.", path=self.root, remedy=remedy
            )
        if len(fitting) > 1:
            others = ", ".join(path.name for path in fitting[1:])
            self.warnings.append(f"{fitting[0].name} is read, not {others}; `sheet` selects another one.")
        return read_sheet(fitting[0], MOVEMENT_COLUMNS)

    @property
    def _folder(self) -> Path:
        return self.root.parent if self.root.is_file() else self.root

    def _place(self, tree: ClipTree) -> str:
        """Path of a tree below the root, in lower case."""
        return tree.root.relative_to(self._folder).as_posix().lower()

    def _find_revision(self, records: Sequence[ClipRecord]) -> str:
        """The known revision with the fewest different counts."""
        parts = {name: CountReport(clips=len(part)) for name, part in _by_subject(records).items()}
        found = CountReport(**self._count_records(records), parts=parts)
        lines = {name: compare_counts(self.expected[name], found) for name in self.revisions()}
        stated = {name: len(compare_counts(self.expected[name], CountReport())) for name in lines}
        closest = min(lines, key=lambda name: len(lines[name]) / stated[name])
        if lines[closest]:
            some = "; ".join(lines[closest][:3]) + ("; …" if len(lines[closest]) > 3 else "")
            self.warnings.append(f"No known revision; {closest} is the closest, except for: {some}")
        return closest

    def _objective(self, movement: Movement) -> tuple[int | None, str | None]:
        """Objective class and its source."""
        for source in ("file", "column", "rules") if self.objective == "auto" else (self.objective,):
            if source in movement.objective:
                return movement.objective[source], source
            if source == "rules" and movement.au is not None and movement.au.known:
                units = movement.au.active(self.alternatives, references=self.references)
                return objective_class(units), source
        return None, None

    def _record(self, movement: Movement, no_apex: str | None = None, **place: Any) -> ClipRecord:
        """Record of a movement with the fields `place` of its media."""
        subject = self.subject_form % movement.person
        number, source = self._objective(movement)
        if self._class_of is None:
            index = number - 1 if number is not None and number <= len(self.classes) else -1
        elif movement.emotion is None or self.is_excluded(movement):
            index = -1
        else:
            index = self._class_of[canonical_expression(movement.emotion)]
        extra = {
            "line": movement.line,
            "onset_frame": movement.onset,
            "apex_frame": movement.apex,
            "offset_frame": movement.offset,
            "no_apex": no_apex or movement.no_apex,
            "objective": number,
            "objective_source": source,
            "class": index,
        }
        return ClipRecord(
            clip=f"{subject}/{movement.clip}",
            subject=subject,
            fps=self.fps,
            au=movement.au,
            expression=movement.emotion,
            extra=extra,
            **{"path": self._folder / subject / movement.clip, **place},
        )

    def _locate(self, movement: Movement, tree: ClipTree) -> ClipRecord:
        """Record of a movement among the files on disk."""
        path = tree.path(movement.person, movement.clip)
        onset, apex, offset = movement.onset, movement.apex, movement.offset
        if path.is_file():  # a video, whose first frame is frame 1
            keys = [None if number is None else number - 1 for number in (onset, apex, offset)]
            fields: dict[str, Any] = dict(zip(("onset", "apex", "offset"), keys, strict=True))
            return self._record(movement, path=path, start=keys[0] or 0, stop=offset, **fields)
        files = list_frames(path) if path.exists() else {}
        numbers = list(files)
        start = 0 if onset is None else bisect_left(numbers, onset)
        stop = len(numbers) if offset is None else bisect_right(numbers, offset)
        if start >= stop:
            record = self._record(movement, path=path)
            if not path.exists():
                self._warn(record, "its frames are not on disk")
            elif onset is not None:
                self._warn(record, "none of its frames is on disk")
        else:
            lost = apex is not None and apex not in files
            record = self._record(
                movement,
                f"frame {apex} is not among the files" if lost else None,
                path=path,
                num_frames=len(files),
                start=start,
                stop=stop,
                onset=start,
                apex=None if lost or apex is None else numbers.index(apex),
                offset=stop - 1,
            )
            if absent := _absent(onset, offset, files):
                self._warn(record, f"frames {frame_ranges(absent)} are not on disk; the others are read")
        if path.exists():
            self._files[record.clip] = [path / name for name in files.values()] if start < stop else []
        return record

    def _find_media(self) -> ClipTree | None:
        trees: dict[str, ClipTree] = {}
        for tree in filter(None, map(self.select_tree, find_trees(self._folder, self.folder_form))):
            trees.setdefault(self.find_variant(tree), tree)
        if self.media != "auto" and self.media not in trees:
            fault = f"There are no {self.media} frames of {self.name} here."
            remedy = f"Unpack them, or set another `media`; found: {', '.join(trees) or 'none'}."
            raise DatasetNotFoundError(fault, path=self._folder, remedy=remedy)
        order = self.media_order if self.media == "auto" else (self.media,)
        return next((trees[name] for name in order if name in trees), None)

    def _warn(self, record: ClipRecord, text: str) -> None:
        line = "" if record.extra["line"] is None else f", line {record.extra['line']}"
        self.warnings.append(f"{record.clip}{line}: {text}")

    def _warn_of_unlisted(self, movements: Sequence[Movement], tree: ClipTree) -> None:
        """Warn of clips on disk that are not annotated."""
        known = {(movement.person, movement.clip.casefold()) for movement in movements}
        more = [
            f"{self.subject_form % person}/{path.stem}"
            for person in sorted(tree.clips)
            for name, path in tree.clips[person].items()
            if (person, name) not in known and (path.is_dir() or path.suffix.lower() == ".avi")
        ]
        if more:
            some = ", ".join(more[:5]) + (", …" if len(more) > 5 else "")
            self.warnings.append(f"Clips on disk that are not in the table: {len(more)}, {some}")

    def _is_wanted(self, record: ClipRecord) -> bool:
        annotated = {
            "au": record.au is not None and record.au.known,
            "expression": record.extra["class"] >= 0,
        }
        dropped = self.apex == "drop" and record.extra["no_apex"] is not None
        return all(annotated[name] for name in self.require) and not dropped


def _absent(onset: int | None, offset: int | None, files: Mapping[int, str]) -> list[int]:
    """Annotated frames without a file."""
    return [] if onset is None or offset is None else [n for n in range(onset, offset + 1) if n not in files]


def _by_subject(records: Sequence[ClipRecord]) -> dict[str, list[ClipRecord]]:
    parts: dict[str, list[ClipRecord]] = defaultdict(list)
    for record in records:
        parts[str(record.subject)].append(record)
    return dict(parts)
