"""AffectNet: photographs of faces with expressions, valence and arousal."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch

from affectkit.data.record import ClipRecord
from affectkit.data.tables import parse_csv
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Counts, StillCorpus, check_choice, count_parts
from affectkit.datasets.bases.protocols import Protocol
from affectkit.datasets.reading.codes import read_lines
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, DatasetNotFoundError
from affectkit.facs.expressions import ExpressionSet

__all__ = ["AffectNet"]

CLASSES: Final = ExpressionSet.parse("affectnet8")
TRAIN: Final = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)  # photographs of each class
VALIDATION: Final = 500  # of each
UNDEFINED: Final = -2.0
COLUMNS: Final = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip

_OTHERS: Final = ("none", "uncertain", "no face")  # 8 to 10
_LISTS: Final = {"training.csv": "train", "validation.csv": "validation"}
_FOLDERS: Final = {"train_set": "train", "val_set": "validation"}
_KINDS: Final = ("exp", "val", "aro")
_IMAGES: Final = "Manually_Annotated_Images"


def _expected(name: str) -> Counts:
    """Published counts of the photographs with a class of an expression set."""
    classes = ExpressionSet.parse(name)
    train = [TRAIN[CLASSES.classes.index(word)] for word in classes.classes]
    return count_parts(classes, {"train": train, "validation": [VALIDATION] * len(classes)})


@register
class AffectNet(StillCorpus):
    """AffectNet, its manually annotated photographs.

    About 290,000 photographs from the web with one of eight expressions, and 150,000 with none of them; all with
    valence and arousal if a face is visible. Each is a clip of one frame. Targets: "expression", in `affectnet8`, or in
    `affectnet7` without contempt; "va", valence and arousal in -1 to 1; -2 means undefined and is masked. Clips are
    `train/1/a7e.jpg`. Subjects are unknown: a person may be in training and test.

    The corpus has no public test part: as in publications the validation list is tested, and validation photographs are
    drawn from the training list. The validation list is balanced, the training list is not.

    Args:
        root: Folder of the corpus, or a folder above it: `Manually_Annotated_file_lists/training.csv` and
            `validation.csv` with `Manually_Annotated_Images`, or the later `train_set` and `val_set` with a folder of
            `.npy` files.
        space: Classes of "expression"; other classes are masked.
        require: Targets that a photograph must be annotated for; `[]` keeps all photographs.
        **options: See `Corpus`.
    """

    name = "AffectNet"
    citation = (
        "A. Mollahosseini, B. Hasani, M. H. Mahoor: AffectNet: a database for facial expression, valence, and arousal "
        "computing in the wild. IEEE Transactions on Affective Computing 10(1), 2019."
    )
    licence = "On a signed agreement with the University of Denver, for research; not redistributable."
    labels_hint = "Manually_Annotated_file_lists, or train_set and val_set"
    closed = re.compile(r"Manually_Annotated_Images|Automatically_.*|images|annotations", re.IGNORECASE)
    part_names = ("train", "validation")
    protocols = (
        Protocol(
            "official",
            "AffectNet",
            "AffectNet, manual annotation; the validation list is tested, epoch chosen on a tenth of the training list",
            prefix="validation/",
        ),
    )
    expected: ClassVar[Mapping[str, Counts]] = {
        f"AffectNet, {number} classes": _expected(f"affectnet{number}") for number in (8, 7)
    }

    def __init__(
        self,
        root: str | Path,
        *,
        space: str = CLASSES.name,
        require: Sequence[str] = ("expression",),
        **options: Any,
    ) -> None:
        self.classes = ExpressionSet.parse(space)
        self.spaces = {"expression": self.classes.name, "va": "va"}
        for target in require:
            check_choice("require", target, tuple(self.spaces))
        self.require = tuple(require)
        super().__init__(root, **options)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        records: dict[str, ClipRecord] = {}
        for record in self._read_all():
            known = not math.isnan(record.extra["va"][0])
            annotated = {"expression": record.expression in self.classes.classes, "va": known}
            if not all(annotated[name] for name in self.require):
                continue
            if records.setdefault(record.clip, record) is not record:
                self.warnings.append(f"{record.clip} is listed twice; the first row counts")
        self.revision = f"AffectNet, {len(self.classes)} classes"
        return list(records.values())

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`; one class [], valence and arousal [2]."""
        word = record.expression
        index = self.classes.classes.index(word) if word in self.classes.classes else -1
        return {
            "expression": Target.make(torch.tensor(index), space=self.spaces["expression"]),
            "va": Target.make(torch.tensor(record.extra["va"]), space="va"),
        }

    def _read_all(self) -> Iterator[ClipRecord]:
        lists = {name.lower(): folder / name for folder, names, _ in self.folders for name in names}
        parts = [(folder, _FOLDERS.get(folder.name.lower()), below) for folder, _, below in self.folders]
        folders = [(folder, part) for folder, part, below in parts if part and "annotations" in below]
        if not (lists.keys() & _LISTS.keys()) and not folders:
            raise self.no_labels()
        for folder, part, below in parts if folders else ():
            if part and "annotations" not in below:
                fault, remedy = "There are photographs without annotations.", "Unpack the annotations."
                raise DatasetNotFoundError(fault, path=folder / "annotations", remedy=remedy)
        images = next(
            (folder / _IMAGES for folder, _, below in self.folders if _IMAGES in below), self.root / _IMAGES
        )
        for name, part in _LISTS.items():
            if name in lists:
                yield from _read_list(lists[name], part, images)
        for folder, part in folders:
            yield from _read_folder(folder, part)


