"""Files of prediction tables: made from the rows of a stream, checked, and read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.inference.formats import openface, tidy
from affectkit.inference.formats.pandas import as_frame
from affectkit.inference.formats.stream import RowStream
from affectkit.inference.formats.table import (
    LEADING,
    File,
    Progress,
    Summary,
    check_hash,
    dump,
    foreign,
    hash_of,
    read_sidecar,
    schema,
    sidecar_of,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "convert", "load", "read_table", "save", "table_progress"]


SUFFIXES: Mapping[str, str] = {
    "csv": ".csv",
    "parquet": ".parquet",
    "jsonl": ".jsonl",
    "openface": ".csv",
    "openface-release": ".csv",
}
"""Suffixes of the formats. CSV files have a JSON file beside them for the metadata."""

_WRITE = {".csv": tidy.write_csv, ".parquet": tidy.write_parquet, ".jsonl": tidy.write_jsonl}
_PARSE = {".csv": tidy.parse_csv, ".parquet": tidy.parse_parquet, ".jsonl": tidy.parse_jsonl}


def convert(rows: RowStream, file: File, *, complete: bool) -> dict[str, Any]:
    """Write the rows of a stream in the format that its metadata name, batch by batch.

    Args:
        rows: The stream.
        file: An empty binary file that can also be read.
        complete: Whether these are all rows.

    Returns:
        The metadata with counts, and for CSV with the hash of the file.
    """
    metadata = {**rows.metadata, **rows.summary().entries(complete=complete)}
    suffix = SUFFIXES[metadata["format"]]
    write = openface.write if metadata["format"].startswith("openface") else _WRITE[suffix]
    write(file, replace(rows, metadata=metadata))
    return metadata | ({"sha256": hash_of(file)} if suffix == ".csv" else {})


def save(path: Path, *, complete: bool) -> None:
    """Make a table from the stream beside it. The file takes its place only when it is whole.

    Args:
        path: The table.
        complete: Whether the stream has all rows.
    """
    rows = RowStream.of(path)
    if rows is None:
        raise OSError("the partial file is gone")
    with _replacing(path) as file:
        metadata = convert(rows, file, complete=complete)
    if SUFFIXES[metadata["format"]] == ".csv":
        with _replacing(sidecar_of(path)) as file:
            file.write(dump(metadata, indent=2) + b"\n")


@contextmanager
def _replacing(path: Path) -> Iterator[File]:
    """A file that takes the place of another one when all of it is on the disk."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def load(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """Read and check a file: the row count and the hash, for Parquet the checksums of its pages.

    Args:
        path: The table.

    Returns:
        Metadata and bytes; None if there is no such file, or nothing in it.

    Raises:
        AnnotationError: The file is not ours, damaged, or edited.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise foreign(path, f"The file cannot be read: {error.strerror}.") from error
    if not data:
        return None
    starts = {b"PAR1": ".parquet", b'{"metadata"': ".jsonl"}
    kind = next((kind for start, kind in starts.items() if data.startswith(start)), path.suffix.lower())
    if kind == ".parquet":
        return tidy.check_parquet(path, data), data
    if kind == ".jsonl":
        return tidy.check_jsonl(path, data), data
    metadata = read_sidecar(path)
    if metadata is None:
        raise foreign(path, f"No {sidecar_of(path).name} of ours is beside the file.")
    check_hash(path, data, metadata)
    return metadata, data


def read_table(path: str | Path) -> pd.DataFrame:
    """Read predictions in any of our formats, also of an interrupted table.

    Args:
        path: The table. While it is written, or after the process was killed, the rows come from its partial file.

    Returns:
        A row for every face in every frame. Tidy tables have the columns `frame` int64, `timestamp` in seconds, `face`
        Int64, `success` bool, `reason`, `score`, the box `x y w h` in pixels, and the values float64; missing values
        are NaN or NA. OpenFace's tables keep their columns; see `read_openface`. `attrs["affectkit"]` holds the
        metadata, whose `complete` says whether the table is complete.

    Raises:
        AnnotationError: The file is missing, not ours, damaged, or edited.
    """
    path = Path(path)
    rows = RowStream.of(path)
    if rows is not None:
        file = BytesIO()
        metadata, data = convert(rows, file, complete=False), file.getvalue()
    elif (found := load(path)) is not None:
        metadata, data = found
    else:
        raise foreign(path, "The file is missing or empty.")
    if metadata["format"].startswith("openface"):
        return openface.parse(data, metadata)
    kinds = schema(metadata["columns"][len(LEADING) :])
    parse = _PARSE[SUFFIXES[metadata["format"]]]
    return as_frame(metadata, parse(data, kinds) if metadata["rows"] else kinds.empty_table())


def table_progress(path: str | Path) -> Progress | None:
    """State of a table on disk.

    Args:
        path: The table.

    Returns:
        Metadata, whether it is complete, and `next_frame`; None if there is nothing yet.

    Raises:
        AnnotationError: The file is not ours, damaged, or edited.
    """
    path = Path(path)
    rows = RowStream.of(path)
    if rows is not None:
        return Progress(rows.metadata, False, rows.kept()[0])
    found = load(path)
    return None if found is None else Progress(found[0], found[0]["complete"], Summary.of(found[0]))
