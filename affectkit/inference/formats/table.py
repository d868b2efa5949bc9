"""What every table of predictions holds, and what its writers have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.predictor import Row

__all__ = ["LEADING", "Progress", "Summary", "TableWriter", "cells", "dump", "foreign", "plain"]

LEADING = ("frame", "timestamp", "face", "success", "reason", "score", "x", "y", "w", "h")
"""The columns that stand before the values, in every tidy table."""

SUMMARY = ("frames", "rows", "failed_frames", "failures", "complete")
"""The metadata that a writer adds at the end."""


def cells(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    """A row as plain values by column name, in the order of the table; what is missing is None or NaN.

    Args:
        row: The row.
        columns: Names of the values.

    Raises:
        ConfigError: The row lacks a value.
    """
    reason = _one_line(row.reason or "") or None
    box = (nan,) * 4 if row.box is None else map(float, row.box)
    leading = (row.frame, float(row.timestamp), row.face, row.success, reason, float(row.score), *box)
    try:
        values = {name: float(row.values[name]) for name in columns}
    except KeyError as error:
        raise ConfigError(
            f"The row has no value for the column {error}.",
            frame=row.frame,
            remedy="Open the writer with the columns of the predictor that makes the rows.",
        ) from error
    return dict(zip(LEADING, leading, strict=True)) | values


def dump(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; also for file names that are no text, which keep their bytes as escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "backslashreplace")


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON gives them back: paths are text, tuples and arrays are lists, and NaN is None."""
    result: dict[str, Any] = json.loads(dump(dict(metadata)), parse_constant=lambda _: None)
    return result


@dataclass
class Summary:
    """What was written so far.

    Attributes:
        frames: Frames that have rows.
        rows: Rows.
        failed: Frames without any row that succeeded.
        failures: Rows that failed, by their reason.
        last: Number of the last frame, −1 where there is none.
    """

    frames: int = 0
    rows: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    last: int = -1
    _succeeded: bool = False

    def add(self, frame: int, success: bool, reason: str | None) -> None:
        """Count a row; those of one frame follow one another."""
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
        """As the metadata hold it."""
        values = (self.frames, self.rows, self.failed, self.failures, complete)
        return dict(zip(SUMMARY, values, strict=True))


@dataclass
class Progress:
    """What of a table is there already.

    A table that was interrupted may lack faces of its last frame, so that frame counts as missing.

    Attributes:
        metadata: What the file says about itself.
        complete: Whether its writer came to the end.
        keep: Where it goes on: bytes of a text file, rows of a Parquet file.
        summary: Of what is kept.
    """

    metadata: dict[str, Any]
    complete: bool
    keep: int = 0
    summary: Summary = field(default_factory=Summary)
    _waiting: list[tuple[int, bool, str | None]] = field(default_factory=list)

    @property
    def next_frame(self) -> int:
        """The first frame that is missing."""
        return self.summary.last + 1

    def add(self, place: int, frame: int, success: bool, reason: str | None) -> None:
        """Take the next row of the file, which begins at `place`."""
        if self._waiting and self._waiting[0][0] != frame:
            self._settle(place)
        self._waiting.append((frame, success, reason))

    def finish(self, end: int) -> Self:
        """The rows end at `end`."""
        if self.complete:
            self._settle(end)
        return self

    def _settle(self, place: int) -> None:
        for row in self._waiting:
            self.summary.add(*row)
        self._waiting.clear()
        self.keep = place


