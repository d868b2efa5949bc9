"""Rows of unfinished tables: an Arrow stream beside the table, valid up to its last whole batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.inference.baseline import subtract_baseline
from affectkit.inference.formats.table import LEADING, Summary, foreign

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"affectkit"
"""Key of the metadata, as JSON, in the schema."""


def partial_of(path: Path) -> Path:
    """File that holds the rows of an unfinished table."""
    return path.with_name(path.name + ".partial")


@dataclass(frozen=True)
class RowStream:
    """Rows of an unfinished table.

    Iterating gives batches; if the metadata have a `baseline`, it is subtracted. The stream ends where it was cut off,
    or where a power failure left bytes that are not rows in the order of their frames.

    Args:
        path: The partial file.
        schema: Its schema.
        start: Position of the first batch in bytes.
        metadata: Metadata of the table.
    """

    path: Path
    schema: pa.Schema
    start: int
    metadata: dict[str, Any]

    @classmethod
    def of(cls, table: Path) -> RowStream | None:
        """Rows beside a table; None if there are none, or the schema was cut off.

        Raises:
            AnnotationError: The partial file was not written by affectkit.
        """
        import pyarrow as pa

        path = partial_of(table)
        try:
            with path.open("rb") as file:
                if file.read(1) not in (b"", b"\0", b"\xff"):
                    raise foreign(path, "The file is not an Arrow stream.")
                file.seek(0)
                schema, start = pa.ipc.open_stream(file).schema, file.tell()
        except (pa.ArrowException, OSError):
            return None
        try:
            metadata = json.loads((schema.metadata or {})[KEY])
            ours = isinstance(metadata["format"], str) and tuple(schema.names[: len(LEADING)]) == LEADING
        except (KeyError, TypeError, ValueError):
            ours = False
        if not ours:
            raise foreign(path, "The schema does not hold the metadata of a table of affectkit.")
        return cls(path, schema, start, metadata)

    @property
    def columns(self) -> list[str]:
        """Names of the values."""
        return list(self.schema.names[len(LEADING) :])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        baseline = dict(self.metadata.get("baseline") or {})
        columns = baseline.pop("columns", [])
        parts = (
            [batch.select(["face", "success", *columns]) for _, batch in self._placed()] if columns else []
        )
        if parts:  # only these columns are in memory at once
            changed = subtract_baseline(pa.Table.from_batches(parts).to_pandas(), columns, **baseline)
        start = 0
        for _, batch in self._placed():
            for name in columns:
                values = pa.array(changed[name].iloc[start : start + batch.num_rows], from_pandas=True)
                batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), values)
            start += batch.num_rows
            yield batch

    def _placed(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Unchanged batches with their positions in bytes."""
        import pyarrow as pa

        with self.path.open("rb") as file:
            reader = pa.ipc.open_stream(file)
            place, last = self.start, 0
            while True:
                try:
                    batch = reader.read_next_batch()
                    batch.validate(full=True)
                except (StopIteration, pa.ArrowException, OSError):
                    return
                frames = [last, *batch.column("frame").to_pylist()]
                if None in frames or frames != sorted(frames):
                    return
                yield place, batch
                place, last = file.tell(), frames[-1]

    def summary(self) -> Summary:
        """Counts of all rows."""
        summary = Summary()
        for _, batch in self._placed():
            for row in _rows(batch):
                summary.add(*row)
        return summary

    def kept(self) -> tuple[Summary, int, pa.RecordBatch | None]:
        """Everything before the last frame, which may lack faces.

        Returns:
            Counts of these rows; position of the batch with the last frame; rows of that batch before the frame, or
            None.
        """
        summary, waiting = Summary(), list[tuple[int, bool, str | None]]()
        place, head = self.start, None
        for begin, batch in self._placed():
            for k, row in enumerate(_rows(batch)):
                if not waiting or row[0] != waiting[0][0]:
                    for one in waiting:
                        summary.add(*one)
                    waiting, place, head = [], begin, batch.slice(0, k) if k else None
                waiting.append(row)
        return summary, place, head


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[int, bool, str | None]]:
    return zip(*(batch.column(name).to_pylist() for name in ("frame", "success", "reason")), strict=True)
