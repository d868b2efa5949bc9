"""AffectNet: photographs of faces with expressions, valence and arousal."""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import torch

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Counts, Expected
from affectkit.datasets.bases.protocols import official_test
from affectkit.datasets.bases.stills import StillCorpus
from affectkit.datasets.reading.codes import read_lines
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.reading.index_cache import fingerprint, load_arrays, save_arrays
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
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
_CLOSED: Final = re.compile(r"Manually_Annotated_Images|Automatically_.*|images|annotations", re.IGNORECASE)
_KINDS: Final = ("exp", "val", "aro")
_IMAGES: Final = "Manually_Annotated_Images"


def _expected(classes: Sequence[str]) -> Expected:
    """The published counts of the photographs with one of some classes."""
    train = {name: TRAIN[CLASSES.classes.index(name)] for name in classes}
    parts = {"train": train, "validation": dict.fromkeys(classes, VALIDATION)}
    return Expected(
        clips=sum(train.values()) + VALIDATION * len(classes),
        classes={name: count + VALIDATION for name, count in train.items()},
        parts={part: Counts(clips=sum(own.values()), classes=own) for part, own in parts.items()},
    )


class _Row(NamedTuple):
    """One photograph as a list or a folder has it."""

    part: str
    name: str
    path: Path
    expression: int
    valence: float
    arousal: float