def _read_list(path: Path, part: str, images: Path) -> Iterator[ClipRecord]:
    """Rows of a list, with or without a header."""
    rows = list(parse_csv(path, "\n".join(read_lines(path)), ","))
    if rows and rows[0][1][0] == COLUMNS[0]:
        line, header = rows.pop(0)
        if tuple(name.strip() for name in header[-3:]) != COLUMNS[-3:]:
            fault = f"The header ends in {', '.join(header[-3:])}, not {', '.join(COLUMNS[-3:])}."
            raise AnnotationError(fault, path=path, line=line, remedy="Unpack the list again.")
    if not rows:
        raise AnnotationError("The list has no rows.", path=path, line=1, remedy="Unpack it again.")
    for line, cells in rows:
        if len(cells) != len(COLUMNS):
            fault = f"The row has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}, not {len(COLUMNS)}."
            remedy = "Unpack the list again; landmarks are in one cell, separated by semicolons."
            raise AnnotationError(fault, path=path, line=line, remedy=remedy)
        yield _make_record(part, cells[0], images / cells[0], cells[-3:], path, line)


def _read_folder(folder: Path, part: str) -> Iterator[ClipRecord]:
    """Photographs of a part, each with one file for class, valence and arousal; cached."""
    images, annotations = folder / "images", folder / "annotations"
    if not images.is_dir():
        raise DatasetNotFoundError(
            "There are annotations without photographs.", path=images, remedy="Unpack the photographs."
        )
    key = fingerprint("affectnet 1", [images, *sorted(annotations.iterdir())])
    arrays = load_arrays(key)
    if arrays is None:
        names = sorted(path.name for path in images.iterdir() if not path.name.startswith("."))
        rows = [[_value(annotations / f"{Path(name).stem}_{kind}.npy") for kind in _KINDS] for name in names]
        arrays = {"names": np.array(names, dtype=np.str_), "values": np.array(rows, dtype=np.str_)}
        save_arrays(key, arrays)
    for name, values in zip(arrays["names"].tolist(), arrays["values"].tolist(), strict=True):
        yield _make_record(
            part, name, images / name, values, annotations / f"{Path(name).stem}_{_KINDS[0]}.npy", 1
        )


def _value(path: Path) -> str:
    """The only entry of a NumPy file."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about headers of Python 2
            return str(np.lib.format.read_array(file, allow_pickle=False).item())
    except Exception as error:  # NumPy passes on what Python's tokenizer raises for a damaged header
        fault = f"The annotation cannot be read ({error})."
        raise AnnotationError(fault, path=path, line=1, remedy="Unpack the files again.") from error


def _make_record(
    part: str, name: str, path: Path, values: Sequence[str], source: Path, line: int
) -> ClipRecord:
    """Record of a photograph, after a check of its values."""
    try:
        expression, valence, arousal = (float(value) for value in values)
    except ValueError:
        expression = valence = arousal = math.nan
    highest = len(CLASSES) + len(_OTHERS) - 1
    possible = [value == UNDEFINED or -1 <= value <= 1 for value in (valence, arousal)]
    if expression not in range(highest + 1) or not all(possible):
        fault = f"Expression, valence and arousal are {', '.join(values)}."
        remedy = f"Expressions are 0 to {highest}, valence and arousal -1 to 1, or -2 if undefined."
        raise AnnotationError(fault, path=source, line=line, remedy=remedy)
    if UNDEFINED in (valence, arousal):
        valence = arousal = math.nan
    word = (*CLASSES.classes, *_OTHERS)[int(expression)]
    extra = {"part": part, "va": (valence, arousal)}
    return ClipRecord(f"{part}/{name}", path, num_frames=1, expression=word, extra=extra)
