"""RAF-DB: photographs of faces with basic or compound expressions."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from affectkit.data.record import ClipRecord
from affectkit.datasets.bases.corpus import Counts, StillCorpus, check_choice, count_parts
from affectkit.datasets.bases.protocols import Protocol
from affectkit.datasets.reading.codes import frame_ranges, read_lines
from affectkit.datasets.reading.folders import Listing
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError
from affectkit.facs.expressions import ExpressionSet

__all__ = ["RAFDB"]

_LIST = re.compile(r"list_pa(?:r?ti|rtiti)tion_label\.txt", re.IGNORECASE)
_ROW = re.compile(r"\s*(\S+)\s+(\d{1,2})\s*", re.ASCII)
_NAME = re.compile(r"((train|test)_(\d{1,6}))(_aligned)?\.(?:jpe?g|png|bmp)", re.ASCII | re.IGNORECASE)
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


@register
class RAFDB(StillCorpus):
    """RAF-DB, the Real-world Affective Faces Database.

    15,339 photographs with one of seven basic expressions, or 3,954 with one of eleven compound ones; each is a clip of
    one frame. Target "expression", in the space `rafdb7` or `rafdb11`. Subjects are unknown. The names of the images
    contain the split; validation photographs are drawn from the training ones.

    Args:
        root: Folder of the corpus, a folder above it, or its `basic` or `compound` part.
        kind: Kind of expressions.
        images: "aligned" (100 x 100) or "original" photographs.
        space: Classes of "expression", those of the list by default; labels that it lacks are masked.
        **options: See `Corpus`.
    """

    name = "RAFDB"
    citation = (
        "S. Li, W. Deng, J. Du: Reliable crowdsourcing and deep locality-preserving learning for expression "
        "recognition in the wild. CVPR 2017."
    )
    licence = "On request for non-commercial research; not redistributable."
    protocols = (
        Protocol(
            "official",
            "RAFDB",
            "RAF-DB, official test split; epoch chosen on a validation part held out of the training split",
            prefix="test_",
        ),
    )
    labels_hint = "EmoLabel/list_patition_label.txt, and check `kind`"
    closed = re.compile(r"manual|auto|boundingbox|Feature", re.IGNORECASE)
    part_names = ("train", "test")
    media_options = ("kind", "images")
    expected: ClassVar[Mapping[str, Counts]] = {
        f"RAF-DB {kind}{source}": count_parts(SPACES[kind], TOTALS[kind])
        for kind in SPACES
        for source in ("", ", class folders")
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
        check_choice("kind", kind, tuple(SPACES))
        check_choice("images", images, ("aligned", "original"))
        self.kind = kind
        self.images = images
        self.crop = "none" if images == "aligned" else "auto"
        self.classes = SPACES[kind]
        self.spaces = {"expression": self.classes.name if space is None else ExpressionSet.parse(space).name}
        super().__init__(root, **options)

    def annotations(self) -> list[ClipRecord]:
        """See `Corpus`; labels are read from the list, else from folders named after the label."""
        path = self._find_list()
        in_folders = self._class_folders()
        labels = in_folders if path is None else self._read_list(path)
        if not labels:
            raise self.no_labels(f"{self.kind} ")
        self.revision = f"RAF-DB {self.kind}" + (", class folders" if path is None else "")
        self.conflicts += [
            f"{labels[key][0]}: the list says {labels[key][1]}, its folder {label}"
            for key, (_, label) in in_folders.items()
            if key in labels and labels[key][1] != label
        ]
        self.warnings += _irregularities(labels, self.kind)
        own = [folder for folder, _, _ in self._own_folders if folder.name.lower() == self.kind]
        folder = (own[0] if own else self.root) / "Image" / self.images
        ending = "_aligned.jpg" if self.images == "aligned" else ".jpg"
        return [
            ClipRecord(
                clip=name,
                path=self._paths.get(key, folder / f"{name}{ending}"),
                num_frames=1,
                expression=self.classes.classes[label - 1],
                extra={"part": key[0]},
            )
            for key, (name, label) in labels.items()
        ]

    @functools.cached_property
    def _own_folders(self) -> list[Listing]:
        """Folders without those of the other kind."""
        other = "compound" if self.kind == "basic" else "basic"
        return [entry for entry in self.folders if self._kind_of(entry[0]) != other]

    def _kind_of(self, folder: Path) -> str | None:
        names = [self.root.name, *folder.relative_to(self.root).parts]
        return next((name.lower() for name in reversed(names) if name.lower() in SPACES), None)

    @functools.cached_property
    def _paths(self) -> dict[Key, Path]:
        """Images by split and number."""
        found: dict[Key, Path] = {}
        for folder, files, _ in self._own_folders:
            for match in filter(None, map(_NAME.fullmatch, files)):
                if (match[4] is not None) == (self.images == "aligned"):
                    found.setdefault((match[2].lower(), int(match[3])), folder / match[0])
        return found

    def _class_folders(self) -> dict[Key, tuple[str, int]]:
        """Labels of images in folders like `train/4/train_00001_aligned.jpg`."""
        labels = {}
        for key, path in self._paths.items():
            folder, match = path.parent.name, _NAME.fullmatch(path.name)
            if match and folder.isascii() and folder.isdecimal() and 1 <= int(folder) <= len(self.classes):
                labels[key] = (match[1], int(folder))
        return labels

    def _find_list(self) -> Path | None:
        lists = [
            folder / name for folder, names, _ in self._own_folders for name in names if _LIST.fullmatch(name)
        ]
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
                fault = f"{name[1]} is listed twice."
                raise AnnotationError(fault, path=path, line=line, remedy="Delete one of the rows.")
            labels[key] = (name[1].lower(), label)
            if line == len(lines) and label == 1 and len(self.classes) > 9:
                remedy = "Unpack the list again; if it is complete, end it with an empty line."
                fault = "The last label, 1, may be a truncated 10 or 11."
                raise AnnotationError(fault, path=path, line=line, remedy=remedy)
        if not labels:
            raise AnnotationError("The list is empty.", path=path, line=1, remedy="Unpack it again.")
        return labels


def _irregularities(labels: Mapping[Key, tuple[str, int]], kind: str) -> Iterator[str]:
    """Warnings of absent labels and unusual names."""
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
        yield f"Training images of RAF-DB {kind} have numbers of {usual} digits, these have others: check `kind`"
