"""Tables of which every row is one line of text."""

from __future__ import annotations

import csv
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from affectkit.errors import ConfigError
from affectkit.inference.formats.table import Progress, TableWriter, dump, foreign
from affectkit.inference.predictor import Row

__all__ = [
    "CsvBase",
    "LineWriter",
    "csv_progress",
    "join_csv",
    "read_lines",
    "read_sidecar",
    "sidecar_of",
    "split_csv",
]


def read_lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """The lines of a file that are whole, without their ends: a last one that was cut off is left out.

    Args:
        path: The file.

    Yields:
        Number of the line from 1, the byte at which the next one begins, and its text.

    Raises:
        AnnotationError: The file is not there, or no text.
    """
    number, place = 0, 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                number, place = number + 1, place + len(line)
                yield number, place, line.decode().rstrip("\r\n")
    except OSError as error:
        raise foreign(path, f"The file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise foreign(path, "The line is not text.", number) from error


def split_csv(path: Path, number: int, line: str, fields: int | None = None) -> list[str]:
    """The fields of a line of CSV, without spaces that follow a comma.

    Args:
        path: The file, for messages.
        number: The line's number, for messages.
        line: The line.
        fields: How many there must be.

    Raises:
        AnnotationError: There are more or fewer.
    """
    try:
        parts = next(csv.reader([line], strict=True, skipinitialspace=True), [])
    except csv.Error as error:
        raise foreign(path, f"The line is not CSV: {error}.", number) from error
    if fields is not None and len(parts) != fields:
        raise foreign(path, f"The line has {len(parts)} fields, and the header has {fields}.", number)
    return parts


def join_csv(parts: Iterable[str], separator: str = ",") -> str:
    """A line of CSV, as `split_csv` takes it apart."""
    return separator.join(
        '"{}"'.format(part.replace('"', '""')) if "," in part or '"' in part else part for part in parts
    )


class LineWriter(TableWriter):
    """Writes one line a row and hands it to the system at once."""

    @abstractmethod
    def _first_line(self) -> bytes:
        """What stands above the rows."""

    @abstractmethod
    def _line(self, row: Row) -> bytes:
        """A row."""

    def _open(self, progress: Progress | None) -> None:
        # What is there is cut at once: no reader may take old rows for what is written now.
        self._file = self.path.open("wb" if progress is None else "r+b", buffering=0)
        try:
            if progress is not None:
                self._file.truncate(progress.keep)
                self._file.seek(progress.keep)
            self._begin()
            if progress is None:
                self._put(self._first_line())
        except BaseException:
            self._file.close()
            raise

    def _begin(self) -> None:
        """What else there is to do before the first line."""

    def _put(self, line: bytes) -> None:
        left = memoryview(line + b"\n")
        while left:
            left = left[self._file.write(left) :]

    def _append(self, row: Row) -> None:
        self._put(self._line(row))

    def _close(self, metadata: Mapping[str, Any]) -> None:
        with self._file:
            os.fsync(self._file.fileno())  # before anything says that the table is complete


def sidecar_of(path: Path) -> Path:
    """The JSON file that belongs to a CSV file."""
    return path.with_suffix(".json") if path.suffix.lower() == ".csv" else path.with_name(path.name + ".json")


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The metadata beside a CSV file; None where there are none, or not ours.

    Args:
        path: The CSV file.
    """
    try:
        found = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and isinstance(found.get("columns"), list) and "complete" in found
    return found if ours else None


class CsvBase(LineWriter):
    """A CSV file, and a JSON file of the same name with the metadata.

    The JSON file is there from the start, with `"complete": false`, and written anew at the end.
    """

    @property
    def metadata_file(self) -> Path:
        """The JSON file."""
        return sidecar_of(self.path)

    def _open(self, progress: Progress | None) -> None:
        if self.metadata_file.exists() and read_sidecar(self.path) is None:
            raise ConfigError(
                "The metadata of the table belong there, and the file holds something else.",
                path=self.metadata_file,
                remedy="Move that file, or give the table another name.",
            )
        super()._open(progress)

    def _begin(self) -> None:
        self._describe({**self.described, "complete": False})

    def _close(self, metadata: Mapping[str, Any]) -> None:
        super()._close(metadata)
        self._describe(metadata)

    def _describe(self, metadata: Mapping[str, Any]) -> None:
        unfinished = self.metadata_file.with_name(self.metadata_file.name + ".partial")
        with unfinished.open("wb") as file:
            file.write(dump(metadata, indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())  # a power cut may keep the new name and lose what was to be in the file
        unfinished.replace(self.metadata_file)

    def _progress(self) -> Progress | None:
        return csv_progress(self.path)


def csv_progress(path: Path) -> Progress | None:
    """What of a CSV file, tidy or in OpenFace's columns, is there already; None where there is nothing.

    Args:
        path: The CSV file.

    Raises:
        AnnotationError: The file is not ours.
    """
    lines = read_lines(path) if path.exists() else iter(())
    first = next(lines, None)
    if first is None:
        return None
    metadata = read_sidecar(path)
    if metadata is None:
        raise foreign(path, f"No {sidecar_of(path).name} of ours is beside the file.")
    columns, place = metadata["columns"], first[1]
    if split_csv(path, 1, first[2]) != columns or not {"frame", "success"} <= set(columns):
        raise foreign(path, "The columns are not those that the JSON file names.", 1)
    progress = Progress(metadata, metadata["complete"] is True, keep=place)
    offset = 0 if metadata.get("format") == "csv" else 1  # OpenFace counts from 1
    for number, end, line in lines:
        fields = dict(zip(columns, split_csv(path, number, line, len(columns)), strict=True))
        try:
            frame, success = int(fields["frame"]) - offset, bool(int(fields["success"]))
        except ValueError as error:
            raise foreign(path, "The line has no frame number or no success.", number) from error
        progress.add(place, frame, success, fields.get("reason"))
        place = end
    progress.finish(place)
    if progress.complete and "reason" not in columns:  # OpenFace's columns do not say why a row failed
        progress.summary.failures = metadata.get("failures", {})
    return progress
