"""The tidy table as Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from affectkit.inference.formats.table import Progress, TableWriter, cells, dump, foreign
from affectkit.inference.predictor import Row

__all__ = ["ParquetWriter", "parquet_progress", "partial_of", "read_parquet"]

_KEY = b"affectkit"
_PANDAS_KEY = b"PANDAS_ATTRS"  # what pandas restores `DataFrame.attrs` from
_GROUP = 65_536  # rows of a row group


class ParquetWriter(TableWriter):
    """Writes a Parquet file with the metadata in its schema.

    A Parquet file cannot be read before its end is written. So rows go to `<name>.partial` first (an Arrow stream:
    every batch that was written can be read, whatever happens), and on leaving from there to the Parquet file, a row
    group at a time. So memory is constant and the Parquet file is always whole. Should the process be killed,
    `read_table` and a further run with `resume` find in the partial file all rows but the last `batch`. What is missing
    is null. The metadata are JSON under the key `affectkit` of the schema; `pandas.read_parquet` has them in `.attrs`.

    Args:
        path: The file; its folder is made if absent.
        columns: Names of the values, in order.
        metadata: Plain values for the schema.
        resume: Go on after the frames that are there; see `TableWriter`.
        batch: Rows that are written at once.

    Raises:
        ConfigError: See `TableWriter`.

    Example:
        >>> table = getfixture("tmp_path") / "out.parquet"
        >>> with ParquetWriter(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}))
        >>> import pandas as pd
        >>> frame = pd.read_parquet(table)
        >>> frame.AU12.tolist(), frame.attrs["affectkit"]["model"]
        ([0.25], 'demo')
    """

    format = "parquet"

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        metadata: Mapping[str, Any],
        *,
        resume: bool = False,
        batch: int = 256,
    ) -> None:
        super().__init__(path, columns, metadata, resume=resume)
        self.batch = batch
        self._rows: list[dict[str, Any]] = []

    def _open(self, progress: Progress | None) -> None:
        import pyarrow as pa

        partial, self._schema = partial_of(self.path), _schema(self.header(), self.described)
        if progress is None:  # nothing old may be taken for what is written now
            self.path.unlink(missing_ok=True)
        elif _source(self.path) == partial:  # what is kept must not be in the file that is written anew
            _finish(partial, self.path, {**self.described, "complete": False})
        self._file = partial.open("wb")
        self._stream = pa.ipc.new_stream(self._file, self._schema)
        missing = 0 if progress is None else progress.keep
        for found in _batches(self.path) if missing else ():
            self._stream.write_batch(found.slice(0, missing).cast(self._schema))
            missing -= min(missing, found.num_rows)
            if not missing:
                break

    def _append(self, row: Row) -> None:
        self._rows.append(cells(row, self.columns))
        if len(self._rows) >= self.batch:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        rows, self._rows = self._rows, []  # first: whatever stops us now, no row is written twice
        arrays = [
            pa.array([row[item.name] for row in rows], item.type, from_pandas=True) for item in self._schema
        ]
        self._stream.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._file.flush()

    def _close(self, metadata: Mapping[str, Any]) -> None:
        try:
            if self._rows:
                self._flush()
            self._stream.close()
        finally:
            self._file.close()
        _finish(partial_of(self.path), self.path, metadata)

    def _progress(self) -> Progress | None:
        return parquet_progress(self.path)


def partial_of(path: Path) -> Path:
    """Where the rows of a Parquet file are while it is being written."""
    return path.with_name(path.name + ".partial")


def parquet_progress(path: Path) -> Progress | None:
    """What of a file, or of its partial file, is there already; None where there is nothing.

    Args:
        path: The Parquet file.

    Raises:
        AnnotationError: The file is not ours.
    """
    source = _source(path)
    if source is None:
        return None
    metadata = _metadata(source)
    progress = Progress(metadata, metadata["complete"] is True)
    place = 0
    for batch in _batches(source, ["frame", "success", "reason"]):
        for row in batch.to_pylist():
            progress.add(place, row["frame"], row["success"], row["reason"])
            place += 1
    return progress.finish(place)


def read_parquet(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata and the columns of a file that `ParquetWriter` wrote, as pandas series.

    Args:
        path: The Parquet file; where it was killed before there was any, its partial file is read.

    Raises:
        AnnotationError: The file is not there or not ours.
    """
    import pyarrow as pa

    source = _source(path)
    if source is None:
        raise foreign(path, "The file is not there, or holds no rows yet.")
    metadata = _metadata(source)
    schema = _schema(metadata["columns"], {})
    table = pa.Table.from_batches([batch.cast(schema) for batch in _batches(source)], schema)
    return metadata, {name: table.column(name).to_pandas() for name in metadata["columns"]}


def _schema(header: Sequence[str], metadata: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    kinds = {"frame": pa.int64(), "face": pa.int64(), "success": pa.bool_(), "reason": pa.string()}
    fields = [pa.field(name, kinds.get(name, pa.float64())) for name in header]
    return pa.schema(fields, metadata={_KEY: dump(metadata), _PANDAS_KEY: dump({"affectkit": metadata})})


def _is_parquet(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(4) == b"PAR1"


def _source(path: Path) -> Path | None:
    """The one of the two files that holds more rows; None where there is none, or nothing in it yet."""
    found = []
    if path.exists():
        found.append((sum(batch.num_rows for batch in _batches(path, ["frame"])), path))
    partial = partial_of(path)
    if partial.exists() and _stream_schema(partial) is not None:
        found.append((sum(batch.num_rows for batch in _batches(partial, ["frame"])), partial))
    return max(found, key=lambda item: item[0])[1] if found else None


def _stream_schema(partial: Path) -> Any:
    """The schema of a partial file; None where it was killed before it had any."""
    import pyarrow as pa

    try:
        with partial.open("rb") as raw, pa.ipc.open_stream(raw) as stream:
            return stream.schema
    except (pa.ArrowException, OSError):
        return None


def _metadata(source: Path) -> dict[str, Any]:
    """The metadata of either file."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(source) if _is_parquet(source) else _stream_schema(source)
    try:
        found = json.loads((schema.metadata or {})[_KEY])
        metadata = {"complete": False, **found}
        ours = metadata["format"] == "parquet" and metadata["columns"] == schema.names
    except (KeyError, TypeError, ValueError):
        ours = False
    if not ours:
        raise foreign(source, "The schema does not hold the metadata of a table of ours.")
    return metadata


def _batches(source: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The record batches of either file; of a partial one all that are whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.name.endswith(".partial") and not _is_parquet(source):
        try:
            with source.open("rb") as raw, pa.ipc.open_stream(raw) as stream:
                for batch in stream:
                    yield batch if columns is None else batch.select(columns)
        except (pa.ArrowException, OSError):
            return  # the end was cut off
        return
    try:
        with pq.ParquetFile(source) as file:
            yield from file.iter_batches(_GROUP, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise foreign(source, f"The file cannot be read as Parquet: {error}.") from error


def _finish(partial: Path, path: Path, metadata: Mapping[str, Any]) -> None:
    """Turn the partial file into the Parquet file, which takes its place only when it is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(metadata["columns"], metadata)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            group: list[Any] = []
            for batch in _batches(partial):
                group.append(batch.cast(schema))
                if sum(part.num_rows for part in group) >= _GROUP:
                    writer.write_table(pa.Table.from_batches(group))
                    group = []
            if group:
                writer.write_table(pa.Table.from_batches(group))
        file.flush()
        os.fsync(file.fileno())  # a power cut must not lose the rows after the partial file is gone
    unfinished.replace(path)
    partial.unlink()
