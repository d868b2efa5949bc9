"""Text files with a row of small numbers per coded frame, parsed strictly."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.data.tables import decode_text
from affectkit.errors import AnnotationError

__all__ = ["CodeTable", "Rows", "frame_ranges", "read_codes", "read_lines", "read_numbers"]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d{1,9}(?:\.0*)?", re.ASCII)
_DIGITS = re.compile(r"[0-9., \t]*")
_HEADER = re.compile(r"(?:AU ?)?0*(\d{1,2})", re.ASCII | re.IGNORECASE)
_FRAME = 0  # number of the frame column in a header
_EMPTY = ' \t,"'
Rows = Sequence[tuple[int, str]]
"""Line and text of each row."""


@dataclass(frozen=True, eq=False)
class CodeTable:
    """One code per frame and column.

    Args:
        path: The file.
        columns: Action unit of each column; (0,) for a file with one unnamed column.
        frame_ids: int64 [N], frame numbers of the file, from 1, ascending.
        codes: uint8 [N, C].
        lines: Line of each row, from 1.
    """

    path: Path
    columns: tuple[int, ...]
    frame_ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    lines: Sequence[int]

    def error(self, fault: str, row: int, *, remedy: str) -> AnnotationError:
        """An error at the line of a row."""
        return AnnotationError(fault, path=self.path, line=self.lines[row], remedy=remedy)


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without their ends; a byte-order mark and Windows line ends are accepted.

    Raises:
        AnnotationError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        text = decode_text(path)
    except OSError as error:
        fault = f"The file cannot be read ({error.strerror})."
        raise AnnotationError(fault, path=path, line=1, remedy="Unpack the file again.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_codes(path: Path, *, header: bool, allowed: Collection[int]) -> CodeTable:
    """Read comma-separated rows `frame,code,code,...`; blank rows are skipped.

    Args:
        path: The file.
        header: Whether the first row names the columns: `0` or `frame`, and the numbers of action units. Without a
            header there is one column of codes.
        allowed: Codes from 0 to 9 that a cell may hold.

    Raises:
        AnnotationError: The file is empty, has another form or other codes, or its frames do not count up.
    """
    rows = [(line, text) for line, text in enumerate(read_lines(path), start=1) if text.strip(_EMPTY)]
    columns, frame_column = _read_header(path, *rows.pop(0)) if header and rows else ((_FRAME,), 0)
    if not rows:
        raise AnnotationError("The file has no rows.", path=path, line=1, remedy="Unpack it again.")
    values = read_numbers(path, rows, len(columns) + 1, whole=True)
    # Codes above 9 are invalid; uint8 would wrap 256 to 0.
    codes = np.minimum(np.delete(values, frame_column, axis=1), 255).astype(np.uint8)
    frames = values[:, frame_column].astype(np.int64)
    table = CodeTable(path, columns, frames, codes, [line for line, _ in rows])
    steps = np.diff(frames, prepend=0)
    if (steps < 1).any():
        row = int((steps < 1).argmax())
        remedy = "Frames count up from 1; look for exchanged columns and moved or repeated rows."
        raise table.error(f"Frame {frames[row]} does not follow the frame before it.", row, remedy=remedy)
    wrong = ~np.isin(codes, list(allowed))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        place = f" of AU{columns[column]}" if columns[column] else ""
        fault = f"The code{place} is not one of {', '.join(map(str, sorted(allowed)))}."
        raise table.error(fault, row, remedy="Correct it, or unpack the file again.")
    return table


def read_numbers(path: Path, rows: Rows, width: int, *, whole: bool = False) -> NDArray[np.float64]:
    """Parse rows of `width` comma-separated numbers, float64 [N, width]; trailing empty cells are ignored.

    Args:
        path: The file, for errors.
        rows: Line and text of each row; at least one.
        width: Numbers per row.
        whole: Whether numbers must be whole and not negative.

    Raises:
        AnnotationError: A row has more or fewer cells, or a cell is not a number.
    """
    values = _parse([text for _, text in rows], width, whole)
    if values is not None:
        return values
    cells = [[cell.strip() for cell in text.replace('"', "").split(",")] for _, text in rows]
    for own in cells:
        while len(own) > width and not own[-1]:
            own.pop()
    values = _parse([",".join(own) for own in cells], width, whole)
    if values is not None:
        return values
    faults = ((line, _fault(own, width, whole)) for (line, _), own in zip(rows, cells, strict=True))
    line, fault = next((line, fault) for line, fault in faults if fault is not None)
    raise AnnotationError(fault, path=path, line=line, remedy="Correct it, or unpack the file again.")


def _parse(texts: Sequence[str], width: int, whole: bool) -> NDArray[np.float64] | None:
    """Rows of numbers, or None if a row is something else."""
    if whole and _DIGITS.fullmatch(",".join(texts)) is None:  # NumPy also accepts 1e0 and -1
        return None
    try:
        values: NDArray[np.float64] = np.loadtxt(texts, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    sound = values.shape == (len(texts), width) and np.isfinite(values).all()
    return values if sound and not (whole and (values % 1).any()) else None


def _fault(cells: Sequence[str], width: int, whole: bool) -> str | None:
    if len(cells) != width:
        return f"The row has {len(cells)} {'cell' if len(cells) == 1 else 'cells'}, not {width}."
    kind, pattern = ("a whole number from 0", _WHOLE) if whole else ("a number", _NUMBER)
    wrong = (cell for cell in cells if pattern.fullmatch(cell) is None or math.isinf(float(cell)))
    return next((f"The cell '{cell[:20]}' is not {kind}." for cell in wrong), None)


def frame_ranges(numbers: Sequence[int] | NDArray[np.int64], limit: int = 8) -> str:
    """Format numbers as ranges.

    Example:
        >>> frame_ranges([1, 2, 3, 7])
        '1-3, 7'
    """
    runs = np.split(np.asarray(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)[: limit + 1]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if len(run)]
    return ", ".join(texts[:limit]) + (", …" if len(texts) > limit else "")


def _read_header(path: Path, line: int, text: str) -> tuple[tuple[int, ...], int]:
    """Action units of the columns, and the position of the frame column."""
    cells = [cell.strip(' \t"') for cell in text.rstrip(_EMPTY).split(",")]
    matches = [(_HEADER.fullmatch(cell), cell.lower().startswith("frame")) for cell in cells]
    numbers = [_FRAME if match is None else int(match[1]) for match, frame in matches if match or frame]
    if len(numbers) < max(2, len(cells)) or numbers.count(_FRAME) != 1 or len(set(numbers)) < len(numbers):
        remedy = "The first row must name the frame (0) and the number of each action unit once."
        raise AnnotationError(f"The header is '{text[:40]}'.", path=path, line=line, remedy=remedy)
    return tuple(number for number in numbers if number != _FRAME), numbers.index(_FRAME)
