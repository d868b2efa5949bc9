"""BP4D-Spontaneous: occurrence of 34 action units and intensity of five, frame by frame."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from affectkit.data.video import IMAGE_SUFFIXES
from affectkit.datasets.bases.corpus import Counts, Expected
from affectkit.datasets.bases.protocols import one_test, three_folds
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording, find_gaps
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import CodeTable, read_codes
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.reading.landmarks import FitFiles
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.facs.regions import POINTS_49
from affectkit.facs.sets import AUSet

__all__ = ["BP4D"]

_OCCURRENCE = re.compile(r"([FM]\d{3})_(T\d{1,2})\.csv", re.ASCII | re.IGNORECASE)
_INTENSITY = re.compile(r"([FM]\d{3})_(T\d{1,2})_AU(\d{1,2})\.csv", re.ASCII | re.IGNORECASE)
_PREVIEW = re.compile(r"([FM]\d{3})_(T\d{1,2})\.(avi|mp4|mov|mkv)", re.ASCII | re.IGNORECASE)
_FEATURES = re.compile(r"([FM]\d{3})_(T\d{1,2})\.mat", re.ASCII | re.IGNORECASE)
_PICTURE = (1040, 1392)
_SUBJECT = re.compile(r"[FM]\d{3}", re.ASCII | re.IGNORECASE)
_TASK = re.compile(r"T\d{1,2}", re.ASCII | re.IGNORECASE)
_LEGACY = re.compile(r"2([FM])(\d\d)_(\d\d)", re.ASCII | re.IGNORECASE)
_LEGACY_TASKS = {"01": 1, "03": 2, "07": 3, "08": 4, "09": 5, "10": 6, "11": 7, "13": 8}
_CLOSED = re.compile(f"{_TASK.pattern}|{_LEGACY.pattern}|3DFeatures|Physiology|Thermal|IRFeatures", re.I)
_UNIT_FOLDER = re.compile(r"AU(\d{1,2})", re.ASCII | re.IGNORECASE)
_NOTCODED = 9
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
    """BP4D-Spontaneous (and, as far as its files are alike, BP4D+).

    41 subjects in 8 tasks: 328 recordings at 25 frames a second, of which 146,847 frames are coded. Targets, by
    frame: "au", occurrence of the units in `space`; "intensity", 0 to 5, of the units in `intensity_space`. The
    code 9 (unknown) is masked. A target is there when its files are (`AU_OCC`, `AU_INT`).

    Label frames count from 1. The images of the official tree count from 0, so image `N` shows label frame
    `N + 1`; derived trees often name images by their label frame.

    Args:
        root: Folder of the corpus, or one above it.
        space: Units of "au".
        intensity_space: Units of "intensity".
        media: "auto" takes images where there are some, else the preview videos; "preview" takes the videos; else
            the folder, relative to `root`, that holds the subjects' images.
        frame_offset: Number of an image less the label frame that it shows; by default -1 in the official tree
            (`Sequences…`) and where images are counted from 0, else 0. Preview videos need none.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.

    Raises:
        DatasetNotFoundError: There are no annotation files.
        AnnotationError: One of them cannot be read without guessing; names file and line.
        ConfigError: There are no images in `media`.

    References:
        X. Zhang et al., "BP4D-Spontaneous: a high-resolution spontaneous 3D dynamic facial expression database",
        Image and Vision Computing 32(10), 2014.
    """

    name = "BP4D"
    citation = (
        "X. Zhang, L. Yin, J. F. Cohn, S. Canavan, M. Reale, A. Horowitz, P. Liu, J. M. Girard: BP4D-Spontaneous: a "
        "high-resolution spontaneous 3D dynamic facial expression database. Image and Vision Computing 32(10), 2014."
    )
    licence = "On a signed agreement with Binghamton University, for research; not redistributable."
    protocols = (
        three_folds("BP4D", PARTS),
        one_test(
            "BP4D",
            "fera2015",
            parts=_FERA_2015,
            test="dev",
            description="BP4D, FERA 2015: trained on odd-numbered subjects, tested on the even-numbered ones (its "
            "development partition); epoch chosen on validation subjects of the odd-numbered",
        ),
    )
    frames_per_second = 25.0
    media_options = ("frame_offset",)
    expected: ClassVar[Mapping[str, Expected]] = {
        "BP4D": Expected(
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
        "BP4D, intensities only": Expected(subjects=41, clips=328),
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
        self.space = AUSet.parse(space).as_occurrence()
        self.intensity_space = AUSet.parse(intensity_space).as_intensity()
        self.media = media
        self.frame_offset = frame_offset
        super().__init__(root, **options)

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        return list(walk(self.root, _CLOSED))

    def annotation_files(self) -> list[Path]:
        """See `SequenceCorpus`."""
        files = [folder / name for folder, names, _ in self._tree for name in names if _is_label(name)]
        if not files:
            remedy = "Unpack AUCoding; its files are called F001_T1.csv and F001_T1_AU06.csv."
            raise DatasetNotFoundError("There are no AU codes of BP4D here.", path=self.root, remedy=remedy)
        return files

    def unit_spaces(self, columns: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """See `SequenceCorpus`."""
        spaces = {"au": self.space.name, "intensity": self.intensity_space.name}
        return {target: spaces[target] for target in columns}

    def parse(self, files: Sequence[Path]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        warnings: list[str] = []
        occurrence: dict[str, CodeTable] = {}
        intensity: dict[str, dict[int, CodeTable]] = defaultdict(dict)
        origin: dict[tuple[str, int], Path] = {}
        for path, match in [(path, match) for path in files if (match := _is_label(path.name))]:
            name = f"{match[1]}_{match[2]}".upper()
            unit = int(match[3]) if match.re is _INTENSITY else 0
            first = origin.setdefault((name, unit), path)
            if first != path:
                _require_same(first, path)
                warnings.append(f"{path}: this is a copy of {first}")
            elif unit:
                intensity[name][unit] = _read_intensity(path, unit)
            else:
                occurrence[name] = read_codes(path, header=True, allowed=(0, 1, _NOTCODED))
        known = {name: _known_units(table) for name, table in occurrence.items()}
        columns = {"au": tuple(sorted(set().union(*known.values())))} if occurrence else {}
        if intensity:
            columns["intensity"] = tuple(sorted({unit for tables in intensity.values() for unit in tables}))
        names = sorted({**occurrence, **intensity})
        plain = not occurrence or any(table.columns == tuple(range(1, 100)) for table in occurrence.values())
        if not plain or any(name[:4] not in ROWS or name[5:] not in TASKS for name in names):
            revision = "BP4D+"
        else:
            revision = "BP4D" if occurrence else "BP4D, intensities only"
        conflicts: list[str] = []
        recordings = []
        for name in names:
            recording = _join(name, columns, occurrence.get(name), intensity.get(name, {}))
            recordings.append(recording)
            warnings += find_gaps(recording)
            conflicts += _find_conflicts(recording, columns)
        warnings += _find_oddities(occurrence, intensity, known, columns)
        if revision == "BP4D":
            warnings += _find_uneven(recordings)
        return CodedCorpus(revision, columns, recordings, warnings, conflicts)

    def find_media(self, names: Iterable[str]) -> dict[str, Path]:
        """See `SequenceCorpus`."""
        trees: dict[Path, dict[str, Path]] = defaultdict(dict)
        previews: dict[str, Path] = {}
        for folder, files, folders in self._tree:
            for name in folders:
                if _SUBJECT.fullmatch(folder.name) and _TASK.fullmatch(name):
                    trees[folder.parent][f"{folder.name}_{name}".upper()] = folder / name
                elif (match := _LEGACY.fullmatch(name)) and match[3] in _LEGACY_TASKS:
                    sequence = f"{match[1]}0{match[2]}_T{_LEGACY_TASKS[match[3]]}".upper()
                    trees[folder][sequence] = folder / name
            for name in files:
                if match := _PREVIEW.fullmatch(name):
                    previews[f"{match[1]}_{match[2]}".upper()] = folder / name
        with_images = [tree for tree, places in trees.items() if _hold_images(places.values())]
        if self.media == "preview":
            return previews
        if self.media != "auto":
            tree = self.root / self.media
            if tree not in with_images:
                found = ", ".join(str(other.relative_to(self.root)) for other in with_images) or "none"
                raise ConfigError(
                    "There are no subjects' images.", path=tree, remedy=f"There are some in: {found}."
                )
            return trees[tree]
        with_images.sort(key=lambda tree: not _official(tree))
        if len(with_images) > 1 and not _official(with_images[0]):
            others = ", ".join(map(str, with_images[1:]))
            self.warnings.append(f"{with_images[0]}: its images are taken; there are others in {others}")
        return trees[with_images[0]] if with_images else previews

    def count_from_zero(self, images: Mapping[Path, Mapping[int, str]]) -> bool:
        """See `SequenceCorpus`."""
        trees = ((folder.parent.parent, folder.name) for folder in images)
        official = any(_official(tree) or _LEGACY.fullmatch(name) for tree, name in trees)
        return official or super().count_from_zero(images)

    def find_landmarks(self) -> FitFiles | None:
        """See `SequenceCorpus`: `2DFeatures/F001_T1.mat`, whose first entry belongs to the first image."""
        files = {
            f"{match[1]}_{match[2]}".upper(): folder / name
            for folder, names, _ in self._tree
            for name in names
            if (match := _FEATURES.fullmatch(name))
        }
        return FitFiles(files, POINTS_49, _PICTURE) if files else None

    def people(self) -> dict[str, tuple[str | None, ...]]:
        """The sex of each subject, which its id begins with: F001, M001."""
        return {"sex": tuple({"F": "female", "M": "male"}.get(name[0]) for name in self.subjects)}

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        subject, task = recording.name.split("_")
        return self.root / "Sequences(2D+3D)" / subject / task


def _is_label(name: str) -> re.Match[str] | None:
    return _OCCURRENCE.fullmatch(name) or _INTENSITY.fullmatch(name)


def _official(tree: Path) -> bool:
    return tree.name.lower().startswith("sequences")


def _hold_images(folders: Iterable[Path]) -> bool:
    """Whether one of the first few folders holds an image; all of a tree hold the same kind of files."""
    return any(
        any(file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "." for file in folder.iterdir())
        for folder in islice(folders, 3)
    )


def _require_same(first: Path, second: Path) -> None:
    if first.read_bytes() != second.read_bytes():
        remedy = "Keep one of the two."
        raise AnnotationError(
            f"It differs from {first}, which has the same name.", path=second, line=1, remedy=remedy
        )


def _read_intensity(path: Path, unit: int) -> CodeTable:
    folder = _UNIT_FOLDER.fullmatch(path.parent.name)
    if folder is not None and int(folder[1]) != unit:
        remedy = "Move it to where it belongs."
        raise AnnotationError(
            f"This file lies among those of AU{int(folder[1])}.", path=path, line=1, remedy=remedy
        )
    return read_codes(path, header=False, allowed=(0, 1, 2, 3, 4, 5, _NOTCODED))


def _known_units(table: CodeTable) -> set[int]:
    """Units with a code other than 9 in some row.

    Raises:
        AnnotationError: Codes seem to stand in a wrong column.
    """
    known = (table.codes != _NOTCODED).any(axis=0)
    units = {unit for unit, is_known in zip(table.columns, known, strict=True) if is_known}
    strange = sorted(units - CODED)
    silent = sorted((CODED & set(table.columns)) - units)
    if strange and silent:
        raise table.error(
            f"AU{strange[0]} is coded, which BP4D does not do, and AU{silent[0]} is not.",
            0,
            remedy="Columns have changed places; unpack the file again.",
        )
    return units


def _join(
    name: str,
    columns: Mapping[str, tuple[int, ...]],
    occurrence: CodeTable | None,
    levels: Mapping[int, CodeTable],
) -> Recording:
    """Bring the files of a recording together by frame number."""
    sources: list[tuple[str, tuple[int, ...], CodeTable]] = [
        ("intensity", (unit,), table) for unit, table in levels.items()
    ]
    if occurrence is not None:
        sources.append(("au", occurrence.columns, occurrence))
    frames = functools.reduce(np.union1d, [table.frame_ids for _, _, table in sources])
    codes = {t: np.full((len(frames), len(units)), UNKNOWN, dtype=np.int8) for t, units in columns.items()}
    for target, units, table in sources:
        rows = np.searchsorted(frames, table.frame_ids)
        kept = [column for column, unit in enumerate(units) if unit in columns[target]]
        values = table.codes[:, kept].astype(np.int8)
        places = [columns[target].index(units[column]) for column in kept]
        codes[target][rows[:, None], places] = np.where(values == _NOTCODED, UNKNOWN, values)
    coded = np.full(len(frames), "au" not in columns)
    if occurrence is not None:
        coded[np.searchsorted(frames, occurrence.frame_ids)] = True
    return Recording(name, name.split("_")[0], frames, codes, coded)


def _find_conflicts(recording: Recording, columns: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Frames whose occurrence and intensity contradict each other."""
    for unit in sorted(set(columns.get("au", ())) & set(columns.get("intensity", ()))):
        present = recording.codes["au"][:, columns["au"].index(unit)]
        level = recording.codes["intensity"][:, columns["intensity"].index(unit)]
        weak, ghost = int(((present == 1) & (level == 0)).sum()), int(((present == 0) & (level > 0)).sum())
        if weak or ghost:
            yield (
                f"{recording.name} AU{unit}: {weak} frames with the unit and no intensity, {ghost} with an intensity "
                "and no unit"
            )


