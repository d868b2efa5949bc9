"""BP4D-Spontaneous: occurrence of 34 action units and intensity of five, frame by frame."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.protocols import Protocol, three_folds
from affectkit.datasets.bases.recordings import (
    NOT_CODED,
    CodedCorpus,
    Recording,
    add_table,
    find_gaps,
    join_tables,
)
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import CodeTable, read_codes
from affectkit.datasets.reading.landmarks import FitFiles
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError
from affectkit.facs.regions import POINTS_49
from affectkit.facs.sets import AUSet

__all__ = ["BP4D"]

_PREVIEW = re.compile(r"([FM]\d{3}_T\d{1,2})\.(avi|mp4|mov|mkv)", re.ASCII | re.IGNORECASE)
_FEATURES = re.compile(r"([FM]\d{3}_T\d{1,2})\.mat", re.ASCII | re.IGNORECASE)
_PICTURE = (1040, 1392)
_SUBJECT = re.compile(r"[FM]\d{3}", re.ASCII | re.IGNORECASE)
_TASK = re.compile(r"T\d{1,2}", re.ASCII | re.IGNORECASE)
_LEGACY = re.compile(r"2([FM])(\d\d)_(\d\d)", re.ASCII | re.IGNORECASE)
_LEGACY_TASKS = {"01": 1, "03": 2, "07": 3, "08": 4, "09": 5, "10": 6, "11": 7, "13": 8}
_UNIT_FOLDER = re.compile(r"AU(\d{1,2})", re.ASCII | re.IGNORECASE)
CODED = frozenset(unit.id for unit in AUSet.parse("bp4d34"))

# Rows of the occurrence files, all sequences of a subject and all of a task together.
_SUBJECT_ROWS = {
    "F": (3934, 3937, 3700, 3737, 3915, 3576, 3573, 3695, 3297, 3266, 3732, 3543, 3434, 3490, 3451, 3510, 3823,
          3525, 3489, 3646, 3447, 3593, 3726),
    "M": (4153, 3833, 3379, 3521, 3271, 3572, 3684, 3291, 3290, 3298, 3469, 3609, 3613, 3483, 3664, 3648, 3542,
          3488),
}  # fmt: skip
ROWS = {
    f"{sex}{number:03d}": rows
    for sex, counts in _SUBJECT_ROWS.items()
    for number, rows in enumerate(counts, start=1)
}
TASKS = tuple(f"T{number}" for number in range(1, 9))

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "part1": (
        "F001", "F002", "F008", "F009", "F010", "F016", "F018", "F023", "M001", "M004", "M007", "M008", "M012",
        "M014",
    ),
    "part2": (
        "F003", "F005", "F011", "F013", "F020", "F022", "M002", "M005", "M010", "M011", "M013", "M016", "M017",
        "M018",
    ),
    "part3": (
        "F004", "F006", "F007", "F012", "F014", "F015", "F017", "F019", "F021", "M003", "M006", "M009", "M015",
    ),
}  # fmt: skip
_FERA_2015: Final = {
    "train": tuple(subject for part in PARTS.values() for subject in part if int(subject[1:]) % 2),
    "dev": tuple(subject for part in PARTS.values() for subject in part if not int(subject[1:]) % 2),
}

_POSITIVES = {
    1: 31042, 2: 25110, 4: 29755, 5: 5693, 6: 67676, 7: 80616, 9: 8512, 10: 87270, 11: 7184, 12: 82530, 13: 138,
    14: 68375, 15: 24869, 16: 6593, 17: 50406, 18: 568, 19: 1197, 20: 3644, 22: 606, 23: 24288, 24: 22229, 27: 1271,
    28: 5697, 29: 0, 30: 506, 31: 33, 32: 1466, 33: 19, 34: 121, 35: 0, 36: 0, 37: 21, 38: 1319, 39: 657,
}  # fmt: skip
_PART_POSITIVES = {
    "part1": (14, 50631, (8322, 8172, 10085, 21055, 29862, 29183, 28277, 20274, 7664, 16080, 8023, 7076)),
    "part2": (14, 50182, (10223, 6568, 9870, 23312, 27651, 27954, 26187, 25762, 10024, 18379, 8657, 7867)),
    "part3": (13, 46034, (12497, 10370, 9800, 23309, 23103, 30133, 28066, 22339, 7181, 15947, 7608, 7286)),
}


@register
class BP4D(SequenceCorpus):
    """BP4D-Spontaneous (and BP4D+, if its files have the same form).

    41 subjects in 8 tasks: 328 recordings at 25 fps, of which 146,847 frames are coded. Targets per frame: "au",
    occurrence of the units in `space`; "intensity", 0 to 5, of the units in `intensity_space`. The code 9 (unknown) is
    masked. A target exists if its files do (`AU_OCC`, `AU_INT`).

    Label frames are numbered from 1. The images of the official tree are numbered from 0, so image `N` shows label
    frame `N + 1`; derived trees often name images by their label frame.

    Args:
        space: Units of "au".
        intensity_space: Units of "intensity".
        media: "auto" for images if there are any, else the preview videos; "preview" for the videos; or the folder,
            relative to `root`, of the subjects' images.
        frame_offset: Number of an image minus the label frame that it shows; by default -1 in the official tree
            (`Sequences…`) and if images are numbered from 0, else 0. Not used for preview videos.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.
    """

    name = "BP4D"
    citation = (
        "X. Zhang, L. Yin, J. F. Cohn, S. Canavan, M. Reale, A. Horowitz, P. Liu, J. M. Girard: BP4D-Spontaneous: a "
        "high-resolution spontaneous 3D dynamic facial expression database. Image and Vision Computing 32(10), 2014."
    )
    licence = "On a signed agreement with Binghamton University, for research; not redistributable."
    label_files = re.compile(r"([FM]\d{3}_T\d{1,2})(?:_AU(\d{1,2}))?\.csv", re.ASCII | re.IGNORECASE)
    labels_hint = "AUCoding, with files like F001_T1.csv and F001_T1_AU06.csv"
    closed = re.compile(f"{_TASK.pattern}|{_LEGACY.pattern}|3DFeatures|Physiology|Thermal|IRFeatures", re.I)
    protocols = (
        three_folds("BP4D", PARTS),
        Protocol(
            "fera2015",
            "BP4D",
            "BP4D, FERA 2015: trained on odd-numbered subjects, tested on the even-numbered ones (its development "
            "partition); epoch chosen on validation subjects of the odd-numbered",
            parts=_FERA_2015,
            tested=("dev",),
            val_fraction=0.2,
        ),
    )
    frames_per_second = 25.0
    media_options = ("frame_offset",)
    expected: ClassVar[Mapping[str, Counts]] = {
        "BP4D": Counts(
            subjects=41,
            clips=328,
            frames=146_847,
            positives={f"AU{unit}": n for unit, n in _POSITIVES.items()},
            all_units=True,
            parts={
                part: Counts(
                    subjects=subjects,
                    clips=8 * subjects,
                    frames=frames,
                    positives=dict(zip(AUSet.parse("bp4d12").labels, positives, strict=True)),
                )
                for part, (subjects, frames, positives) in _PART_POSITIVES.items()
            },
        ),
        "BP4D, intensities only": Counts(subjects=41, clips=328),
    }

    def __init__(
        self,
        root: str | Path,
        *,
        space: str = "bp4d12",
        intensity_space: str = "bp4d5",
        media: str = "auto",
        frame_offset: int | None = None,
        **options: Any,
    ) -> None:
        intensity = AUSet.parse(intensity_space).as_intensity()
        self.spaces = {"au": AUSet.parse(space).as_occurrence().name, "intensity": intensity.name}
        self.media = media
        self.frame_offset = frame_offset
        super().__init__(root, **options)

    def parse(self, files: Sequence[tuple[Path, re.Match[str]]]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        warnings: list[str] = []
        tables: dict[tuple[str, int], CodeTable] = {}
        for path, match in files:
            unit = int(match[2] or 0)
            add_table(tables, (match[1].upper(), unit), _read_table(path, unit), warnings)
        occurrence = {name: table for (name, unit), table in tables.items() if not unit}
        intensity: dict[str, dict[int, CodeTable]] = defaultdict(dict)
        for (name, unit), table in tables.items():
            if unit:
                intensity[name][unit] = table
        known = {name: _known_units(table) for name, table in occurrence.items()}
        columns = {"au": tuple(sorted(set().union(*known.values())))} if occurrence else {}
        if intensity:
            columns["intensity"] = tuple(sorted({unit for units in intensity.values() for unit in units}))
        names = sorted({**occurrence, **intensity})
        plain = not occurrence or any(table.columns == tuple(range(1, 100)) for table in occurrence.values())
        revision = "BP4D" if occurrence else "BP4D, intensities only"
        if not plain or any(name[:4] not in ROWS or name[5:] not in TASKS for name in names):
            revision = "BP4D+"
        recordings = [
            join_tables(name, name.split("_")[0], columns, intensity.get(name, {}), occurrence.get(name))
            for name in names
        ]
        for recording in recordings:
            warnings += find_gaps(recording)
        warnings += _irregularities(occurrence, intensity, known, columns)
        if revision == "BP4D":
            warnings += _uneven_subjects(recordings)
        conflicts = [line for recording in recordings for line in _conflicts(recording, columns)]
        return CodedCorpus(revision, columns, recordings, warnings, conflicts)

    def find_media(self) -> Mapping[str, Path]:
        """See `SequenceCorpus`."""
        previews = {match[1].upper(): path for path, match in self.find_files(_PREVIEW)}
        if self.media == "preview":
            return previews
        trees: dict[Path, dict[str, Path]] = defaultdict(dict)
        for folder, _, names in self.folders:
            for name in names:
                if _SUBJECT.fullmatch(folder.name) and _TASK.fullmatch(name):
                    trees[folder.parent][f"{folder.name}_{name}".upper()] = folder / name
                elif (match := _LEGACY.fullmatch(name)) and match[3] in _LEGACY_TASKS:
                    sequence = f"{match[1]}0{match[2]}_T{_LEGACY_TASKS[match[3]]}".upper()
                    trees[folder][sequence] = folder / name
        with_images = [tree for tree, places in trees.items() if _hold_images(places.values())]
        with_images.sort(key=lambda tree: not _is_official(tree))
        if self.media == "auto" and len(with_images) > 1 and not _is_official(with_images[0]):
            others = ", ".join(map(str, with_images[1:]))
            self.warnings.append(f"{with_images[0]}: its images are used; there are others in {others}")
        return self.choose_media({tree: trees[tree] for tree in with_images}) or previews

    def count_from_zero(self, images: Mapping[Path, Mapping[int, str]]) -> bool:
        """See `SequenceCorpus`."""
        trees = ((folder.parent.parent, folder.name) for folder in images)
        official = any(_is_official(tree) or _LEGACY.fullmatch(name) for tree, name in trees)
        return official or super().count_from_zero(images)

    def find_landmarks(self) -> FitFiles | None:
        """See `SequenceCorpus`; the first entry of `2DFeatures/F001_T1.mat` belongs to the first image."""
        files = {match[1].upper(): path for path, match in self.find_files(_FEATURES)}
        return FitFiles(files, POINTS_49, _PICTURE) if files else None

    def people(self) -> dict[str, tuple[str | None, ...]]:
        """See `AffectDataset`; the sex of each subject is the first letter of its id: F001, M001."""
        return {"sex": tuple({"F": "female", "M": "male"}.get(name[0]) for name in self.subjects)}

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        subject, task = recording.name.split("_")
        return self.root / "Sequences(2D+3D)" / subject / task


def _is_official(tree: Path) -> bool:
    return tree.name.lower().startswith("sequences")


def _hold_images(folders: Iterable[Path]) -> bool:
    """Whether one of the first few folders holds an image; all folders of a tree hold the same kind of files."""
    return any(
        any(file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "." for file in folder.iterdir())
        for folder in islice(folders, 3)
    )


def _read_table(path: Path, unit: int) -> CodeTable:
    if not unit:
        return read_codes(path, header=True, allowed=(0, 1, NOT_CODED))
    folder = _UNIT_FOLDER.fullmatch(path.parent.name)
    if folder is not None and int(folder[1]) != unit:
        fault = f"This file of AU{unit} is in the folder of AU{int(folder[1])}."
        raise AnnotationError(fault, path=path, line=1, remedy="Move it to its own folder.")
    return read_codes(path, header=False, allowed=(0, 1, 2, 3, 4, 5, NOT_CODED))


def _known_units(table: CodeTable) -> set[int]:
    """Units with a code other than 9, after a check for exchanged columns."""
    units = {
        unit for unit, codes in zip(table.columns, table.codes.T, strict=True) if (codes != NOT_CODED).any()
    }
    strange, silent = sorted(units - CODED), sorted((CODED & set(table.columns)) - units)
    if strange and silent:
        fault = f"AU{strange[0]} is coded, which BP4D does not code, and AU{silent[0]} is not."
        raise table.error(fault, 0, remedy="Columns seem to be exchanged; unpack the file again.")
    return units


def _conflicts(recording: Recording, columns: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Units with contradictory occurrence and intensity."""
    for unit in sorted(set(columns.get("au", ())) & set(columns.get("intensity", ()))):
        present = recording.codes["au"][:, columns["au"].index(unit)]
        level = recording.codes["intensity"][:, columns["intensity"].index(unit)]
        weak, ghost = int(((present == 1) & (level == 0)).sum()), int(((present == 0) & (level > 0)).sum())
        if weak or ghost:
            place = f"{recording.name} AU{unit}"
            yield f"{place}: {weak} frames with the unit and no intensity, {ghost} with an intensity and no unit"


