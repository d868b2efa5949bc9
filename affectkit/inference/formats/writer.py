"""Writer of prediction tables."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from affectkit.errors import ConfigError
from affectkit.inference import measures
from affectkit.inference.formats import openface, sidecar, table
from affectkit.inference.formats.files import SUFFIXES, save, table_progress
from affectkit.inference.predictor import Row

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 256  # of a batch, at most
_SECONDS = 0.25  # until the next batch


class TableWriter:
    """Write one table; a context manager.

    Rows go to `NAME.partial` beside the table, an Arrow stream, after 256 rows or a quarter of a second; a process that
    is killed loses only its last batch. On leaving the context, also by an error or Ctrl-C, the table
    is made from the stream. The stream is removed once the table is complete; until then `read_table` reads it, and a
    writer with `resume` continues it.

    Rows come in the order of their frames, rows of one frame together.

    Args:
        path: The file; its folder is created if missing. An older file is replaced.
        columns: Names of the values, in order.
        metadata: Plain values stored with the table. `heads` describes the values for the formats of OpenFace;
            `measured` names groups of columns that come from the meshes of the rows (`affectkit.inference.measures`):
            gaze, pose and blinks, and with the formats of OpenFace also landmarks;
            `baseline` subtracts baselines (see `affectkit.inference.Baseline.metadata`);
            `sentences` names columns of sentences, after all others.
        format: The format; by default from the suffix of `path`: .csv, .parquet or .jsonl.
        resume: Continue an interrupted table. The last frame is written again, since it may lack faces. A complete
            table is left unchanged.
        fill_missing: For OpenFace's formats: number to write for units that the model does not predict. Of a unit of
            which it predicts only the presence or only the intensity, the other is `nan`: 0 would deny it.

    Attributes:
        summary: Counts of the rows, earlier ones included.
        complete: Whether the table is complete: on entering, because it was before; on leaving, because nothing
            interrupted the work.

    Raises:
        ConfigError: The suffix belongs to no format or to another one, a column name is invalid, or the format cannot
            hold the values. On entering: the file cannot be written, or, with `resume`, it has another format,
            columns or metadata, or its partial file is missing.
        AnnotationError: On entering with `resume`: the file is not a table of affectkit.

    Example:
        >>> from affectkit.inference import Row, read_table
        >>> table = getfixture("tmp_path") / "out.parquet"
        >>> with TableWriter(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0))
        >>> read_table(table)[["frame", "face", "AU12"]].values.tolist()
        [[0, 0, 0.25]]
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        metadata: Mapping[str, Any],
        *,
        format: str | None = None,
        resume: bool = False,
        fill_missing: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.columns, self.metadata = tuple(columns), table.plain(metadata)
        self.format, self.resume = _format(self.path, format), resume
        self.summary, self.complete = table.Summary(), False
        self._first = 0  # frame that may be written
        self._faces: set[int | None] = set()  # of the last frame
        self._rows: list[dict[str, Any]] = []  # not in the stream yet
        self._end = 0  # of the last whole batch
        for name in self.columns:
            is_plain = name and name == table.one_line(name)
            if not is_plain or name in (*table.LEADING, sidecar.WARNING) or self.columns.count(name) > 1:
                fault = f"The column name {name!r} is reserved, repeated or not a plain line."
                raise ConfigError(fault, remedy="Rename the class.")
        groups = list(self.metadata.get("measured") or ())
        if groups and self.format.startswith("openface"):
            groups = [*measures.OPENFACE]
        self._groups, names = groups, measures.columns_of(groups)
        if groups:
            self.metadata["measured"] = groups
        if twice := sorted({*names} & {*self.columns}):
            raise ConfigError(f"The column name {twice[0]!r} is reserved.", remedy="Rename the class.")
        self._sentences = list(self.metadata.get("sentences") or ())
        if self._sentences and self.format.startswith("openface"):
            raise ConfigError(
                "The formats of OpenFace have no sentences.", remedy="Choose csv, parquet or jsonl."
            )
        if twice := sorted({*self._sentences} & {*self.columns, *names}):
            raise ConfigError(f"The column name {twice[0]!r} is reserved.", remedy="Rename the class.")
        self._header = [*table.LEADING, *self.columns, *names, *self._sentences]
        if self.format.startswith("openface"):
            if fill_missing is not None:
                self.metadata["units_not_predicted"] = f"{fill_missing:z.2f}"
            self._header = openface.header(self.columns, self.metadata)
        elif SUFFIXES[self.format] == ".csv" and sidecar.warning_of(self.metadata):
            self._header.append(sidecar.WARNING)
        if fill_missing is not None and not self.format.startswith("openface"):
            raise ConfigError("fill_missing is for OpenFace's formats only.")

    @property
    def frames(self) -> int:
        """Number of frames with rows."""
        return self.summary.frames

    @property
    def failed(self) -> int:
        """Number of frames without a row that succeeded."""
        return self.summary.failed

    @property
    def next_frame(self) -> int:
        """Number of the first frame after those with rows."""
        return self.summary.last + 1

    @property
    def metadata_file(self) -> Path:
        """File that holds the metadata: the table, or the JSON file beside it."""
        return sidecar.sidecar_of(self.path) if SUFFIXES[self.format] == ".csv" else self.path

    def header(self) -> list[str]:
        """Names of all columns, in order."""
        return list(self._header)

    @property
    def described(self) -> dict[str, Any]:
        """Metadata with format and columns."""
        return {**self.metadata, "format": self.format, "columns": self.header()}

    def __enter__(self) -> Self:
        with self._system():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        progress = table_progress(self.path) if self.resume else None
        if progress is not None:
            self._check_same(progress.metadata)
            self.summary, self.complete = progress.summary, progress.complete
            self._first = progress.next_frame
        if not self.complete:
            with self._system():
                self._open()
        return self

    def _open(self) -> None:
        """Open the stream after the rows that are kept, or start a new one and remove the old table."""
        stream = table.RowStream.of(self.path)  # an error if another file has its name
        if not self.resume:
            stream = None
        elif stream is None and self.summary.rows:
            raise ConfigError(
                f"The table is not complete, and its partial file {table.partial_of(self.path).name} is missing.",
                path=self.path,
                remedy="Put both into one folder, or write the table again with --overwrite.",
            )
        beside = self.metadata_file
        if beside != self.path and beside.exists() and not sidecar.is_ours(self.path):
            raise ConfigError(
                "The metadata of the table would replace this file, which holds something else.",
                path=beside,
                remedy="Move the file, or rename the table.",
            )
        names = (*self.columns, *measures.columns_of(self._groups), *self._sentences)
        described = {table.KEY: table.dump(self.described)}
        self._schema = table.schema(names, described, sentences=self._sentences)
        self._file = table.partial_of(self.path).open("wb" if stream is None else "r+b", buffering=0)
        try:
            if stream is None:
                self._append(self._schema.serialize())
                for old in {self.path, beside}:  # not to be taken for the new table
                    old.unlink(missing_ok=True)
            else:
                _, self._end, head = stream.kept()
                self._append(b"" if head is None else head.serialize())
        except BaseException:
            self._file.close()
            if stream is None:
                table.partial_of(self.path).unlink()
            raise
        self._flushed = time.monotonic()

    def write(self, row: Row) -> None:
        """Append a row: another face of the last frame, or the first row of a later frame.

        Raises:
            ConfigError: The row repeats or precedes others, lacks a value, the table is complete, or the disk is full.
        """
        last = self.summary.last
        again = row.frame == last and row.face in self._faces
        if self.complete or again or row.frame < max(last, self._first):
            raise ConfigError("The table already has this or a later row.", path=self.path, frame=row.frame)
        values = table.cells(row, self.columns, self._groups, self._sentences)
        self._rows.append(values)
        self.summary.add(row.frame, row.success, values["reason"])
        self._faces = {row.face} if row.frame != last else self._faces | {row.face}
        if len(self._rows) >= _ROWS or time.monotonic() - self._flushed >= _SECONDS:
            with self._system():
                self._flush()

    def _flush(self) -> None:
        """Write the waiting rows as one batch."""
        import pyarrow as pa

        if self._rows:
            self._append(pa.RecordBatch.from_pylist(self._rows, self._schema).serialize())
        self._flushed = time.monotonic()

    def _append(self, message: pa.Buffer | bytes) -> None:
        """Append a message to the stream, over one that was cut off."""
        if self._file.seek(0, os.SEEK_END) != self._end:
            self._file.truncate(self._end)
            self._file.seek(self._end)
        left = memoryview(message)
        while left:
            left = left[self._file.write(left) :]
        self._end, self._rows = self._end + len(memoryview(message)), []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.complete:  # before this run
            return
        with self._system():
            with self._file:
                self._flush()
                os.fsync(self._file.fileno())
            save(self.path, complete=kind is None)
            if kind is None:
                table.partial_of(self.path).unlink()
        self.complete = kind is None

    def _check_same(self, found: Mapping[str, Any]) -> None:
        """Check that the table was started with the same format, columns and metadata."""
        given = self.described
        for name in ["format", "columns", *sorted((given.keys() | found.keys()) - set(table.SUMMARY))]:
            if given.get(name) != found.get(name):
                was, now = (_shorten(one.get(name)) for one in (found, given))
                raise ConfigError(
                    f"The table cannot be continued: its {name!r} is {was}, not {now}.",
                    path=self.path,
                    remedy="Write to another file, or do not resume.",
                )

    @contextmanager
    def _system(self) -> Iterator[None]:
        """Convert system errors to errors that name the file."""
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"The table cannot be written: {error.strerror or error}.",
                path=self.path,
                remedy="Choose a writable path with enough free space.",
            ) from error


def _format(path: Path, format: str | None) -> str:
    """Check the given format, or choose it by the suffix."""
    suffix = path.suffix.lower()
    if format is None:
        format = next((name for name, end in SUFFIXES.items() if end == suffix), None)
        if format is None:
            fault = f"The name {path.name!r} does not tell the format."
            raise ConfigError(fault, remedy="Use a suffix .csv, .parquet or .jsonl, or choose a format.")
    elif format not in SUFFIXES:
        raise ConfigError(f"Unknown format {format!r}.", remedy=f"Choose one of {', '.join(SUFFIXES)}.")
    elif suffix in SUFFIXES.values() and suffix != SUFFIXES[format]:
        fault = f"The name {path.name!r} does not fit the format {format}."
        raise ConfigError(fault, remedy=f"Use a name that ends in {SUFFIXES[format]}.")
    return format


def _shorten(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"
