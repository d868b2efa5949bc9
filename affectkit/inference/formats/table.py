"""Columns, counts and metadata of prediction tables, whatever their format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from io import BufferedRandom, BytesIO
from math import isfinite
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.predictor import Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "LEADING",
    "SUMMARY",
    "File",
    "Progress",
    "Summary",
    "cells",
    "check_hash",
    "dump",
    "edited",
    "foreign",
    "hash_of",
    "one_line",
    "plain",
    "read_sidecar",
    "schema",
    "sidecar_of",
]

LEADING = ("frame", "timestamp", "face", "success", "reason", "score", "x", "y", "w", "h")
"""The columns before the values, in every tidy table."""

File = BufferedRandom | BytesIO
"""An open binary file that can be written and read."""

SUMMARY = ("frames", "rows", "last_frame", "failed_frames", "failures", "complete", "sha256")
"""The metadata that are known at the end: counts, and the hash of a text file."""


def schema(columns: Sequence[str], metadata: Mapping[bytes, bytes] | None = None) -> pa.Schema:
    """Arrow schema of a tidy table.

    Args:
        columns: Names of the values, in order.
        metadata: Metadata of the schema.
    """
    import pyarrow as pa

    kinds = {"frame": pa.int64(), "face": pa.int64(), "success": pa.bool_(), "reason": pa.string()}
    fields = [pa.field(name, kinds.get(name, pa.float64())) for name in (*LEADING, *columns)]
    return pa.schema(fields, metadata=metadata)


def cells(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """Plain values of a row by column name, in the order of the table; None where a value is missing.

    Args:
        row: The row.
        columns: Names of the values.

    Raises:
        ConfigError: The row lacks a value.
    """
    leading = (row.frame, row.timestamp, row.face, row.success, one_line(row.reason or "") or None, row.score)
    try:
        numbers = (*leading, *(row.box or [None] * 4), *(row.values[name] for name in columns))
    except KeyError as error:
        raise ConfigError(
            f"The row has no value for the column {error}.",
            frame=row.frame,
            remedy="Open the writer with the columns of the predictor that makes the rows.",
        ) from error
    result = dict(zip((*LEADING, *columns), numbers, strict=True))
    for name, value in result.items():
        if name not in ("frame", "face", "success", "reason"):
            result[name] = float(value) if value is not None and isfinite(value) else None
    return result


def one_line(text: str) -> str:
    """Text without line breaks and repeated spaces, valid as UTF-8."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


def dump(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; bytes of file names that are not text stay as escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)
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
        """Entries of the metadata."""
        values = (self.frames, self.rows, self.last, self.failed, self.failures, complete)
        return dict(zip(SUMMARY, values, strict=False))

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
        summary: Counts; of an interrupted table without its last frame, which may lack faces.
    """

    metadata: dict[str, Any]
    complete: bool
    summary: Summary

    @property
    def next_frame(self) -> int:
        """Number of the first missing frame."""
        return self.summary.last + 1


def foreign(path: Path, fault: str, line: int | None = None) -> AnnotationError:
    """Error for a file that is not a table of ours."""
    return AnnotationError(
        fault, path=path, line=line, remedy="Give a table that affectkit predict has written."
    )


def edited(path: Path) -> AnnotationError:
    """Error for a table that is not what was written."""
    return AnnotationError(
        "The table was damaged or edited after it was written.",
        path=path,
        remedy="Restore it, or write it anew with --overwrite. pandas reads edited tables as they are.",
    )


def hash_of(file: File) -> str:
    """SHA-256 of an open file; the next bytes go to its end."""
    file.seek(0)
    found = file_digest(file, "sha256").hexdigest()
    file.seek(0, SEEK_END)
    return found


def check_hash(path: Path, data: bytes, metadata: Mapping[str, Any]) -> None:
    """Check that a table holds the bytes that were written.

    Args:
        path: The table, for the message.
        data: The bytes.
        metadata: Metadata with their hash.

    Raises:
        AnnotationError: It holds others.
    """
    if sha256(data).hexdigest() != metadata["sha256"]:
        raise edited(path)


def sidecar_of(path: Path) -> Path:
    """JSON file beside a CSV file, which holds the metadata."""
    return path.with_suffix(".json") if path.suffix.lower() == ".csv" else path.with_name(path.name + ".json")


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Metadata beside a CSV file; None if there are none, or not ours.

    Args:
        path: The CSV file.
    """
    try:
        found = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and isinstance(found.get("columns"), list) and {*SUMMARY} <= found.keys()
    return found if ours else None


def _plain(value: Any) -> Any:
    """Numbers, arrays and tensors as lists; other objects as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
