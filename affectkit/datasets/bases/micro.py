"""What the micro-expression corpora share: short movements with onset, apex and offset, in folders of frames.

An annotation numbers frames as their files do. `onset`, `apex` and `offset` of a record are positions among the
files that are there, so they are known only where the media are; the numbers stand in `extra`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.data.video import open_video
from affectkit.datasets.bases.apex import ApexPolicy, Midpoint
from affectkit.datasets.bases.corpus import Corpus, Found, compare_counts
from affectkit.datasets.bases.movements import MOVEMENT_COLUMNS, Movement
from affectkit.datasets.bases.placement import media_faults, place_movement
from affectkit.datasets.reading.folders import ClipTree, find_trees
from affectkit.datasets.reading.sheets import Sheet, find_sheets, read_sheet
from affectkit.errors import ConfigError, DatasetNotFoundError, VideoError
from affectkit.facs.coding import AlternativePolicy
from affectkit.facs.expressions import ExpressionSet, canonical_expression, crosswalk
from affectkit.facs.recognition import OBJECTIVE
from affectkit.facs.rules import objective_class
from affectkit.facs.sets import AUSet

__all__ = ["MicroCorpus", "ObjectiveSource", "unit_counts"]

ObjectiveSource = Literal["auto", "file", "column", "rules"]


def unit_counts(text: str) -> dict[str, int]:
    """Read counts by unit, as tables of them are printed.

    Example:
        >>> unit_counts("1:26 12:34")
        {'AU1': 26, 'AU12': 34}
    """
    return {f"AU{number}": int(count) for number, count in (pair.split(":") for pair in text.split())}


class MicroCorpus(Corpus):
    """Base of the micro-expression corpora.

    `annotations` may be read without media. The record's `extra` holds `line`, `onset_frame`, `apex_frame`,
    `offset_frame` (numbers as in file names), `no_apex` (why there is none), `objective` (class 1 to 7),
    `objective_source` and `class` (index in `classes`, -1 for none of them).

    Args:
        root: Folder of the corpus, as distributed; or its spreadsheet, beside the folders of frames.
        units: Action units of the target "au": name of an `AUSet`, or a comma list.
        classes: Classes of the target "expression": name of an `ExpressionSet`, a comma list, "objective"
            (classes I to V) or "objective7".
        alternatives: What the coder's "or" stands for: its first reading, all, none, or unknown ("mask").
        references: Whether units written as `ref(...)` count.
        apex: What frame samplers get where no apex is annotated: the frame midway from onset to offset, or
            nothing; "drop" leaves such clips out. The record's apex stays None.
        objective: Where objective classes are taken from: "file", "column" (of the spreadsheet), "rules"
            (`affectkit.facs.objective_class`), or "auto": the first of these that is there.
        require: Targets that a clip must be annotated for, others are left out: ["expression"] leaves the
            clips of the chosen classes.
        errata: Names of published corrections to apply (`corrections`); none by default.
        media: Which variant of the frames is read; "auto": the first of `media_order` that is there.
        sheet: Name of the spreadsheet in `root`, where there are several.
        **options: Those of `Corpus`.

    Attributes:
        units: The action units of "au"; None where the corpus codes none.
        classes: The classes of "expression".
        corrections: Published corrections by name.
        tree: The folder of frames that is read; None where there is none.
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
        _check_choice("alternatives", [alternatives], get_args(AlternativePolicy))
        _check_choice("apex", [apex], get_args(ApexPolicy))
        _check_choice("objective", [objective], get_args(ObjectiveSource))
        _check_choice("media", [media], ("auto", *self.media_order))
        _check_choice("errata", errata, tuple(self.corrections))
        _check_choice("require", require, tuple(self.spaces))
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
        self._class_of = None if classes in OBJECTIVE else self._route()
        super().__init__(root, **options)
        if apex == "midpoint":
            self.sampler = Midpoint(self.sampler)

    @abstractmethod
    def movements(self) -> list[Movement]:
        """Parse every row of the annotation."""

    def correct(self, movements: list[Movement], erratum: str) -> list[Movement]:
        """Apply one of the published `corrections`."""
        return movements

    def left_out(self, movement: Movement) -> bool:
        """Whether the protocol that goes with `classes` leaves a clip out although its class would fit."""
        return False

    def revisions(self) -> tuple[str, ...]:
        """Keys of `expected` that the annotation may be."""
        return tuple(self.expected)

    def usable(self, tree: ClipTree) -> ClipTree | None:
        """The tree as this dataset reads it; None for one of something else."""
        return tree

    def variant(self, tree: ClipTree) -> str:
        """Which of `media_order` a tree holds."""
        return "cropped" if "crop" in self._place(tree) else "raw"

    def annotations(self) -> list[ClipRecord]:
        """Parse every row; see `Corpus`."""
        self.tree = self._find_media()
        movements = self.movements()
        self.revision = self._closest([self._record(movement) for movement in movements])
        for erratum in self.errata:
            movements = self.correct(movements, erratum)
        if self.tree is None:
            self.warnings.append("No frames were found: annotations only.")
            records = [self._record(movement) for movement in movements]
        else:
            records = [self._locate(movement, self.tree) for movement in movements]
            self._warn_of_more(movements, self.tree)
            self.crop = "none" if self.variant(self.tree) == "cropped" else "auto"
        for record in records:
            if record.extra["no_apex"] is not None and record.au is not None:
                self._warn(record, f"no apex: {record.extra['no_apex']}")
            if record.au is not None and not record.au.known:
                self._warn(record, f"the action units are unknown ({record.au.text!r})")
        return [record for record in records if self._wanted(record)]

    def parts(self) -> Mapping[str, Sequence[ClipRecord]]:
        """The records of each subject: the test parts of leave-one-subject-out."""
        return _by_subject(self.everything)

    def coded_frames(self, record: ClipRecord) -> int | None:
        """Frames from onset to offset, as annotated; those of the clip where that is all there is of it."""
        onset, offset = record.extra["onset_frame"], record.extra["offset_frame"]
        return record.num_frames if onset is None else int(offset - onset + 1)

    def missing(self) -> Iterator[str]:
        """Frames that are annotated and absent, and images and videos that cannot be decoded."""
        if self.tree is None:
            yield f"{self.root}: there is no folder with the frames of {self.name}"
            return
        for record in self.everything:
            onset, offset = record.extra["onset_frame"], record.extra["offset_frame"]
            read = self._files.get(record.clip, [])[record.start : record.stop]
            for fault in media_faults(record, onset, offset, read, self.backend):
                yield f"{record.clip} ({record.path}): {fault}"

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
        """See `AffectDataset`; the frames of a folder are those whose names end in a number."""
        files = self._files.get(record.clip)
        if files is None:
            return super().load(record, indices)
        frames = []
        for index in indices:
            if index >= len(files):
                raise VideoError(f"The clip has {len(files)} frames.", path=record.path, frame=index)
            with open_video(files[index]) as reader:
                frames.append(reader.read([0]))
            if frames[-1].shape != frames[0].shape:
                raise VideoError("The frame differs in size from the others.", path=files[index], frame=index)
        return torch.cat(frames)

    def find_sheet(self) -> Sheet:
        """Read the coding table.

        Raises:
            DatasetNotFoundError: There is none.
            AnnotationError: The best candidate is not one.
        """
        if self.sheet is not None:
            return read_sheet(self._folder / self.sheet, MOVEMENT_COLUMNS)
        fitting = find_sheets(self.root, MOVEMENT_COLUMNS, self.sheet_names)
        if not fitting:
            raise DatasetNotFoundError(
                f"There is no spreadsheet of {self.name} here.",
                path=self.root,
                remedy=f"Put it there; datasets/{self.name.lower()}/README.md says where it is from.",
            )
        if len(fitting) > 1:
            others = ", ".join(path.name for path in fitting[1:])
            self.warnings.append(f"{fitting[0].name} is read, not {others}; `sheet` chooses another.")
        return read_sheet(fitting[0], MOVEMENT_COLUMNS)

    @property
    def _folder(self) -> Path:
        return self.root.parent if self.root.is_file() else self.root

    def _place(self, tree: ClipTree) -> str:
        """A tree's path below the root in lower case; the root's own name says nothing."""
        return tree.root.relative_to(self._folder).as_posix().lower()

    def _route(self) -> Mapping[str, int]:
        """The index in `classes` of each of the corpus's words."""
        native = ExpressionSet.parse(self.native)
        goals = crosswalk(native, self.classes)
        return {name: -1 if goal is None else goal for name, goal in zip(native.classes, goals, strict=True)}

    def _closest(self, records: Sequence[ClipRecord]) -> str:
        """The known revision with the fewest counts that differ."""
        parts = {name: Found(clips=len(part)) for name, part in _by_subject(records).items()}
        found = Found(**self._counts(records), parts=parts)
        lines = {name: compare_counts(self.expected[name], found) for name in self.revisions()}
        stated = {name: len(compare_counts(self.expected[name], Found())) for name in lines}
        closest = min(lines, key=lambda name: len(lines[name]) / stated[name])
        if lines[closest]:
            some = "; ".join(lines[closest][:3]) + ("; …" if len(lines[closest]) > 3 else "")
            self.warnings.append(f"No known revision; {closest} is the closest, but for: {some}")
        return closest

    def _objective(self, movement: Movement) -> tuple[int | None, str | None]:
        """The objective class, and where it is from."""
        for source in ("file", "column", "rules") if self.objective == "auto" else (self.objective,):
            if source in movement.objective:
                return movement.objective[source], source
            if source == "rules" and movement.au is not None and movement.au.known:
                units = movement.au.active(self.alternatives, references=self.references)
                return objective_class(units), source
        return None, None

    def _record(self, movement: Movement, *, no_apex: str | None = None, **place: Any) -> ClipRecord:
        """The record of a movement; `place` says where it is, if anywhere."""
        subject = self.subject_form % movement.person
        number, source = self._objective(movement)
        extra = {
            "line": movement.line,
            "onset_frame": movement.onset,
            "apex_frame": movement.apex,
            "offset_frame": movement.offset,
            "no_apex": no_apex or movement.no_apex,
            "objective": number,
            "objective_source": source,
            "class": self._class(movement, number),
        }
        place.setdefault("path", self._folder / subject / movement.clip)
        return ClipRecord(
            clip=f"{subject}/{movement.clip}",
            subject=subject,
            fps=self.fps,
            au=movement.au,
            expression=movement.emotion,
            extra=extra,
            **place,
        )

    def _class(self, movement: Movement, number: int | None) -> int:
        if self._class_of is None:
            return number - 1 if number is not None and number <= len(self.classes) else -1
        if movement.emotion is None or self.left_out(movement):
            return -1
        return self._class_of[canonical_expression(movement.emotion)]

    def _find_media(self) -> ClipTree | None:
        trees: dict[str, ClipTree] = {}
        for found in find_trees(self._folder, self.folder_form):
            tree = self.usable(found)
            if tree is not None:
                trees.setdefault(self.variant(tree), tree)
        if self.media == "auto":
            return next((trees[name] for name in self.media_order if name in trees), None)
        if self.media not in trees:
            raise DatasetNotFoundError(
                f"There are no {self.media} frames of {self.name} here.",
                path=self._folder,
                remedy=f"Unpack them, or choose other `media`; found: {', '.join(trees) or 'none'}.",
            )
        return trees[self.media]

    def _locate(self, movement: Movement, tree: ClipTree) -> ClipRecord:
        """The record of a movement among the files that are there."""
        place = place_movement(movement, tree.path(movement.person, movement.clip))
        record = self._record(movement, no_apex=place.no_apex, **place.fields)
        if place.files is not None:
            self._files[record.clip] = place.files
        for note in place.notes:
            self._warn(record, note)
        return record

    def _warn(self, record: ClipRecord, text: str) -> None:
        line = "" if record.extra["line"] is None else f", line {record.extra['line']}"
        self.warnings.append(f"{record.clip}{line}: {text}")

    def _warn_of_more(self, movements: Sequence[Movement], tree: ClipTree) -> None:
        """Name the clips that are there and not annotated."""
        known = {(movement.person, movement.clip.casefold()) for movement in movements}
        more = [
            f"{self.subject_form % person}/{path.stem}"
            for person in sorted(tree.people)
            for name, path in tree.clips(person).items()
            if (person, name) not in known and (path.is_dir() or path.suffix.lower() == ".avi")
        ]
        if more:
            some = ", ".join(more[:5]) + (", …" if len(more) > 5 else "")
            self.warnings.append(f"{len(more)} clips are there and not in the table: {some}")

    def _wanted(self, record: ClipRecord) -> bool:
        annotated = {
            "au": record.au is not None and record.au.known,
            "expression": record.extra["class"] >= 0,
        }
        return all(annotated[name] for name in self.require) and not (
            self.apex == "drop" and record.extra["no_apex"] is not None
        )


def _by_subject(records: Sequence[ClipRecord]) -> dict[str, list[ClipRecord]]:
    parts: dict[str, list[ClipRecord]] = {}
    for record in records:
        parts.setdefault(str(record.subject), []).append(record)
    return parts


def _check_choice(name: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise ConfigError(
                f"{name}={value!r} is not known.", remedy=f"Use one of: {', '.join(choices) or 'none'}."
            )
