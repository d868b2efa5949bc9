"""Your own data: a table with one row per clip."""

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
from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.datasets.reading.frame_table import FrameTable, like_annotation, unit_labels
from affectkit.datasets.registry import register
from affectkit.errors import AnnotationError, DatasetNotFoundError, LabelSpaceError
from affectkit.facs.coding import parse_coding
from affectkit.facs.expressions import EXPRESSION_SETS, ExpressionSet, canonical_expression
from affectkit.facs.sets import AUSet
from affectkit.facs.spaces import label_space

__all__ = ["TableDataset"]

_INDEXES = ("index.parquet", "index.csv", "index.tsv", "index.xlsx")
_COUNTS = ("num_frames", "onset", "apex", "offset", "stop")
_CAPTION = "caption"
_CAPTIONS = "captions.jsonl"
_NAMES = (
    "path",
    "clip",
    "subject",
    "split",
    "expression",
    "au",
    "labels",
    "fps",
    "start",
    _CAPTION,
    *_COUNTS,
)

_log = logging.getLogger(__name__)


@register
class TableDataset(AffectDataset):
    r"""Clips listed in `index.csv`, `.tsv`, `.xlsx` or `.parquet`, one row each; only `path` is required.

    - `path`: video, image, or folder of images, relative to the table. `clip`: its name, `path` by default.
    - `subject`: the person. `split`: train, val or test; no subject may be in two.
    - `onset`, `apex`, `offset`, `start`, `stop` (excluded), `num_frames`: positions from 0; `fps`.
    - `expression`: a word. Target "expression", in the space basic7 if it has every word of the table, else in the
      alphabetical list of the words.
    - Action units in one of these ways: columns `AU01`, `AU12L` (0 or 1) and `AU01_i` (intensity 0 to 5); a column
      `au` in the coders' notation (`1+R2+L12B`); or a column `labels`, the path of a table with one row per frame:
      `frame` (position from 0), columns as in the first way, and optionally landmarks `x0 … x67`, `y0 … y67` in
      pixels; or an output of OpenFace. Targets "au" and "intensity".

    - `caption`: a text on the whole face; `caption_summary`, `caption_REGION` (such as `caption_brows`): further ones.
      A file `captions.jsonl` beside the index is read instead of such columns, see `affectkit.data.read_captions`.

    Empty cells and `NA` mean not annotated and are masked. The case of column names is ignored. Columns that look like
    annotation and are not read are named in a warning and in `unread`.

    Args:
        root: Folder of the index, or the index itself.
        **options: See `AffectDataset`.

    Raises:
        DatasetNotFoundError: There is no index.
        AnnotationError: A table is ambiguous or damaged; names file and line.
        SubjectLeakError: A subject is in two splits.

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
    licence = "Your own."

    def __init__(self, root: str | Path, *, captions: str | Path | None = None, **options: Any) -> None:
        self._frame_tables: dict[str, FrameTable] = {}
        folder = Path(root) if Path(root).is_dir() else Path(root).parent
        if captions is None and (folder / _CAPTIONS).is_file():
            captions = folder / _CAPTIONS
        super().__init__(root, captions=captions, **options)
        if self._captions and self._caption_columns:
            raise self.index.error(
                f"Captions are given in the columns {', '.join(self._caption_columns)} and in {captions}.",
                remedy="Keep one of them.",
            )

    @functools.cached_property
    def index(self) -> Table:
        """The table with one row per clip."""
        paths = [self.root] if self.root.is_file() else [self.root / name for name in _INDEXES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            fault = f"There is no table here: none of {', '.join(_INDEXES)}."
            remedy = "Write a table with one row per clip; see datasets/table/README.md."
            raise DatasetNotFoundError(fault, path=self.root, remedy=remedy)
        return read_table(path).with_names(_NAMES)

    def records(self) -> list[ClipRecord]:
        """See `AffectDataset`; the rows of all splits are parsed and checked."""
        table = self.index
        if "path" not in table.columns:
            fault = f"There is no column 'path' among {', '.join(table.columns)}."
            raise table.error(fault, remedy="Add it, with the video of each clip.")
        self.has_subjects = "subject" in table.columns
        records = [self._record(row) for row in range(len(table))]
        splits = [table.text("split", row) for row in range(len(table))]
        subjects: dict[str, list[str | None]] = {}
        first: dict[str, int] = {}
        for row, (record, split) in enumerate(zip(records, splits, strict=True)):
            if split not in (None, "train", "val", "test"):
                raise table.error(f"The split is '{split}'.", row, remedy="Write train, val or test.")
            if split is not None:
                subjects.setdefault(split, []).append(record.subject)
            if first.setdefault(record.clip, row) != row:
                fault = f"Clip '{record.clip}' is in line {table.lines[first[record.clip]]} too."
                raise table.error(fault, row, remedy="Give each clip a unique name in a column 'clip'.")
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
        table = self._frame_table(record.extra["row"])
        if table is None:
            return super().label_frames(record)
        stop = table.frames[-1] + 1 if record.stop is None else record.stop
        return [frame for frame in table.frames if record.start <= frame < stop]

    @functools.cached_property
    def _caption_columns(self) -> dict[str, str]:
        """Part of a caption by column."""
        parts = {_CAPTION: "global"}
        for column in self.index.columns:
            if column.casefold().startswith(f"{_CAPTION}_"):
                parts[column] = column[len(_CAPTION) + 1 :].casefold()
        return {column: part for column, part in parts.items() if column in self.index.columns}

    def captions(self, record: ClipRecord) -> dict[str, str]:
        """See `AffectDataset`; from the columns of the index, or from JSON Lines."""
        row = record.extra["row"]
        texts = {part: self.index.text(column, row) for column, part in self._caption_columns.items()}
        return {part: text for part, text in texts.items() if text is not None} or super().captions(record)

    def landmarks(self, record: ClipRecord, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """See `AffectDataset`."""
        table = self._frame_table(record.extra["row"])
        if table is None or table.points is None:
            return None
        points = table.take(table.points, indices)
        return points, points.isfinite().all(-1)

    def _record(self, row: int) -> ClipRecord:
        table = self.index
        path, subject = table.text("path", row), table.text("subject", row)
        if path is None:
            raise table.error("The path is empty.", row, remedy="Enter the clip's video, or delete the row.")
        if self.has_subjects and subject is None:
            remedy = "Enter a name (not NA, which means empty), or remove the column 'subject'."
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

    def _parse_labels(self, records: list[ClipRecord]) -> None:
        """Set `spaces`, and the labels of all rows that concern whole clips."""
        table = self.index
        units = unit_labels(table)
        ways = [name for name in ("au", "labels") if name in table.columns] + ["AU columns"] * bool(units)
        if len(ways) > 1:
            fault = f"Action units are given in several ways: {', '.join(ways)}."
            raise table.error(fault, remedy="Keep one of them.")
        self._clip_labels = {name: values for name, (_, values) in units.items()}
        self.spaces = {name: space for name, (space, _) in units.items()}
        codings = [record.au for record in records if record.au is not None]
        coded = {reading.id for coding in codings for unit in coding.units for reading in unit.readings}
        if coded:
            self.spaces["au"] = AUSet.of(*sorted(coded)).name
        frame_tables = filter(None, map(self._frame_table, range(len(table))))
        if (first := next(frame_tables, None)) is not None:
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
            labels = [-1 if word is None else space.index(word) for word in words]
            self._clip_labels["expression"] = torch.tensor(labels)

    def _warn_of_unread(self) -> None:
        """Warn of columns of the index, and of the frame tables read so far, that look like annotation."""
        found = [(self.index.path, like_annotation(self.index.columns))]
        found += [(frames.table.path, frames.unread) for frames in self._frame_tables.values()]
        self.unread = tuple(name for _, names in found for name in names)
        for path, names in found if self.split in ("train", "all") else ():
            if names:
                _log.warning(
                    "%s: not read, though the name looks like annotation: %s. Rename annotation as AU01, AU01_i, "
                    "expression, subject or split.",
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
            return Target.make(torch.full((len(indices), len(label_space(space))), torch.nan), space=space)
        own_space, values = frames.labels[name]
        more = set(label_space(own_space).labels) - set(label_space(space).labels)
        if more:
            fault = f"The table has {', '.join(sorted(more))}, which the first clip's table lacks."
            raise frames.table.error(fault, remedy="Add the columns there; empty cells are masked.")
        return Target.make(frames.take(values, indices), space=own_space).project(space)
