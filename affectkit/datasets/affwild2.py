"""Aff-Wild2: action units, expressions, valence and arousal in videos from the web, frame by frame."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import check_choice
from affectkit.datasets.bases.protocols import Protocol
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import read_lines, read_numbers
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError
from affectkit.facs.expressions import ExpressionSet
from affectkit.facs.sets import AUSet

__all__ = ["AffWild2"]

Task = Literal["all", "au", "expression", "va"]

UNITS: Final = AUSet.parse("affwild2_12")
CLASSES: Final = ExpressionSet.parse("affwild2_8")
_CHALLENGES: Final = {
    "au": re.compile("au_|action"),
    "expression": re.compile("expr"),
    "va": re.compile("va_|valence"),
}
_PARTS: Final = {"train_set": "train", "validation_set": "validation"}
_WIDTHS: Final = {"au": len(UNITS), "expression": 1, "va": 2}
_INVALID: Final = {"au": -1, "expression": -1, "va": -5}
_COLUMNS: Final = {
    "au": [label.casefold() for label in UNITS.labels],
    "expression": list(CLASSES.classes),
    "va": ["valence", "arousal"],
}
_MEDIA: Final = ("cropped_aligned", "cropped_aligned_new", "cropped")
_VIDEO: Final = re.compile(r"video\d.*|\d+-\d+-\d+x\d+.*", re.IGNORECASE | re.ASCII)
_SIDE: Final = re.compile(r"_(left|right)$", re.IGNORECASE)


@register
class AffWild2(SequenceCorpus):
    """Aff-Wild2, as distributed by the ABAW competitions.

    Videos of 30 fps on average, annotated per frame for up to three challenges. Targets per frame: "au", occurrence of
    the 12 units in `space`; "expression", one of the eight classes `affwild2_8`; "va", valence and arousal in -1 to 1.
    The values -1 (units, expressions) and -5 (valence, arousal) mean not annotated and are masked. Frames without a
    face have no image and are left out. A video of two people has a list for each, `video5_left`.

    The lists name no subjects. Videos are tested or trained on as a whole, depending on the part of their list
    (training or validation); both people of a video stay together.

    Args:
        task: Challenge whose lists and division are used; "all" uses all lists and tests a video that one challenge
            validates on.
        space: Units of "au".
        media: Folder of the images, such as "cropped"; "auto" uses the first of cropped_aligned and cropped.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.

    References:
        D. Kollias, S. Zafeiriou, "Aff-Wild2: extending the Aff-Wild database for affect recognition", 2018.
        D. Kollias, "ABAW: valence-arousal estimation, expression recognition, action unit detection and multi-task
        learning challenges", CVPR Workshops 2022.
    """

    name = "AffWild2"
    citation = (
        "D. Kollias: ABAW: valence-arousal estimation, expression recognition, action unit detection & multi-task "
        "learning challenges. CVPR Workshops 2022."
    )
    licence = "On a signed agreement, for non-commercial research; not redistributable."
    has_subjects = False
    protocols = (
        Protocol(
            "official",
            "AffWild2",
            "Aff-Wild2, training and validation lists of the ABAW challenges; the validation lists are tested, epoch "
            "chosen on a tenth of the training videos",
            prefix="validation/",
        ),
    )
    parser_version = 3
    label_files = re.compile(r".*\.txt", re.IGNORECASE)
    labels_hint = "annotations/AU_Detection_Challenge/Train_Set and so on"
    closed = _VIDEO
    crop = "none"
    complete = False
    frames_per_second = 30.0
    media_options: ClassVar[tuple[str, ...]] = ("media",)

    def __init__(
        self,
        root: str | Path,
        *,
        task: Task = "all",
        space: str = UNITS.name,
        media: str = "auto",
        **options: Any,
    ) -> None:
        check_choice("task", task, get_args(Task))
        self.task = task
        self.spaces = {"au": AUSet.parse(space).name, "expression": CLASSES.name, "va": "va"}
        self.media = media
        super().__init__(root, **options)

    def annotation_files(self) -> list[tuple[Path, re.Match[str]]]:
        """See `SequenceCorpus`."""
        files = [(path, match) for path, match in super().annotation_files() if self._role(path)]
        if not files:
            raise self.no_labels("" if self.task == "all" else f"{self.task} ")
        return files

    def parse(self, files: Sequence[tuple[Path, re.Match[str]]]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        tables: dict[str, dict[str, NDArray[np.float64]]] = {}
        parts: dict[str, set[str]] = {}
        for path, _ in files:
            target, part = self._role(path) or ("", "")
            name = path.stem
            if target in tables.setdefault(name, {}):
                fault = f"There is another list of {name} for this challenge."
                raise AnnotationError(fault, path=path, line=1, remedy="Keep one of the lists.")
            tables[name][target] = _read_list(path, target)
            parts.setdefault(_SIDE.sub("", name), set()).add(part)
        warnings = [
            f"{video}: one challenge trains on it and another validates; it is tested"
            for video, own in sorted(parts.items())
            if len(own) > 1
        ]
        lengths = {name: sorted({len(table) for table in own.values()}) for name, own in tables.items()}
        warnings += [
            f"{name}: its lists have {' and '.join(map(str, own))} rows; a missing row shifts all later frames"
            for name, own in sorted(lengths.items())
            if len(own) > 1
        ]
        columns = {"au": tuple(unit.id for unit in UNITS), "expression": (0,), "va": (0, 1)}
        columns = {t: own for t, own in columns.items() if any(t in lists for lists in tables.values())}
        recordings = [_join(name, columns, lists) for name, lists in sorted(tables.items())]
        return CodedCorpus("Aff-Wild2", columns, [one for one in recordings if len(one.frame_ids)], warnings)

    def table(self, recording: Recording, target: str) -> Target:
        """See `SequenceCorpus`."""
        if target == "au":
            return super().table(recording, target)
        codes = torch.from_numpy(recording.codes[target])
        return Target.make(codes[:, 0].long() if target == "expression" else codes, space=self.spaces[target])

    def find_media(self) -> Mapping[str, Path]:
        """See `SequenceCorpus`."""
        trees = {
            folder: {name: folder / name for name in names if _VIDEO.fullmatch(name)}
            for folder, _, names in self.folders
        }
        trees = {folder: videos for folder, videos in trees.items() if videos}
        if self.media == "auto":
            by_name = {folder.name.lower(): folder for folder in trees}
            trees = {by_name[name]: trees[by_name[name]] for name in _MEDIA if name in by_name}
        return self.choose_media(trees)

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        return self.root / _MEDIA[0] / recording.name

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`."""
        return {
            part: [record for record in self.everything if self._part(record.clip) == part]
            for part in ("train", "validation")
        }

    def split_unit(self, record: ClipRecord) -> str:
        """See `Corpus`; part and video, which both people of a video share."""
        recording = record.extra["sequence"]
        return f"{self._part(recording)}/{_SIDE.sub('', recording)}"

    @property
    def groups_are(self) -> Literal["subjects", "clips", "videos"]:
        """See `AffectDataset`; windows of a video are not independent."""
        return "videos"

    def group_of(self, record: ClipRecord) -> str:
        """See `AffectDataset`."""
        return self.split_unit(record)

    @functools.cached_property
    def _validated(self) -> frozenset[str]:
        """Videos in a validation list."""
        roles = ((path, self._role(path)) for path, _ in self.annotation_files())
        return frozenset(_SIDE.sub("", path.stem) for path, role in roles if role and role[1] == "validation")

    def _part(self, recording: str) -> str:
        return "validation" if _SIDE.sub("", recording) in self._validated else "train"

    def _role(self, path: Path) -> tuple[str, str] | None:
        """Target and part of a list, by its folders; None for other files and tasks."""
        part = _PARTS.get(path.parent.name.lower())
        challenge = path.parent.parent.name.lower()
        target = next((target for target, name in _CHALLENGES.items() if name.match(challenge)), None)
        return None if part is None or target is None or self.task not in ("all", target) else (target, part)

    def _count_records(self, records: Sequence[ClipRecord]) -> dict[str, Any]:
        classes: Counter[str] = Counter()
        for record in records if "expression" in self.spaces else ():
            codes = self.recordings[record.clip].codes["expression"]
            classes.update(CLASSES.classes[code] for code in codes[codes >= 0].tolist())
        return super()._count_records(records) | {"classes": dict(classes.most_common())}


