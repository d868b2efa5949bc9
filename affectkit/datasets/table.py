"""One's own data: a table with one row a clip."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affectkit.data.record import ClipRecord
from affectkit.data.splits import canonical_subject, check_disjoint
from affectkit.data.tables import Table, read_table
from affectkit.data.target import Target
from affectkit.datasets.base import AffectDataset
from affectkit.datasets.frame_table import FrameTable
from affectkit.datasets.unit_columns import like_annotation, unit_labels
from affectkit.errors import AnnotationError, DatasetNotFoundError, LabelSpaceError
from affectkit.facs.coding import parse_coding
from affectkit.facs.expressions import EXPRESSION_SETS, ExpressionSet, canonical_expression
from affectkit.facs.sets import AUSet

__all__ = ["TableDataset"]

_INDEXES = ("index.parquet", "index.csv", "index.tsv", "index.xlsx")
_COUNTS = ("num_frames", "onset", "apex", "offset", "stop")
_NAMES = ("path", "clip", "subject", "split", "expression", "au", "labels", "fps", "start", *_COUNTS)

_log = logging.getLogger(__name__)


class TableDataset(AffectDataset):
    r"""Clips listed in `index.csv`, `.tsv`, `.xlsx` or `.parquet`, one row each; only `path` is required.

    - `path`: video, image, or folder of images, relative to the table. `clip`: its name, else `path`.
    - `subject`: who is seen. `split`: train, val or test; no subject may stand in two.
    - `onset`, `apex`, `offset`, `start`, `stop` (excluded), `num_frames`: positions from 0; `fps`.
    - `expression`: a word. Target "expression", in the space basic7 where that holds every word of the table,
      else in the alphabetical list of its words.
    - Action units in one of these ways: columns `AU01`, `AU12L` (0 or 1) and `AU01_i` (intensity 0 to 5);
      a column `au` in the coders' grammar (`1+R2+L12B`); or a column `labels`, the path of a table with a row
      a frame: `frame` (position from 0), columns as in the first way, and maybe landmarks `x0 … x67`,
      `y0 … y67` in pixels; or an output of OpenFace. Targets "au" and "intensity".

    An empty cell means not annotated, and is masked; so does `NA`. Capitals of column names do not matter. Columns
    that look like annotation and are not read are named in a warning, and in `unread`.

    Args:
        root: Folder of the index, or the index itself.
        **options: Those of `AffectDataset`.

    Raises:
        DatasetNotFoundError: There is no index.
        AnnotationError: A table cannot be read without guessing; names file and line.
        SubjectLeakError: A subject stands in two splits.

    Example:
        >>> root = getfixture("tmp_path")
        >>> index = "path,subject,AU12,expression\na.mp4,s1,1,happy\nb.mp4,s2,,\n"
        >>> _ = (root / "index.csv").write_text(index)
        >>> dataset = TableDataset(root)
        >>> dataset.spaces, dataset.subjects
        ({'au': 'AU12', 'expression': 'basic7'}, ('s1', 's2'))
        >>> dataset.labels(dataset.clips[1], [0])["au"].mask.tolist()
        [False]
    """

    name = "table"
    citation = ""
    licence = "Yours to say."

    def __init__(self, root: str | Path, **options: Any) -> None:
        self._frame_tables: dict[str, FrameTable] = {}
        super().__init__(root, **options)

    @functools.cached_property
    def index(self) -> Table:
        """The table with one row a clip."""
        if self.root.is_file():
            return read_table(self.root).with_names(_NAMES)
        for name in _INDEXES:
            if (self.root / name).is_file():
                return read_table(self.root / name).with_names(_NAMES)
        remedy = "Write a table with a row a clip; see datasets/table/README.md."
        raise DatasetNotFoundError(
            f"There is no table here: none of {', '.join(_INDEXES)}.", path=self.root, remedy=remedy
        )

    def records(self) -> list[ClipRecord]:
        """Parse the index, all of it whatever the split, and check it."""
        table = self.index
        if "path" not in table.columns:
            fault = f"There is no column 'path' among {', '.join(table.columns)}."
            raise table.error(fault, remedy="Name the video of each clip in it.")
        self.has_subjects = "subject" in table.columns
        records = [self._record(row) for row in range(len(table))]
        splits = [self._split_of(row) for row in range(len(table))]
        subjects: dict[str, list[str | None]] = {}
        first: dict[str, int] = {}
        for row, (record, split) in enumerate(zip(records, splits, strict=True)):
            if split is not None:
                subjects.setdefault(split, []).append(record.subject)
            if first.setdefault(record.clip, row) != row:
                fault = f"Clip '{record.clip}' is in line {table.lines[first[record.clip]]} already."
                raise table.error(fault, row, remedy="Give each clip a name of its own in a column 'clip'.")
        check_disjoint(subjects)
        self._parse_labels(records)
        self._warn_of_unread()
        chosen = [
            record for record, split in zip(records, splits, strict=True) if self.split in ("all", split)
        ]
        if not chosen:
            raise table.error(f"No row has the split '{self.split}'.", remedy="Fill in the column 'split'.")
        return chosen

    def labels(self, record: ClipRecord, indices: Sequence[int]) -> dict[str, Target]:
        """See `AffectDataset`."""
        row = record.extra["row"]
        targets = {
            name: Target.make(v[row], space=self.spaces[name]) for name, v in self._clip_labels.items()
        }
        if record.au is not None and "au" in self.spaces:
            values, known = record.au.occurrence(AUSet.parse(self.spaces["au"]), "mask")
            targets["au"] = Target.make(torch.tensor(values), torch.tensor(known), space=self.spaces["au"])
        if "labels" in self.index.columns:
            frames = self._frame_table(row)
            for name in self.spaces.keys() - targets.keys():
                targets[name] = self._frame_target(frames, name, indices)
        return targets

    def label_frames(self, record: ClipRecord) -> Sequence[int]:
        """See `AffectDataset`."""
        frames = self._frame_table(record.extra["row"])
        if frames is None:
            return super().label_frames(record)
        return [
            frame
            for frame in frames.frames
            if frame >= record.start and (record.stop is None or frame < record.stop)
        ]

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """See `AffectDataset`."""
        frames = self._frame_table(record.extra["row"])
        if frames is None or frames.points is None:
            return None
        points = frames.take(frames.points, indices)
        return points, points.isfinite().all(-1)

    def _record(self, row: int) -> ClipRecord:
        table = self.index
        path = table.text("path", row)
        if path is None:
            raise table.error("The path is empty.", row, remedy="Name the clip's video, or delete the row.")
        subject = table.text("subject", row)
        if self.has_subjects and subject is None:
            remedy = "Say who is seen (not NA, which is read as empty), or leave out the column 'subject' altogether."
            raise table.error("The subject is empty.", row, remedy=remedy)
        try:
            return ClipRecord(
                clip=table.text("clip", row) or path,
                path=table.path.parent / path,
                subject=None if subject is None else canonical_subject(subject),
                fps=table.number("fps", row),
                start=table.count("start", row) or 0,
                au=parse_coding(table.text("au", row)) if "au" in table.columns else None,
                expression=table.text("expression", row),
                extra={"row": row},
                **{name: table.count(name, row) for name in _COUNTS},
            )
        except AnnotationError as error:
            if error.line is not None:
                raise
            raise table.error(error.fault, row, remedy=error.remedy) from error

    def _split_of(self, row: int) -> str | None:
        split = self.index.text("split", row)
        if split not in (None, "train", "val", "test"):
            raise self.index.error(f"The split is '{split}'.", row, remedy="Write train, val or test.")
        return split

    def _parse_labels(self, records: list[ClipRecord]) -> None:
        """Fill `spaces`, and the labels of every row that concern the whole clip."""
        table = self.index
        units = unit_labels(table)
        ways = [name for name in ("au", "labels") if name in table.columns] + (
            ["AU columns"] if units else []
        )
        if len(ways) > 1:
            raise table.error(
                f"Action units are given in several ways: {', '.join(ways)}.", remedy="Keep one."
            )
        self._clip_labels = {name: values for name, (_, values) in units.items()}
        self.spaces = {name: space for name, (space, _) in units.items()}
        coded = {
            reading.id for r in records if r.au is not None for u in r.au.units for reading in u.readings
        }
        if coded:
            self.spaces["au"] = AUSet.of(*sorted(coded)).name
        if "labels" in table.columns:
            tables = (self._frame_table(row) for row in range(len(table)))
            first = next((frames for frames in tables if frames is not None), None)
            if first is not None:
                self.spaces |= {name: space for name, (space, _) in first.labels.items()}
        words = [None if r.expression is None else canonical_expression(r.expression) for r in records]
        known = {word for word in words if word is not None}
        if known:
            basic = EXPRESSION_SETS["basic7"]
            try:
                space = basic if known <= set(basic.classes) else ExpressionSet(tuple(sorted(known)))
            except LabelSpaceError as error:
                raise table.error(f"Column 'expression': {error.fault}", remedy=error.remedy) from error
            self.spaces["expression"] = space.name
            self._clip_labels["expression"] = torch.tensor(
                [-1 if w is None else space.index(w) for w in words]
            )

    def _warn_of_unread(self) -> None:
        """Name the columns of the index, and of the first frame table, that look like annotation and are not read."""
        table = self.index
        self.unread = like_annotation(table.columns)
        found = [(table.path, self.unread)]
        for frames in self._frame_tables.values():
            found.append((frames.table.path, frames.unread))
            self.unread += frames.unread
        for path, names in found:
            if names and self.split in ("train", "all"):
                _log.warning(
                    "%s: not read, though the name looks like annotation: %s. Rename it as AU01, AU01_i, expression, "
                    "subject or split if it is.",
                    path,
                    ", ".join(names),
                )

    def _frame_table(self, row: int) -> FrameTable | None:
        path = self.index.text("labels", row)
        if path is None:
            return None
        if path not in self._frame_tables:
            self._frame_tables[path] = FrameTable(read_table(self.index.path.parent / path))
        return self._frame_tables[path]

    def _frame_target(self, frames: FrameTable | None, name: str, indices: Sequence[int]) -> Target:
        space = self.spaces[name]
        if frames is None or name not in frames.labels:
            return Target.make(torch.full((len(indices), len(AUSet.parse(space))), torch.nan), space=space)
        own_space, values = frames.labels[name]
        more = set(AUSet.parse(own_space)) - set(AUSet.parse(space))
        if more:
            fault = f"The table has {', '.join(sorted(map(str, more)))}, which the first clip's table lacks."
            raise frames.table.error(fault, remedy="Add the columns there; empty cells are masked.")
        return Target.make(frames.take(values, indices), space=own_space).project(space)
