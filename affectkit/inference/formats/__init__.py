"""Tables of predictions: tidy (CSV, Parquet, JSON Lines) and in OpenFace's columns, with what the numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError
from affectkit.inference.formats.csv import CsvWriter, read_csv
from affectkit.inference.formats.jsonl import JsonlWriter, jsonl_progress, read_jsonl
from affectkit.inference.formats.openface import OpenFaceWriter, read_openface
from affectkit.inference.formats.pandas import as_frame, to_frame, to_pyfeat
from affectkit.inference.formats.parquet import ParquetWriter, parquet_progress, partial_of, read_parquet
from affectkit.inference.formats.table import LEADING, Progress, TableWriter, foreign
from affectkit.inference.formats.text import csv_progress, read_sidecar

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LEADING",
    "SUFFIXES",
    "CsvWriter",
    "JsonlWriter",
    "OpenFaceWriter",
    "ParquetWriter",
    "Progress",
    "TableWriter",
    "open_writer",
    "read_openface",
    "read_table",
    "table_progress",
    "to_frame",
    "to_pyfeat",
]

SUFFIXES: Mapping[str, str] = {
    "csv": ".csv",
    "parquet": ".parquet",
    "jsonl": ".jsonl",
    "openface": ".csv",
    "openface-release": ".csv",
}
"""The formats, and what their files end in."""


def open_writer(
    path: str | Path,
    columns: Sequence[str],
    metadata: Mapping[str, Any],
    *,
    format: str | None = None,
    resume: bool = False,
    fill_missing: float | None = None,
) -> TableWriter:
    """A writer of predictions, to be used as a context manager.

    Args:
        path: The file.
        columns: Names of the values, in order.
        metadata: Plain values that travel with the file; see `Predictor.metadata`.
        format: What to write; by default what the name ends in: .csv, .parquet or .jsonl.
        resume: Go on after the frames that the file holds already, from the writer's `next_frame`.
        fill_missing: For OpenFace's formats: what to write for units that the model does not predict.

    Raises:
        ConfigError: The name ends in no format's suffix, or in that of another format; see `TableWriter`.

    Example:
        >>> from affectkit.inference import Row
        >>> table = getfixture("tmp_path") / "out.parquet"
        >>> with open_writer(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0))
        >>> read_table(table)[["frame", "face", "AU12"]].values.tolist()
        [[0, 0, 0.25]]
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if format is None:
        found = [name for name, end in SUFFIXES.items() if end == suffix]
        if not found:
            raise ConfigError(
                f"{path.name!r} does not say which format to write.",
                remedy="Use a name that ends in .csv, .parquet or .jsonl, or choose a format.",
            )
        format = found[0]
    if format not in SUFFIXES:
        raise ConfigError(f"There is no format {format!r}.", remedy=f"Choose one of {', '.join(SUFFIXES)}.")
    if suffix in SUFFIXES.values() and suffix != SUFFIXES[format]:
        raise ConfigError(
            f"{path.name!r} cannot name a file of the format {format}.",
            remedy=f"Use a name that ends in {SUFFIXES[format]}.",
        )
    if format in ("openface", "openface-release"):
        release = format == "openface-release"
        return OpenFaceWriter(
            path, columns, metadata, resume=resume, release=release, fill_missing=fill_missing
        )
    if fill_missing is not None:
        raise ConfigError("Only OpenFace's tables have units that a model does not predict.")
    kinds: dict[str, type[TableWriter]] = {"csv": CsvWriter, "parquet": ParquetWriter, "jsonl": JsonlWriter}
    return kinds[format](path, columns, metadata, resume=resume)


def read_table(path: str | Path) -> pd.DataFrame:
    """Predictions of any of our formats, also of a file that was interrupted.

    Args:
        path: The file.

    Returns:
        A row for every face in every frame. Tidy tables have the columns `frame` int64, `timestamp` in seconds, `face`
        Int64, `success` bool, `reason`, `score`, the box `x y w h` in pixels, and the values float64; what is missing
        is NaN, or NA. OpenFace's tables keep their columns; see `read_openface`. `attrs["affectkit"]` holds the
        metadata, where `complete` says whether the file was finished.

    Raises:
        AnnotationError: The file is not there, not ours, or damaged.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "parquet":
        return as_frame(*read_parquet(path))
    if kind == "jsonl":
        return as_frame(*read_jsonl(path))
    if (read_sidecar(path) or {}).get("format") in ("openface", "openface-release"):
        return read_openface(path)
    return as_frame(*read_csv(path))


def table_progress(path: str | Path) -> Progress | None:
    """What of a table is there already: its metadata, whether it is complete, the `next_frame` to do.

    Args:
        path: The file.

    Returns:
        None where there is nothing yet.

    Raises:
        AnnotationError: The file is not ours, or damaged.
    """
    path = Path(path)
    kind = _kind(path)
    progress = {"parquet": parquet_progress, "jsonl": jsonl_progress, "csv": csv_progress}[kind]
    return progress(path)


def _kind(path: Path) -> str:
    """What a file is, by how it begins; a Parquet file that was killed has its partial file only."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except FileNotFoundError:
        return "parquet" if partial_of(path).exists() else "csv"
    except OSError as error:
        raise foreign(path, f"The file cannot be read: {error.strerror}.") from error
    starts = {b"PAR1": "parquet", b'{"metadata"': "jsonl"}
    suffixes = {".parquet": "parquet", ".jsonl": "jsonl"}
    found = (kind for text, kind in starts.items() if start.startswith(text))
    return next(found, suffixes.get(path.suffix.lower(), "csv"))
