"""Files of prediction tables: written from the rows of a stream, checked and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.inference.formats import openface, sidecar, table, tidy
from affectkit.inference.formats.pandas import as_frame, flag_edits

if TYPE_CHECKING:
    import pandas as pd

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


def convert(rows: table.RowStream, file: table.File, *, complete: bool) -> dict[str, Any]:
    """Write the rows of a stream in their format, batch by batch.

    Args:
        rows: The stream.
        file: An empty file.
        complete: Whether these are all rows.

    Returns:
        The metadata with counts, and for CSV with the hash of the file.
    """
    metadata = {**rows.metadata, **rows.summary().entries(complete=complete), "baselines": rows.baselines()}
    suffix = SUFFIXES[metadata["format"]]
    write = openface.write if metadata["format"].startswith("openface") else _WRITE[suffix]
    write(file, replace(rows, metadata=metadata))
    return metadata | ({"sha256": table.hash_of(file)} if suffix == ".csv" else {})


def save(path: Path, *, complete: bool) -> None:
    """Write a table from the stream beside it; the file is replaced at once."""
    rows = table.RowStream.of(path)
    if rows is None:
        raise OSError("the partial file is missing")
    with sidecar.replacing(path) as file:
        metadata = convert(rows, file, complete=complete)
    if SUFFIXES[metadata["format"]] == ".csv":
        sidecar.write_sidecar(path, metadata)


def _load(path: Path) -> tuple[dict[str, Any], bytes, bool] | None:
    """Read and check a file by its row count and hash.

    Returns:
        Metadata, bytes, and whether a CSV file was edited; None if the file is missing or empty.

    Raises:
        AnnotationError: The file is not a table of affectkit, or it is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise table.foreign(path, f"The file cannot be read: {error.strerror}.") from error
    if not data:
        return None
    starts = {b"PAR1": ".parquet", b'{"metadata"': ".jsonl"}
    kind = next((kind for start, kind in starts.items() if data.startswith(start)), path.suffix.lower())
    if kind in (".parquet", ".jsonl"):
        return (tidy.check_parquet if kind == ".parquet" else tidy.check_jsonl)(path, data), data, False
    metadata = sidecar.read_sidecar(path)
    if metadata is None:
        raise table.foreign(
            path, f"There is no {sidecar.sidecar_of(path).name} of affectkit beside the file."
        )
    return metadata, data, sha256(data).hexdigest() != metadata["sha256"]


def read_table(path: str | Path) -> pd.DataFrame:
    """Read predictions in any format, also from an interrupted table.

    Args:
        path: The table. While it is written, or after the process was killed, the rows come from its partial file.

    Returns:
        One row per face and frame. Tidy tables have the columns of `to_frame`; OpenFace's tables keep their columns,
        see `read_openface`. `attrs["affectkit"]` holds the metadata: `complete` says whether the table is complete,
        `edited`, only present in this case, how a CSV table was changed.

    Warns:
        UserWarning: A CSV table was edited after it was written, so its values may not be those of the model.

    Raises:
        AnnotationError: The file is missing, not a table of affectkit, or damaged.
    """
    path = Path(path)
    rows, was_edited = table.RowStream.of(path), False
    if rows is not None:
        file = BytesIO()
        metadata, data = convert(rows, file, complete=False), file.getvalue()
    elif (found := _load(path)) is not None:
        metadata, data, was_edited = found
    else:
        raise table.foreign(path, "The file is missing or empty.")
    if metadata["format"].startswith("openface"):
        frame = openface.parse(path, data, metadata)
    else:
        names = [name for name in metadata["columns"][len(table.LEADING) :] if name != sidecar.WARNING]
        kinds = table.schema(names, sentences=metadata.get("sentences") or ())
        parse = _PARSE[SUFFIXES[metadata["format"]]]
        with tidy.csv_errors(path, kinds.names, table.foreign):
            content = parse(data, kinds) if metadata["rows"] else kinds.empty_table()
        if content["frame"].null_count or content["success"].null_count:
            raise table.foreign(path, "A row has no frame number, or does not say whether it succeeded.")
        frame = as_frame(metadata, content)
    return flag_edits(frame, path) if was_edited else frame


def table_progress(path: str | Path) -> table.Progress | None:
    """State of a table on disk; None if there is nothing yet.

    Raises:
        AnnotationError: The file is not a table of affectkit, or it was damaged or edited.
    """
    path = Path(path)
    rows = table.RowStream.of(path)
    if rows is not None:
        return table.Progress(rows.metadata, False, rows.kept()[0])
    if (found := _load(path)) is None:
        return None
    metadata, _, was_edited = found
    if was_edited:
        raise table.edited(path)
    return table.Progress(metadata, metadata["complete"], table.Summary.of(metadata))