def _read_list(path: Path, target: str) -> NDArray[np.float64]:
    """Rows of a list, [N, C], NaN for values that are not annotated."""
    header, *lines = read_lines(path)
    remedy = "The first line names the columns: unpack the list again."
    if not re.search("[a-z]", header, re.IGNORECASE):
        raise AnnotationError("The list has no header.", path=path, line=1, remedy=remedy)
    names = [name.strip().casefold() for name in header.split(",")]
    known = [name for name in names if name in _COLUMNS[target]]
    if known != [name for name in _COLUMNS[target] if name in known]:
        fault = f"The columns are {header[:80]}, not {','.join(_COLUMNS[target])}."
        raise AnnotationError(fault, path=path, line=1, remedy=remedy)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise AnnotationError("The list has no rows.", path=path, line=1, remedy="Unpack it again.")
    rows = list(enumerate(lines, start=2))  # row k is frame k, so a blank row is an error
    values = read_numbers(path, rows, _WIDTHS[target])
    invalid = values == _INVALID[target]
    low, high = (-1.0, 1.0) if target == "va" else (0.0, 1.0 if target == "au" else len(CLASSES) - 1.0)
    wrong = ~invalid & ((values < low) | (values > high) | ((target != "va") & (values % 1 != 0)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        fault = f"The value {values[row, column]:g} is not possible."
        remedy = f"Values are {low:g} to {high:g}, or {_INVALID[target]} if a frame is not annotated."
        raise AnnotationError(fault, path=path, line=rows[row][0], remedy=remedy)
    return np.where(invalid.any(axis=1, keepdims=True) if target == "va" else invalid, np.nan, values)


def _join(
    name: str, columns: Mapping[str, tuple[int, ...]], tables: Mapping[str, NDArray[np.float64]]
) -> Recording:
    """Join the lists of a video: row k is frame k; frames without annotation are left out."""
    length = max(map(len, tables.values()))
    codes: dict[str, NDArray[Any]] = {}
    known = np.zeros(length, dtype=bool)
    for target, units in columns.items():
        values = np.full((length, len(units)), np.nan, dtype=np.float32)
        if target in tables:
            values[: len(tables[target])] = tables[target]
        known |= ~np.isnan(values).all(axis=1)
        codes[target] = values if target == "va" else np.nan_to_num(values, nan=UNKNOWN).astype(np.int8)
    kept = np.flatnonzero(known)
    codes = {target: own[kept] for target, own in codes.items()}
    return Recording(name, None, kept + 1, codes, np.ones(len(kept), dtype=bool))
