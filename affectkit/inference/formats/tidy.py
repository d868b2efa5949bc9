"""Tidy tables as CSV, JSON Lines and Parquet: written from Arrow batches, and read into an Arrow table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import AnnotationError
from affectkit.inference.formats.sidecar import warning_of
from affectkit.inference.formats.table import (
    KEY,
    SUMMARY,
    File,
    RowStream,
    dump,
    edited,
    foreign,
    hash_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

_PLACE = re.compile(r"(?:In CSV column #(\d+): )?.*Row #(\d+): (.*)", re.DOTALL)  # in Arrow's messages
_GROUP = 65_536  # rows of a row group
_HASH_KEY = b"affectkit.sha256"
_PANDAS_KEY = b"PANDAS_ATTRS"  # pandas restores `DataFrame.attrs` from it


def number(value: float | None, decimals: int) -> str:
    """Text of a number; `nan` if it is missing."""
    return "nan" if value is None else f"{value:z.{decimals}f}"


def join_csv(cells: Iterable[str], separator: str = ",") -> bytes:
    """Line of CSV; cells with a comma or quotes are quoted."""
    quoted = ('"{}"'.format(cell.replace('"', '""')) if {",", '"'} & {*cell} else cell for cell in cells)
    return separator.join(quoted).encode() + b"\n"


def write_csv(file: File, rows: RowStream) -> None:
    """Write CSV: six decimals, `nan` for missing numbers, nothing for a missing face or reason, the warning at last."""
    warning = warning_of(rows.metadata)
    file.write(join_csv(rows.metadata["columns"]))
    for batch in rows:
        texts = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            values = column.to_pylist()
            if name in ("frame", "face", "success"):
                texts.append(["" if value is None else str(int(value)) for value in values])
            elif column.type == "string":
                texts.append([value or "" for value in values])
            else:
                texts.append([number(value, 6) for value in values])
        texts += [[warning] * batch.num_rows] if warning else []
        file.writelines(map(join_csv, zip(*texts, strict=True)))


def parse_csv(data: bytes, kinds: pa.Schema) -> pa.Table:
    """Parse the columns of a schema."""
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(column_types=kinds, null_values=["nan", ""], include_columns=kinds.names)
    with suppress(pa.ArrowInvalid):
        return csv.read_csv(pa.BufferReader(data), convert_options=options)
    # Without threads, errors name the row.
    return csv.read_csv(pa.BufferReader(data), csv.ReadOptions(use_threads=False), convert_options=options)


@contextmanager
def csv_errors(
    path: Path, names: Sequence[str], error_of: Callable[[Path, str, int | None], AnnotationError]
) -> Iterator[None]:
    """Convert Arrow's errors to those of `error_of`, with line and column."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        found = _PLACE.match(str(error))
        if found is None:
            raise error_of(path, f"{str(error).rstrip('.')}.", None) from error
        column = "" if found[1] is None else f" in the column {names[int(found[1])]!r}"
        raise error_of(path, f"{found[3]}{column}.", int(found[2])) from error


def write_jsonl(file: File, rows: RowStream) -> None:
    """Write JSON Lines: the metadata, an object per row, the counts with the hash of everything before."""
    summary = {name: rows.metadata[name] for name in SUMMARY if name in rows.metadata}
    described = {name: value for name, value in rows.metadata.items() if name not in summary}
    file.write(dump({"metadata": described}) + b"\n")
    for batch in rows:
        file.writelines(dump(row) + b"\n" for row in batch.to_pylist())
    file.write(dump({"summary": summary}).removesuffix(b"}}"))
    file.write(_jsonl_end(hash_of(file)))


def _jsonl_end(before: str) -> bytes:
    """End of the last line, with the hash of everything before."""
    return f', "sha256": "{before}"}}}}\n'.encode()


def check_jsonl(path: Path, data: bytes) -> dict[str, Any]:
    """Metadata of a JSON Lines table; raises AnnotationError if it is damaged."""
    first, last = data.partition(b"\n")[0], data[data.rfind(b"\n", 0, -1) + 1 :]
    end = max(0, data.rfind(b', "sha256"'))
    try:
        metadata: dict[str, Any] = json.loads(first)["metadata"] | json.loads(last)["summary"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise foreign(path, "The first and last lines do not hold metadata and summary.") from error
    if data[end:] != _jsonl_end(sha256(memoryview(data)[:end]).hexdigest()):
        raise edited(path)
    return metadata


def parse_jsonl(data: bytes, kinds: pa.Schema) -> pa.Table:
    """Parse a JSON Lines table."""
    import pyarrow as pa
    from pyarrow import json as arrow

    rows = data[data.find(b"\n") + 1 : data.rfind(b"\n", 0, -1) + 1]
    return arrow.read_json(pa.BufferReader(rows), parse_options=arrow.ParseOptions(explicit_schema=kinds))


def write_parquet(file: File, rows: RowStream) -> None:
    """Write Parquet: exact, null for missing values, the metadata in the schema, the hash of all at the end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {KEY: dump(rows.metadata), _PANDAS_KEY: dump({"affectkit": rows.metadata})}
    kinds = rows.schema.with_metadata(metadata)
    hashes = _Hashes(kinds, metadata[KEY])
    with pq.ParquetWriter(file, kinds, compression="zstd") as writer:
        group, size = list[pa.RecordBatch](), 0
        for batch in chain(rows, [None]):
            if batch is not None:
                group.append(batch)
                hashes.add(batch)
                size += batch.num_rows
            if group and (batch is None or size >= _GROUP):
                writer.write_table(pa.Table.from_batches(group).cast(kinds))
                group, size = [], 0
        writer.add_key_value_metadata({_HASH_KEY: hashes.digest()})


class _Hashes:
    """Hash of metadata and columns, independent of batches and encoding."""

    def __init__(self, kinds: pa.Schema, metadata: bytes) -> None:
        self._metadata = metadata
        self._columns = {name: sha256(name.encode()) for name in kinds.names}

    def add(self, batch: pa.RecordBatch) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.type == "string":
                self._columns[name].update("".join(f"{text!r}\n" for text in column.to_pylist()).encode())
            else:
                values = column.cast("float64").to_numpy(zero_copy_only=False)
                self._columns[name].update(values.tobytes())

    def digest(self) -> bytes:
        every = [one.hexdigest() for one in self._columns.values()]
        return sha256(self._metadata + "".join(every).encode()).hexdigest().encode()


def check_parquet(path: Path, data: bytes) -> dict[str, Any]:
    """Metadata of a Parquet table; raises AnnotationError if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            found = file.metadata.metadata or {}
            hashes = _Hashes(file.schema_arrow, found.get(KEY, b""))
            for batch in file.iter_batches():
                hashes.add(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise foreign(path, f"The file cannot be read as Parquet: {error}") from error
    if KEY not in found:
        raise foreign(path, "The schema does not hold the metadata of a table of affectkit.")
    if found.get(_HASH_KEY) != hashes.digest():
        raise edited(path)
    metadata: dict[str, Any] = json.loads(found[KEY])
    return metadata


def parse_parquet(data: bytes, kinds: pa.Schema) -> pa.Table:
    """Parse a Parquet table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(data))
