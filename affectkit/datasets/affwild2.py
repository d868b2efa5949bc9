"""Aff-Wild2: action units, expressions, valence and arousal in videos from the web, frame by frame."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.protocols import official_test
from affectkit.datasets.bases.recordings import UNKNOWN, CodedCorpus, Recording
from affectkit.datasets.bases.sequences import SequenceCorpus
from affectkit.datasets.reading.codes import read_lines, read_numbers
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
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
_MEDIA: Final = ("cropped_aligned", "cropped_aligned_new", "cropped")
_VIDEO: Final = re.compile(r"video\d.*|\d+-\d+-\d+x\d+.*", re.IGNORECASE | re.ASCII)
_SIDE: Final = re.compile(r"_(left|right)$", re.IGNORECASE)


@register
class AffWild2(SequenceCorpus):
    """Aff-Wild2, as the ABAW competitions distribute it.

    Videos of 30 frames a second on average, annotated by frame for up to three challenges. Targets, by frame: "au",
    occurrence of the 12 units in `space`; "expression", one of the eight classes `affwild2_8`; "va", valence and
    arousal in -1 to 1. The values -1 (units, expressions) and -5 (valence, arousal) mean not annotated and are masked.
    Frames without a face have no image and are left out. A video of two people has a list for each, `video5_left`.

    The lists name no subjects. The part of a list, training or validation, is tested or trained on as a whole; both
    people of a video stay together.

    Args:
        root: Folder of the corpus, or one above it.
        task: The challenge whose lists are read, with its own division; "all" reads all of them, and a video that one
            challenge validates on is tested.
        space: Units of "au".
        media: Folder of the images, such as "cropped"; "auto" takes the first of cropped_aligned and cropped.
        **options: See `SequenceCorpus` (`window`) and `Corpus`.

    Raises:
        DatasetNotFoundError: There are no lists of the task.
        AnnotationError: A list cannot be read without guessing; names file and line.
        ConfigError: There is no such task, or no folder of images with the name given.

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
        official_test(
            "AffWild2",
            "Aff-Wild2, training and validation lists of the ABAW challenges; the validation lists are tested, epoch "
            "chosen on a tenth of the training videos",
            prefix="validation/",
        ),
    )
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
        if task not in get_args(Task):
            raise ConfigError(
                f"task={task!r} is not known.", remedy=f"Use one of: {', '.join(get_args(Task))}."
            )
        self.task = task
        self.space = AUSet.parse(space)
        self.media = media
        super().__init__(root, **options)

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        return list(walk(self.root, _VIDEO))

    def annotation_files(self) -> list[Path]:
        """See `SequenceCorpus`."""
        files = [
            folder / name for folder, names, _ in self._tree for name in names if self._role(folder / name)
        ]
        if not files:
            raise DatasetNotFoundError(
                "There are no lists of Aff-Wild2 here"
                + ("." if self.task == "all" else f" for {self.task!r}."),
                path=self.root,
                remedy="Unpack annotations/AU_Detection_Challenge/Train_Set and so on.",
            )
        return files

    def unit_spaces(self, columns: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """See `SequenceCorpus`."""
        spaces = {"au": self.space.name, "expression": CLASSES.name, "va": "va"}
        return {target: spaces[target] for target in columns}

    def parse(self, files: Sequence[Path]) -> CodedCorpus:
        """See `SequenceCorpus`."""
        tables: dict[str, dict[str, NDArray[np.float64]]] = {}
        parts: dict[str, set[str]] = {}
        for path in files:
            target, part = self._role(path) or ("", "")
            name = path.stem
            if target in tables.setdefault(name, {}):
                fault = f"There is another list of {name} for this challenge."
                raise AnnotationError(fault, path=path, line=1, remedy="Keep one of the two.")
            tables[name][target] = _read(path, target)
            parts.setdefault(_SIDE.sub("", name), set()).add(part)
        warnings = [
            f"{video}: one challenge trains on it and another validates; it is tested"
            for video, own in sorted(parts.items())
            if len(own) > 1
        ]
        columns = {"au": tuple(unit.id for unit in UNITS), "expression": (0,), "va": (0, 1)}
        columns = {
            target: own for target, own in columns.items() if any(target in its for its in tables.values())
        }
        recordings = [_join(name, columns, its) for name, its in sorted(tables.items())]
        return CodedCorpus("Aff-Wild2", columns, [one for one in recordings if len(one.frame_ids)], warnings)

    def table(self, recording: Recording, target: str) -> Target:
        """See `SequenceCorpus`."""
        if target == "au":
            return super().table(recording, target)
        codes = torch.from_numpy(recording.codes[target])
        return Target.make(codes[:, 0].long() if target == "expression" else codes, space=self.spaces[target])

    def find_media(self, names: Iterable[str]) -> dict[str, Path]:
        """See `SequenceCorpus`."""
        trees = {
            folder.name.lower(): {name: folder / name for name in below if _VIDEO.fullmatch(name)}
            for folder, _, below in self._tree
        }
        chosen = _MEDIA if self.media == "auto" else (self.media.lower(),)
        found = next((trees[name] for name in chosen if trees.get(name)), None)
        if found is None and self.media != "auto":
            there = ", ".join(name for name, videos in trees.items() if videos) or "none"
            raise ConfigError(
                f"No folder {self.media!r} holds images of Aff-Wild2.",
                path=self.root,
                remedy=f"Folders with images: {there}.",
            )
        return found or {}

    def find_landmarks(self) -> None:
        """See `SequenceCorpus`: none are distributed."""

    def expected_path(self, recording: Recording) -> Path:
        """See `SequenceCorpus`."""
        return self.root / _MEDIA[0] / recording.name

    def parts(self) -> dict[str, list[ClipRecord]]:
        """See `Corpus`: the videos to train on and those to test."""
        return {
            part: [record for record in self.everything if self._part(record.clip) == part]
            for part in ("train", "validation")
        }

    @functools.cached_property
    def _validated(self) -> frozenset[str]:
        """Videos that one of the lists read validates on."""
        roles = ((path, self._role(path)) for path in self.annotation_files())
        return frozenset(_SIDE.sub("", path.stem) for path, role in roles if role and role[1] == "validation")

    def _part(self, recording: str) -> str:
        return "validation" if _SIDE.sub("", recording) in self._validated else "train"

    def _unit_of_split(self, record: ClipRecord) -> str:
        # A protocol sees nothing but names; both people of a video are one.
        return f"{self._part(record.clip)}/{_SIDE.sub('', record.clip)}"

    def _role(self, path: Path) -> tuple[str, str] | None:
        """The target and the part of a list, by its folders; None for another file or task."""
        part = _PARTS.get(path.parent.name.lower())
        challenge = path.parent.parent.name.lower()
        target = next((target for target, name in _CHALLENGES.items() if name.match(challenge)), None)
        if (
            path.suffix.lower() != ".txt"
            or part is None
            or target is None
            or self.task not in ("all", target)
        ):
            return None
        return target, part

    def _counts(self, records: Sequence[ClipRecord]) -> dict[str, Any]:
        classes: Counter[str] = Counter()
        for record in records if "expression" in self.spaces else ():
            codes = self.recordings[record.clip].codes["expression"]
            classes.update(CLASSES.classes[code] for code in codes[codes >= 0].tolist())
        return super()._counts(records) | {"classes": dict(classes.most_common())}


def _read(path: Path, target: str) -> NDArray[np.float64]:
    """The rows of a list, [N, C], NaN where they say that a frame is not annotated."""
    lines = list(enumerate(read_lines(path), start=1))
    if not re.search("[a-z]", lines[0][1], re.IGNORECASE):
        remedy = "The first line names the columns: unpack the list again."
        raise AnnotationError("The list has no header.", path=path, line=1, remedy=remedy)
    rows = [(line, text) for line, text in lines[1:] if text.strip()]
    values = read_numbers(path, rows, _WIDTHS[target])
    invalid = values == _INVALID[target]
    low, high = (-1.0, 1.0) if target == "va" else (0.0, 1.0 if target == "au" else len(CLASSES) - 1.0)
    wrong = ~invalid & ((values < low) | (values > high) | ((target != "va") & (values % 1 != 0)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise AnnotationError(
            f"The value {values[row, column]:g} is not possible.",
            path=path,
            line=rows[row][0],
            remedy=f"Values are {low:g} to {high:g}, or {_INVALID[target]} where a frame is not annotated.",
        )
    return np.where(invalid.any(axis=1, keepdims=True) if target == "va" else invalid, np.nan, values)


def _join(
    name: str, columns: Mapping[str, tuple[int, ...]], tables: Mapping[str, NDArray[np.float64]]
) -> Recording:
    """Bring the lists of a video together; row k is frame k, and frames that nothing annotates are left out."""
    length = max(map(len, tables.values()))
    codes: dict[str, NDArray[Any]] = {}
    known = np.zeros(length, dtype=bool)
    for target, units in columns.items():
        values = np.full((length, len(units)), np.nan)
        if target in tables:
            values[: len(tables[target])] = tables[target]
        known |= ~np.isnan(values).all(axis=1)
        codes[target] = (
            values.astype(np.float32)
            if target == "va"
            else np.nan_to_num(values, nan=UNKNOWN).astype(np.int8)
        )
    kept = np.flatnonzero(known)
    return Recording(
        name,
        None,
        kept + 1,
        {target: own[kept] for target, own in codes.items()},
        np.ones(len(kept), dtype=bool),
    )
