"""Columns, counts and metadata of prediction tables in any format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from hashlib import file_digest
from io import BufferedRandom, BytesIO
from math import isfinite
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.baseline import Amounts, Baseline, RunningBaseline, Scales, unit_columns
from affectkit.inference.measures import columns_of, measure
from affectkit.inference.predictor import Row

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

LEADING = ("frame", "timestamp", "face", "success", "reason", "score", "x", "y", "w", "h")
"""Columns before the values in every tidy table."""

File = BufferedRandom | BytesIO
"""Open binary file for writing and reading."""

KEY = b"affectkit"
"""Key of the metadata, as JSON, in an Arrow schema."""

SUMMARY = ("frames", "rows", "last_frame", "failed_frames", "failures", "complete", "baselines", "sha256")
"""Metadata known at the end: counts, the amounts subtracted from each person, and the hash of a text file."""


def schema(
    columns: Sequence[str],
    metadata: Mapping[bytes, bytes] | None = None,
    *,
    sentences: Sequence[str] = (),
) -> pa.Schema:
    """Arrow schema of a tidy table with these columns after the leading ones; some of them may hold sentences."""
    import pyarrow as pa

    kinds = {"frame": pa.int64(), "face": pa.int64(), "success": pa.bool_(), "reason": pa.string()}
    kinds |= dict.fromkeys(sentences, pa.string())
    fields = [pa.field(name, kinds.get(name, pa.float64())) for name in (*LEADING, *columns)]
    return pa.schema(fields, metadata=metadata)


def cells(
    row: Row, columns: Sequence[str], groups: Sequence[str] = (), sentences: Sequence[str] = ()
) -> dict[str, Any]:
    """Plain values of a row by column name, in the order of the table; None where a value is missing.

    Args:
        row: The row.
        columns: Names of the values.
        groups: Groups of measures after the values, see `affectkit.inference.measures`.
        sentences: Names of the columns of sentences, the last ones.

    Raises:
        ConfigError: The row lacks a value.
    """
    names = columns_of(groups)
    measures: Sequence[float | None] = [None] * len(names)
    if row.mesh is not None and groups:
        measures = measure(row.mesh, groups)
    try:
        values = [row.values[name] for name in columns]
        numbers = (row.score, *(row.box or [None] * 4), *values, *measures)
    except KeyError as error:
        raise ConfigError(
            f"The row has no value for the column {error}.",
            frame=row.frame,
            remedy="Open the writer with the columns of the predictor that makes the rows.",
        ) from error
    timestamp, *known = (
        float(value) if value is not None and isfinite(value) else None for value in (row.timestamp, *numbers)
    )
    leading = (row.frame, timestamp, row.face, row.success, one_line(row.reason or "") or None)
    said = {name: one_line(row.sentences.get(name, "")) or None for name in sentences}
    return dict(zip((*LEADING, *columns, *names), (*leading, *known), strict=True)) | said


def one_line(text: str) -> str:
    """Text without line breaks and repeated spaces, valid as UTF-8."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