class TableWriter(ABC):
    """Writes rows as they come. A context manager: entering opens the file, leaving makes it whole.

    Whatever stops the work (an error, Ctrl-C), the file is valid afterwards and says that it is not complete.
    Rows come in the order of their frames, those of one frame together.

    Args:
        path: The file; its folder is made if absent. What is there already is replaced.
        columns: Names of the values, in order.
        metadata: Plain values that travel with the file.
        resume: Go on after the frames that the file holds, instead of replacing it. Of a file that was interrupted
            the last frame is written anew, since it may lack faces.

    Attributes:
        summary: What was written so far, with what was there before.
        complete: Whether the table is whole: on entering, because the file was (nothing can be added to it then);
            on leaving, because nothing stopped the work.

    Raises:
        ConfigError: A column has a name that cannot be. On entering: the file cannot be written, or, with `resume`,
            it was not written by this format with these columns and metadata.
        AnnotationError: On entering with `resume`: the file is not ours.
    """

    format: str

    def __init__(
        self, path: str | Path, columns: Sequence[str], metadata: Mapping[str, Any], *, resume: bool = False
    ) -> None:
        self.path = Path(path)
        self.columns = tuple(columns)
        self.metadata = plain(metadata)
        self.resume = resume
        self.summary = Summary()
        self.complete = False
        self._first = 0  # the first frame that may be written
        self._faces: set[int | None] = set()  # of the last frame
        for name in self.columns:
            if name in LEADING or self.columns.count(name) > 1 or name != _one_line(name) or not name:
                raise ConfigError(
                    f"No value can have the column {name!r}: every table has it already, or it is no plain line.",
                    remedy="Name the class in other words.",
                )

    @property
    def frames(self) -> int:
        """Frames that have rows."""
        return self.summary.frames

    @property
    def failed(self) -> int:
        """Frames without any row that succeeded."""
        return self.summary.failed

    @property
    def next_frame(self) -> int:
        """The first frame after those that have rows: where to go on."""
        return self.summary.last + 1

    @property
    def metadata_file(self) -> Path:
        """The file that holds the metadata: this one, unless the format has no place for them."""
        return self.path

    def header(self) -> list[str]:
        """Names of all columns, in order."""
        return [*LEADING, *self.columns]

    @property
    def described(self) -> dict[str, Any]:
        """The metadata with format and columns."""
        return {**self.metadata, "format": self.format, "columns": self.header()}

    @abstractmethod
    def _open(self, progress: Progress | None) -> None:
        """Open the file: anew, or after what is kept of it."""

    @abstractmethod
    def _append(self, row: Row) -> None:
        """Write one row."""

    @abstractmethod
    def _close(self, metadata: Mapping[str, Any]) -> None:
        """Make the file whole, with the metadata of what was written."""

    @abstractmethod
    def _progress(self) -> Progress | None:
        """What of the file is there already; None where there is none."""

    def __enter__(self) -> Self:
        with self._system():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        progress = self._progress() if self.resume else None
        if progress is not None:
            self._check_same(progress.metadata)
            self.summary, self.complete, self._first = (
                progress.summary,
                progress.complete,
                progress.next_frame,
            )
        if not self.complete:
            with self._system():
                self._open(progress)
        return self

    def write(self, row: Row) -> None:
        """Append a row.

        Args:
            row: A face of the frame of the last row, or the first of a later frame.

        Raises:
            ConfigError: The row is there already or comes too late, lacks a value, the table is complete, or the
                disk is full.
        """
        last = self.summary.last
        again = row.frame == last and row.face in self._faces
        if self.complete or again or row.frame < max(last, self._first):
            raise ConfigError(
                "The table has this row, or those of a later frame, already.", path=self.path, frame=row.frame
            )
        with self._system():
            self._append(row)
        self._faces = {row.face} if row.frame != last else self._faces | {row.face}
        self.summary.add(row.frame, row.success, _one_line(row.reason or ""))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.complete:  # it was so before
            return
        with self._system():
            self._close({**self.described, **self.summary.entries(complete=kind is None)})
        self.complete = kind is None

    def _check_same(self, found: Mapping[str, Any]) -> None:
        """Whether a file was begun by a writer like this one."""
        given = self.described
        for name in ["format", "columns", *sorted((given.keys() | found.keys()) - set(SUMMARY))]:
            if given.get(name) != found.get(name):
                raise ConfigError(
                    f"The file cannot be continued: its {name!r} is {_short(found.get(name))}, and now it would be "
                    f"{_short(given.get(name))}.",
                    path=self.path,
                    remedy="Write to another file, or do not resume.",
                )

    @contextmanager
    def _system(self) -> Iterator[None]:
        """Turns what the system refuses into an error that names the file."""
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"The table cannot be written: {error.strerror or error}.",
                path=self.path,
                remedy="Choose a place with room that you may write to.",
            ) from error


def foreign(path: Path, fault: str, line: int | None = None) -> AnnotationError:
    """The error for a file that is not ours."""
    return AnnotationError(
        fault, path=path, line=line, remedy="Give a table that affectkit predict has written."
    )


def _one_line(text: str) -> str:
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    """What JSON does not know: numpy's numbers, arrays and tensors by their values, all else by its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"
