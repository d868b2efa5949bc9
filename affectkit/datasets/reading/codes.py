"""Text files with a row of small numbers for each coded frame, read so that nothing wrong slips through."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError

__all__ = ["CodeTable", "Rows", "frame_ranges", "read_codes", "read_lines", "read_numbers"]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d{1,9}(?:\.0*)?", re.ASCII)
_DIGITS = re.compile(r"[0-9., \t]*")
_HEADER = re.compile(r"(?:AU ?)?0*(\d{1,2})", re.ASCII | re.IGNORECASE)
_FRAME = 0  # what a header's frame column stands for among the unit numbers
_EMPTY = ' \t,"'
Rows = Sequence[tuple[int, str]]
"""Line and text of each row."""


@dataclass(frozen=True, eq=False)
class CodeTable:
    """One code a frame and column.

    Args:
        path: The file.
        columns: Number of the action unit in each column; (0,) for a file of one nameless column.
        frame_ids: int64 [N], frame numbers as the file gives them, from 1, ascending.
        codes: uint8 [N, C].
        lines: Line in the file of each row, from 1.
    """

    path: Path
    columns: tuple[int, ...]
    frame_ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    lines: Sequence[int]

    def error(self, fault: str, row: int, *, remedy: str) -> AnnotationError:
        """An error that names the file and the line of a row."""
        return AnnotationError(fault, path=self.path, line=self.lines[row], remedy=remedy)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends; a byte-order mark and Windows line ends are accepted.

    Raises:
        AnnotationError: The file cannot be read, or is not UTF-8 text.
    """
    remedy = "Unpack the file again, or save it as UTF-8."
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise AnnotationError(
            f"The file cannot be read ({fault.strerror}).", path=path, line=1, remedy=remedy
        ) from fault
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise AnnotationError("The text is not UTF-8.", path=path, line=line, remedy=remedy) from fault
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise AnnotationError("This is not text: it holds a null byte.", path=path, line=line, remedy=remedy)
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_codes(path: Path, *, header: bool, allowed: Collection[int]) -> CodeTable:
    """Read comma-separated rows `frame,code,code,...`; blank rows and rows of empty cells are left out.

    Args:
        path: The file.
        header: Whether the first row names the columns: one for the frame (`0` or `frame`), the others by the
            number of their action unit. Without a header there is one column of codes.
        allowed: The codes that may stand in a cell, 0 to 9.

    Raises:
        AnnotationError: The file has another form, or a cell holds something else.
    """
    rows = [(line, text) for line, text in enumerate(read_lines(path), start=1) if text.strip(_EMPTY)]
    if not rows:
        raise AnnotationError("The file is empty.", path=path, line=1, remedy="Unpack it again.")
    columns, frame_column = _read_header(path, *rows.pop(0)) if header else ((_FRAME,), 0)
    if not rows:
        raise AnnotationError("The file has no row.", path=path, line=1, remedy="Unpack it again.")
    values = read_numbers(path, rows, len(columns) + 1, whole=True)
    lines = [line for line, _ in rows]
    # Everything above 9 is as wrong as 255; uint8 would make 256 a 0.
    codes = np.minimum(np.delete(values, frame_column, axis=1), 255).astype(np.uint8)
    table = CodeTable(path, columns, values[:, frame_column].astype(np.int64), codes, lines)
    _check(table, allowed)
    return table


def read_numbers(path: Path, rows: Rows, width: int, *, whole: bool = False) -> NDArray[np.float64]:
    """Read rows of numbers between commas; empty cells behind the last number are left out.

    Args:
        path: The file, for errors.
        rows: Line and text of each row; at least one.
        width: Numbers a row.
        whole: Whether they must be whole and from 0.

    Returns:
        float64 [N, width].

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
    for (line, _), own in zip(rows, cells, strict=True):
        if len(own) != width:
            fault = f"The row has {len(own)} cells, not {width}."
            remedy = "Separate cells by commas; unpack the file again if it was cut off."
            raise AnnotationError(fault, path=path, line=line, remedy=remedy)
    line, wrong = next(
        (line, cell)
        for (line, _), own in zip(rows, cells, strict=True)
        for cell in own
        if (_WHOLE if whole else _NUMBER).fullmatch(cell) is None or math.isinf(float(cell))
    )
    fault = f"The cell '{wrong[:20]}' is not a {'whole number from 0' if whole else 'number'}."
    raise AnnotationError(fault, path=path, line=line, remedy="Correct it, or unpack the file again.")


def _parse(texts: Sequence[str], width: int, whole: bool) -> NDArray[np.float64] | None:
    """Rows of numbers, or None where a row is something else."""
    if whole and _DIGITS.fullmatch(",".join(texts)) is None:  # NumPy takes 1e0 and -1 too
        return None
    try:
        values: NDArray[np.float64] = np.loadtxt(texts, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    sound = values.shape == (len(texts), width) and np.isfinite(values).all()
    return values if sound and not (whole and (values % 1).any()) else None


def frame_ranges(numbers: Sequence[int], limit: int = 8) -> str:
    """Write numbers in short.

    Example:
        >>> frame_ranges([1, 2, 3, 7])
        '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(texts[:limit]) + (", …" if len(texts) > limit else "")


def _read_header(path: Path, line: int, text: str) -> tuple[tuple[int, ...], int]:
    """Unit numbers of the columns other than the frame's, and the frame's column."""
    remedy = "The first row must name the columns: 0 (the frame), then the numbers of action units."
    cells = [cell.strip(' \t"') for cell in text.split(",")]
    while not cells[-1]:
        cells.pop()
    numbers = []
    for cell in cells:
        match = _HEADER.fullmatch(cell)
        if match is None and not cell.lower().startswith("frame"):
            raise AnnotationError(f"The header holds '{cell[:20]}'.", path=path, line=line, remedy=remedy)
        numbers.append(_FRAME if match is None else int(match[1]))
    if numbers.count(_FRAME) != 1 or len(set(numbers)) < len(numbers) or len(numbers) < 2:
        raise AnnotationError(
            "The header does not name the frame and each action unit once.",
            path=path,
            line=line,
            remedy=remedy,
        )
    return tuple(number for number in numbers if number != _FRAME), numbers.index(_FRAME)


def _check(table: CodeTable, allowed: Collection[int]) -> None:
    """Rows count up and hold only codes that there are."""
    frames = table.frame_ids
    steps = np.diff(frames, prepend=0)
    if (steps < 1).any():
        row = int((steps < 1).argmax())
        raise table.error(
            f"Frame {frames[row]} does not follow the frame before it.",
            row,
            remedy="Frames count up from 1; look for rows or columns that changed places or stand there twice.",
        )
    right = np.zeros(256, dtype=bool)
    right[list(allowed)] = True
    if not right[table.codes].all():
        row, column = np.argwhere(~right[table.codes])[0].tolist()
        place = f" of AU{table.columns[column]}" if table.columns[column] else ""
        raise table.error(
            f"The code{place} is not one of {', '.join(map(str, sorted(allowed)))}.",
            row,
            remedy="Correct it, or unpack the file again.",
        )