def dump(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; arrays become lists, other objects text, and bytes of file names that are not text escapes."""
    text = json.dumps(
        value,
        indent=indent,
        ensure_ascii=False,
        default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x),
    )
    return text.encode("utf-8", "backslashreplace")


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON returns them: paths become text, tuples and arrays lists, NaN None."""
    result: dict[str, Any] = json.loads(dump(dict(metadata)), parse_constant=lambda _: None)
    return result


@dataclass
class Summary:
    """Counts of rows and frames.

    Attributes:
        frames: Number of frames with rows.
        rows: Number of rows.
        last: Number of the last frame; −1 if there is none.
        failed: Number of frames without a row that succeeded.
        failures: Number of failed rows by reason.
    """

    frames: int = 0
    rows: int = 0
    last: int = -1
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    _succeeded: bool = False

    def add(self, frame: int, success: bool, reason: str | None) -> None:
        """Count a row; rows of one frame are consecutive."""
        self.rows += 1
        if frame != self.last:
            self.last, self._succeeded = frame, False
            self.frames += 1
            self.failed += 1
        if success and not self._succeeded:
            self.failed, self._succeeded = self.failed - 1, True
        if not success:
            reason = reason or "not recorded"
            self.failures[reason] = self.failures.get(reason, 0) + 1

    def entries(self, *, complete: bool) -> dict[str, Any]:
        """Entries of the metadata, without baselines and hash."""
        return dict(zip(SUMMARY, (*astuple(self)[:5], complete), strict=False))

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Summary:
        """Summary from its entries."""
        return cls(*(metadata[name] for name in SUMMARY[:5]))


@dataclass(frozen=True)
class Progress:
    """State of a table on disk.

    Attributes:
        metadata: Metadata of the table.
        complete: Whether its writer reached the end.
        summary: Counts; for an interrupted table without its last frame, which may lack faces.
    """

    metadata: dict[str, Any]
    complete: bool
    summary: Summary

    @property
    def next_frame(self) -> int:
        """Number of the first missing frame."""
        return self.summary.last + 1


def foreign(path: Path, fault: str, line: int | None = None) -> AnnotationError:
    """Error for a file that is not a table of affectkit."""
    return AnnotationError(fault, path=path, line=line, remedy="Give a table written by affectkit predict.")


def edited(path: Path) -> AnnotationError:
    """Error for a table whose hash differs."""
    return AnnotationError(
        "The table was damaged or edited after it was written.",
        path=path,
        remedy="Restore it, or write it again with --overwrite.",
    )


def hash_of(file: File) -> str:
    """SHA-256 of an open file; the position moves to its end."""
    file.seek(0)
    digest = file_digest(file, "sha256").hexdigest()
    file.seek(0, SEEK_END)
    return digest


def partial_of(path: Path) -> Path:
    """File that holds the rows of an unfinished table: an Arrow stream, valid up to its last whole batch."""
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
        """Names of the values, without those of measures."""
        names = self.schema.names[len(LEADING) :]
        return list(names[: len(names) - len(columns_of(self.metadata.get("measured", ())))])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        scales = self._scales()
        if scales is None:
            yield from (batch for _, batch in self._placed())
            return
        found, running = self.metadata.get("baselines"), self._running()
        found = self.baselines() if found is None else found
        for _, batch in self._placed():
            faces, _, values = _units(batch, scales)
            amounts = scales.amounts(faces, found)
            if running is not None:
                for k, (face, one) in enumerate(zip(faces, values, strict=True)):
                    amounts[k] = 0.0 if np.isnan(one).all() else running.add(face, one)
            for name, column in zip(scales.names, scales.subtract(values, amounts).T, strict=True):
                numbers = pa.array(column, from_pandas=True)
                batch = batch.set_column(
                    batch.schema.get_field_index(name), batch.schema.field(name), numbers
                )
            yield batch

    def baselines(self) -> Amounts:
        """Amounts to subtract by person and column; for a causal baseline those after the last frame."""
        scales, running = self._scales(), self._running()
        if scales is None:
            return {}
        if running is not None:
            last: dict[Any, Any] = {}
            for _, batch in self._placed():
                faces, _, values = _units(batch, scales)
                for face, one in zip(faces, values, strict=True):
                    if not np.isnan(one).all():
                        last[face] = running.add(face, one)
            return {
                str(face): {n: round(float(b), 6) for n, b in zip(scales.names, one, strict=True) if b > 0}
                for face, one in last.items()
            }
        people = list[int | None]()
        all_times, all_values = [np.empty(0)], [np.empty((0, len(scales.names)))]
        for _, batch in self._placed():  # only these columns are in memory at once
            faces, times, values = _units(batch, scales)
            people += faces
            all_times.append(times)
            all_values.append(values)
        return scales.fit(people, np.concatenate(all_times), np.concatenate(all_values))

    def _scales(self) -> Scales | None:
        """Scales of the columns with baselines; None without a baseline."""
        entry = self.metadata.get("baseline")
        return None if not entry else Scales(unit_columns(self.metadata.get("heads", {})), entry)

    def _running(self) -> RunningBaseline | None:
        entry = self.metadata.get("baseline") or {}
        if not entry.get("is_causal"):
            return None
        return RunningBaseline(self.metadata["heads"], Baseline(**entry))

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


def _units(batch: pa.RecordBatch, scales: Scales) -> tuple[list[int | None], Floats, Floats]:
    """Faces, times [N] and values [N, C] of a batch; NaN in rows that failed."""
    values = np.stack(
        [batch.column(name).to_numpy(zero_copy_only=False) for name in scales.names], axis=1
    ).astype(float)
    failed = ~batch.column("success").to_numpy(zero_copy_only=False).astype(bool)
    values[failed] = np.nan
    times = batch.column("timestamp").to_numpy(zero_copy_only=False).astype(float)
    return batch.column("face").to_pylist(), times, values


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[int, bool, str | None]]:
    return zip(*(batch.column(name).to_pylist() for name in ("frame", "success", "reason")), strict=True)