def _irregularities(
    occurrence: Mapping[str, CodeTable],
    intensity: Mapping[str, Mapping[int, CodeTable]],
    known: Mapping[str, set[int]],
    columns: Mapping[str, tuple[int, ...]],
) -> Iterator[str]:
    """Warnings of units and files that some recordings have and others lack."""
    units = columns.get("au", ())
    strange = sorted(set(units) - CODED)
    lines = [
        (f"AU{u} is coded in {{}}, though BP4D leaves it out", [n for n in known if u in known[n]])
        for u in strange
    ]
    lines += [
        (f"AU{u} is unknown throughout {{}}; it is masked there", [n for n in known if u not in known[n]])
        for u in units
        if u in CODED
    ]
    silent = [f"AU{unit}" for unit in sorted(CODED - set(columns.get("au", CODED)))]
    lines.append(("No occurrence file codes {}; it is masked", silent))
    if occurrence:
        lines.append(
            (
                "There is no occurrence file of {}; it is masked there",
                sorted(intensity.keys() - occurrence.keys()),
            )
        )
    for unit in columns.get("intensity", ()):
        tables = {name: own[unit] for name, own in intensity.items() if unit in own}
        absent = sorted((occurrence.keys() | intensity.keys()) - tables.keys())
        lines.append((f"There is no intensity file of AU{unit} of {{}}; it is masked there", absent))
        uneven = [
            name for name, table in sorted(tables.items()) if not _same_frames(table, occurrence.get(name))
        ]
        lines.append(
            (f"The intensity of AU{unit} has other frames than the occurrence, or gaps, in {{}}", uneven)
        )
    for line, names in lines:
        if names:
            yield line.format(_join_names(names))


def _same_frames(level: CodeTable, occurrence: CodeTable | None) -> bool:
    frames = level.frame_ids if occurrence is None else occurrence.frame_ids
    return np.array_equal(level.frame_ids, frames) and bool((np.diff(frames) == 1).all())


def _uneven_subjects(recordings: Sequence[Recording]) -> Iterator[str]:
    """Warnings of absent recordings, and of subjects whose number of coded frames differs from the published one."""
    there = {recording.name: int(recording.coded.sum()) for recording in recordings}
    absent = sorted({f"{subject}_{task}" for subject in ROWS for task in TASKS} - there.keys())
    if 0 < len(absent) < len(there):
        yield f"There are no files of {_join_names(absent)}"
    for subject, published in ROWS.items():
        rows = [there.get(f"{subject}_{task}") for task in TASKS]
        found = sum(n for n in rows if n is not None)
        if None not in rows and found != published:
            yield f"{subject}: {found} coded frames, {published} are published"


def _join_names(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