def _find_oddities(
    occurrence: Mapping[str, CodeTable],
    intensity: Mapping[str, Mapping[int, CodeTable]],
    known: Mapping[str, set[int]],
    columns: Mapping[str, tuple[int, ...]],
) -> Iterator[str]:
    """What is there in some recordings and not in others."""
    for unit in sorted(set(columns.get("au", ())) - CODED):
        names = [name for name, units in known.items() if unit in units]
        yield f"AU{unit} is coded in {_some(names)}, though BP4D leaves it out"
    for unit in columns.get("au", ()):
        names = [name for name, units in known.items() if unit in CODED and unit not in units]
        if names:
            yield f"AU{unit} is unknown throughout {_some(names)}; it is masked there"
    silent = sorted(CODED - set(columns.get("au", CODED)))
    if silent:
        yield f"No occurrence file codes {_some([f'AU{unit}' for unit in silent])}; it is masked"
    if occurrence:
        names = sorted(set(intensity) - set(occurrence))
        if names:
            yield f"There is no occurrence file of {_some(names)}; it is masked there"
    for unit in columns.get("intensity", ()):
        names = sorted(name for name in {**occurrence, **intensity} if unit not in intensity.get(name, {}))
        if names:
            yield f"There is no intensity file of AU{unit} of {_some(names)}; it is masked there"
        names = sorted(
            name
            for name, tables in intensity.items()
            if unit in tables and not _same_frames(tables[unit], occurrence.get(name))
        )
        if names:
            yield f"The intensity of AU{unit} has other frames than the occurrence, or gaps, in {_some(names)}"


def _same_frames(level: CodeTable, occurrence: CodeTable | None) -> bool:
    frames = level.frame_ids if occurrence is None else occurrence.frame_ids
    return np.array_equal(level.frame_ids, frames) and bool((np.diff(frames) == 1).all())


def _find_uneven(recordings: Sequence[Recording]) -> Iterator[str]:
    """Subjects whose coded frames are not as many as published, and single recordings that are absent."""
    there = {recording.name: int(recording.coded.sum()) for recording in recordings}
    absent = sorted({f"{subject}_{task}" for subject in ROWS for task in TASKS} - there.keys())
    if 0 < len(absent) < len(there):
        yield f"There are no files of {_some(absent)}"
    for subject, published in ROWS.items():
        rows = [there.get(f"{subject}_{task}") for task in TASKS]
        found = sum(n for n in rows if n is not None)
        if None not in rows and found != published:
            yield f"{subject}: {found} coded frames, {published} are published"


def _some(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
