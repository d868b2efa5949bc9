"""RAF-DB: photographs of faces with basic or compound expressions."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from affectkit.data.record import ClipRecord
from affectkit.data.target import Target
from affectkit.datasets.bases.corpus import Counts, Expected
from affectkit.datasets.bases.protocols import official_test
from affectkit.datasets.bases.stills import StillCorpus
from affectkit.datasets.reading.codes import frame_ranges, read_lines
from affectkit.datasets.reading.image_folders import walk
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.facs.expressions import ExpressionSet

__all__ = ["RAFDB"]

_LIST = re.compile(r"list_pa(?:r?ti|rtiti)tion_label\.txt", re.IGNORECASE)
_ROW = re.compile(r"\s*(\S+)\s+(\d{1,2})\s*", re.ASCII)
_NAME = re.compile(r"((train|test)_(\d{1,6}))(_aligned)?\.(?:jpe?g|png|bmp)", re.ASCII | re.IGNORECASE)
_CLOSED = re.compile(r"manual|auto|boundingbox|Feature", re.IGNORECASE)
SPACES = {"basic": ExpressionSet.parse("rafdb7"), "compound": ExpressionSet.parse("rafdb11")}
TOTALS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "basic": {
        "train": (1290, 281, 717, 4772, 1982, 705, 2524),
        "test": (329, 74, 160, 1185, 478, 162, 680),
    },
    "compound": {
        "train": (562, 219, 107, 130, 68, 597, 117, 444, 138, 667, 113),
        "test": (135, 47, 22, 33, 18, 141, 33, 116, 38, 174, 35),
    },
}

Key = tuple[str, int]


def _expected(kind: str) -> Expected:
    names = SPACES[kind].classes
    parts = {
        split: Counts(clips=sum(counts), classes=dict(zip(names, counts, strict=True)))
        for split, counts in TOTALS[kind].items()
    }
    whole = {name: sum(part.classes[name] for part in parts.values()) for name in names}
    return Expected(clips=sum(whole.values()), classes=whole, parts=parts)


@register
class RAFDB(StillCorpus):
    """RAF-DB, the Real-world Affective Faces Database.

    15,339 photographs with one of seven basic expressions, or 3,954 with one of eleven compound ones; each is a
    clip of one frame. Target "expression", in the space `rafdb7` or `rafdb11`. Who is seen is not known, so every
    photograph counts as a person of its own. The split stands in the names; validation photographs are drawn from
    the training ones.

    Args:
        root: Folder of the corpus, one above it, or its `basic` or `compound` part.
        kind: Which expressions.
        images: "aligned" (100 x 100) or "original" photographs.
        space: Classes of "expression", those of the list by default; labels it lacks are masked.
        **options: See `Corpus`.

    Raises:
        DatasetNotFoundError: There is neither a list of labels nor a tree of class folders.
        AnnotationError: The list cannot be read without guessing; names file and line.

    References:
        S. Li, W. Deng, J. Du, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition
        in the wild", CVPR 2017.
    """

    name = "RAFDB"
    citation = (
        "S. Li, W. Deng, J. Du: Reliable crowdsourcing and deep locality-preserving learning for expression "
        "recognition in the wild. CVPR 2017."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (
        official_test(
            "RAFDB",
            "RAF-DB, official test split; epoch chosen on a validation part held out of the training split",
            prefix="test_",
        ),
    )
    part_names = ("train", "test")
    media_options = ("kind", "images")
    expected: ClassVar[Mapping[str, Expected]] = {
        f"RAF-DB {kind}{way}": _expected(kind) for kind in SPACES for way in ("", ", class folders")
    }

    def __init__(
        self,
        root: str | Path,
        *,
        kind: Literal["basic", "compound"] = "basic",
        images: Literal["aligned", "original"] = "aligned",
        space: str | None = None,
        **options: Any,
    ) -> None:
        if kind not in SPACES or images not in ("aligned", "original"):
            raise ConfigError(
                f"RAF-DB has no {kind!r} expressions or no {images!r} images.",
                remedy="Use kind 'basic' or 'compound', images 'aligned' or 'original'.",
            )
        self.kind = kind
        self.images = images
        self.crop = "none" if images == "aligned" else "auto"
        self.classes = SPACES[kind]
        self.spaces = {"expression": self.classes.name if space is None else ExpressionSet.parse(space).name}
        super().__init__(root, **options)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`."""
        files = self._images
        path = self._find_list()
        if path is None:
            labels = {key: (name, label) for key, (name, label) in self._class_folders().items()}
            if not labels:
                raise DatasetNotFoundError(
                    f"There are no {self.kind} labels of RAF-DB here.",
                    path=self.root,
                    remedy="Unpack EmoLabel/list_patition_label.txt, and check `kind`.",
                )
            self.revision = f"RAF-DB {self.kind}, class folders"
        else:
            labels = self._read_list(path)
            self.revision = f"RAF-DB {self.kind}"
            self.conflicts += [
                f"{labels[key][0]}: the list says {labels[key][1]}, its folder {label}"
                for key, (_, label) in self._class_folders().items()
                if key in labels and labels[key][1] != label
            ]
        self.warnings += _oddities(labels, self.kind)
        folder = self._base / "Image" / self.images
        ending = "_aligned.jpg" if self.images == "aligned" else ".jpg"
        return [
            ClipRecord(
                clip=name,
                path=files.get(key, folder / f"{name}{ending}"),
                num_frames=1,
                expression=self.classes.classes[label - 1],
                extra={"part": key[0]},
            )
            for key, (name, label) in labels.items()
        ]

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`: one class a photograph, []."""
        label = torch.tensor(self.classes.index(str(record.expression)))
        target = Target.make(label, space=self.classes.name)
        return {"expression": target.project(self.spaces["expression"])}

    @functools.cached_property
    def _tree(self) -> list[tuple[Path, list[str], list[str]]]:
        """The folders of this kind of expressions."""
        other = "compound" if self.kind == "basic" else "basic"
        return [entry for entry in walk(self.root, _CLOSED) if self._kind_of(entry[0]) != other]

    def _kind_of(self, folder: Path) -> str | None:
        names = [self.root.name, *folder.relative_to(self.root).parts]
        return next((name.lower() for name in reversed(names) if name.lower() in SPACES), None)

    @property
    def _base(self) -> Path:
        """The folder of this kind of expressions."""
        own = [folder for folder, _, _ in self._tree if folder.name.lower() == self.kind]
        return own[0] if own else self.root

    @functools.cached_property
    def _images(self) -> dict[Key, Path]:
        found: dict[Key, Path] = {}
        for folder, files, _ in self._tree:
            for file in files:
                match = _NAME.fullmatch(file)
                if match and (match[4] is not None) == (self.images == "aligned"):
                    found.setdefault((match[2].lower(), int(match[3])), folder / file)
        return found

    def _class_folders(self) -> dict[Key, tuple[str, int]]:
        """Labels of images that lie in folders called after their label, `train/4/train_00001_aligned.jpg`."""
        labels = {}
        for key, path in self._images.items():
            folder, match = path.parent.name, _NAME.fullmatch(path.name)
            if match and folder.isascii() and folder.isdecimal() and 1 <= int(folder) <= len(self.classes):
                labels[key] = (match[1], int(folder))
        return labels

    def _find_list(self) -> Path | None:
        lists = [folder / file for folder, files, _ in self._tree for file in files if _LIST.fullmatch(file)]
        own = [path for path in lists if self._kind_of(path.parent) == self.kind] or lists
        for path in own[1:]:
            if path.read_bytes() != own[0].read_bytes():
                fault = f"It differs from {own[0]}."
                raise AnnotationError(fault, path=path, line=1, remedy="Keep one list of labels.")
        return own[0] if own else None

    def _read_list(self, path: Path) -> dict[Key, tuple[str, int]]:
        labels: dict[Key, tuple[str, int]] = {}
        lines = read_lines(path)
        for line, text in enumerate(lines, start=1):
            if not text.strip(" \t,"):
                continue
            row = _ROW.fullmatch(text)
            name = None if row is None else _NAME.fullmatch(row[1])
            if row is None or name is None:
                remedy = "A row is an image name and a label: train_00001.jpg 5."
                raise AnnotationError(f"The row is '{text[:40]}'.", path=path, line=line, remedy=remedy)
            key, label = (name[2].lower(), int(name[3])), int(row[2])
            if not 1 <= label <= len(self.classes):
                remedy = f"{self.kind.capitalize()} labels are 1 to {len(self.classes)}; check `kind`."
                raise AnnotationError(f"The label is {label}.", path=path, line=line, remedy=remedy)
            if key in labels:
                remedy = "Delete one of the rows."
                raise AnnotationError(f"{name[1]} is there twice.", path=path, line=line, remedy=remedy)
            labels[key] = (name[1].lower(), label)
            if line == len(lines) and label == 1 and len(self.classes) > 9:
                # Without a line end this may be what is left of 10 or 11.
                remedy = "Unpack the list again; if it is whole, end it with an empty line."
                raise AnnotationError("The last label may be cut off.", path=path, line=line, remedy=remedy)
        if not labels:
            raise AnnotationError("The list is empty.", path=path, line=1, remedy="Unpack it again.")
        return labels


def _oddities(labels: Mapping[Key, tuple[str, int]], kind: str) -> Iterator[str]:
    """What a list that can be read should not be."""
    for split in ("train", "test"):
        numbers = {number for own, number in labels if own == split}
        absent = sorted(set(range(1, max(numbers, default=0) + 1)) - numbers)
        published = sum(TOTALS[kind][split])
        if not numbers:
            yield f"There are no {split} labels"
        elif 0 < abs(len(numbers) - published) < published // 10:
            yield f"There are {len(numbers)} {split} labels, {published} are published"
        if absent:
            yield f"There are no {split} labels of the images {frame_ranges(absent)}"
    widths = {len(name.partition("_")[2]) for (split, _), (name, _) in labels.items() if split == "train"}
    usual = 5 if kind == "basic" else 4
    if widths and widths != {usual}:
        yield f"Training images of RAF-DB {kind} are numbered with {usual} digits, these are not: check `kind`"