@register
class AffectNet(StillCorpus):
    """AffectNet, its manually annotated photographs.

    About 290,000 photographs from the web with one of eight expressions, and 150,000 that show none of them; all with
    valence and arousal as far as a face shows them. Each is a clip of one frame. Targets: "expression", in
    `affectnet8`, or in `affectnet7` without contempt; "va", valence and arousal in -1 to 1; -2 means undefined and is
    masked. Clips are `train/1/a7e.jpg`. Nobody says who is seen, so every photograph counts as a person of its own, and
    people may be in training and test alike.

    The corpus has no public test part: as in publications the validation list is tested, and photographs to choose the
    epoch on are drawn from the training list. The validation list is balanced, the training list is not.

    Args:
        root: Folder of the corpus, or one above it: `Manually_Annotated_file_lists/training.csv` and `validation.csv`
            with `Manually_Annotated_Images`, or the later `train_set` and `val_set` with a folder of `.npy` files.
        space: Classes of "expression"; photographs of another class are masked.
        require: Targets that a photograph must be annotated for, others are left out; `[]` keeps all.
        **options: See `Corpus`.

    Raises:
        DatasetNotFoundError: There are neither lists nor folders of annotations.
        AnnotationError: A list cannot be read without guessing; names file and line.

    References:
        A. Mollahosseini, B. Hasani, M. H. Mahoor, "AffectNet: a database for facial expression, valence, and arousal
        computing in the wild", IEEE Transactions on Affective Computing 10(1), 2019.
    """

    name = "AffectNet"
    citation = (
        "A. Mollahosseini, B. Hasani, M. H. Mahoor: AffectNet: a database for facial expression, valence, and arousal "
        "computing in the wild. IEEE Transactions on Affective Computing 10(1), 2019."
    )
    licence = "On a signed agreement with the University of Denver, for research; not redistributable."
    part_names = ("train", "validation")
    protocols = (
        official_test(
            "AffectNet",
            "AffectNet, manual annotation; the validation list is tested, epoch chosen on a tenth of the training list",
            prefix="validation/",
        ),
    )
    expected: ClassVar[Mapping[str, Expected]] = {
        f"AffectNet, {len(own)} classes": _expected(own)
        for own in (CLASSES.classes, ExpressionSet.parse("affectnet7").classes)
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
        if unknown := sorted(set(require) - self.spaces.keys()):
            raise ConfigError(f"require={unknown} is not known.", remedy="Use expression, va or both.")
        self.require = tuple(require)
        super().__init__(root, **options)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        records: dict[str, ClipRecord] = {}
        for row in self._rows():
            clip = f"{row.part}/{row.name}"
            word = (*CLASSES.classes, *_OTHERS)[row.expression]
            annotated = {"expression": word in self.classes.classes, "va": not math.isnan(row.valence)}
            if not all(annotated[name] for name in self.require):
                continue
            if clip in records:
                self.warnings.append(f"{clip} is listed twice; the first row counts")
                continue
            extra = {"part": row.part, "va": (row.valence, row.arousal)}
            records[clip] = ClipRecord(clip=clip, path=row.path, num_frames=1, expression=word, extra=extra)
        self.revision = f"AffectNet, {len(self.classes)} classes"
        return list(records.values())

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`: one class [], valence and arousal [2]."""
        word = record.expression
        index = self.classes.classes.index(word) if word in self.classes.classes else -1
        return {
            "expression": Target.make(torch.tensor(index), space=self.spaces["expression"]),
            "va": Target.make(torch.tensor(record.extra["va"]), space="va"),
        }

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        return list(walk(self.root, _CLOSED))

    def _rows(self) -> Iterator[_Row]:
        lists = {name.lower(): folder / name for folder, names, _ in self._tree for name in names}
        folders = [
            (folder, part)
            for folder, _, below in self._tree
            if (part := _FOLDERS.get(folder.name.lower())) and "annotations" in below
        ]
        if not (lists.keys() & _LISTS.keys()) and not folders:
            raise DatasetNotFoundError(
                "There are no annotations of AffectNet here.",
                path=self.root,
                remedy="Unpack Manually_Annotated_file_lists, or train_set and val_set.",
            )
        images = next(
            (folder / name for folder, _, below in self._tree for name in below if name == _IMAGES), None
        )
        for name, part in _LISTS.items():
            if name in lists:
                yield from _read_list(lists[name], part, images or self.root / _IMAGES)
        for folder, part in folders:
            yield from _read_folder(folder, part)


def _read_list(path: Path, part: str, images: Path) -> Iterator[_Row]:
    """The rows of a list, which may lack its header."""
    lines = read_lines(path)
    for line, cells in enumerate(csv.reader(lines), start=1):
        if not cells or (line == 1 and cells[0] == COLUMNS[0]):
            continue
        if len(cells) != len(COLUMNS):
            raise AnnotationError(
                f"The row has {len(cells)} cells, not {len(COLUMNS)}.",
                path=path,
                line=line,
                remedy="Unpack the list again; landmarks stand in one cell, between semicolons.",
            )
        name, expression, valence, arousal = cells[0], *cells[-3:]
        yield _row(part, name, images / name, (expression, valence, arousal), path, line)


def _read_folder(folder: Path, part: str) -> Iterator[_Row]:
    """The photographs of a part, each with files of its own for class, valence and arousal; read once."""
    images, annotations = folder / "images", folder / "annotations"
    key = fingerprint("affectnet 1", [images, *sorted(annotations.iterdir())])
    arrays = load_arrays(key)
    if arrays is None:
        names = sorted(path.name for path in images.iterdir() if not path.name.startswith("."))
        rows = [[_value(annotations / f"{Path(name).stem}_{kind}.npy") for kind in _KINDS] for name in names]
        arrays = {"names": np.array(names, dtype=np.str_), "values": np.array(rows, dtype=np.str_)}
        save_arrays(key, arrays)
    for name, values in zip(arrays["names"].tolist(), arrays["values"].tolist(), strict=True):
        yield _row(part, name, images / name, values, annotations / f"{Path(name).stem}_{_KINDS[0]}.npy", 1)


def _value(path: Path) -> str:
    """The only entry of a file of NumPy's."""
    try:
        return str(np.load(path, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        fault = f"The annotation cannot be read ({error})."
        raise AnnotationError(fault, path=path, line=1, remedy="Unpack the files again.") from error


def _row(part: str, name: str, path: Path, values: Sequence[str], source: Path, line: int) -> _Row:
    """A row whose values are possible.

    Raises:
        AnnotationError: One is not.
    """
    try:
        expression, valence, arousal = (float(value) for value in values)
    except ValueError:
        expression = math.nan
    highest = len(CLASSES) + len(_OTHERS) - 1
    possible = expression in range(highest + 1) and all(
        value == UNDEFINED or -1 <= value <= 1 for value in (valence, arousal)
    )
    if not possible:
        raise AnnotationError(
            f"Expression, valence and arousal are {', '.join(values)}.",
            path=source,
            line=line,
            remedy=f"Expressions are 0 to {highest}, valence and arousal -1 to 1, or -2 where undefined.",
        )
    undefined = UNDEFINED in (valence, arousal)
    place = (math.nan, math.nan) if undefined else (valence, arousal)
    return _Row(part, name, path, int(expression), *place)
