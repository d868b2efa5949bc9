"""Text files with a row of small numbers for each coded frame, read so that nothing wrong slips through."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError

__all__ = ["CodeTable", "frame_ranges", "read_codes", "read_lines"]

_NUMBER = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)
_HEADER = re.compile(r"(?:AU ?)?0*(\d{1,2})", re.ASCII | re.IGNORECASE)
_FRAME = 0  # what a header's frame column stands for among the unit numbers
_EMPTY = ' \t,"'
_Rows = list[tuple[int, str]]  # line and text


@dataclass(frozen=True, eq=False)
class CodeTable:
    """One code a frame and column.

    Args:
        path: The file.
        columns: Number of the action unit in each column; (0,) for a file of one nameless column.
        frames: int64 [N], frame numbers as the file gives them, from 1, ascending.
        codes: uint8 [N, C].
        lines: Line in the file of each row, from 1.
    """

    path: Path
    columns: tuple[int, ...]
    frames: NDArray[np.int64]
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
    table = _read_quickly(path, rows, columns) if frame_column == 0 else None
    table = table or _read_carefully(path, rows, columns, frame_column)
    _check(table, allowed)
    return table


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


def _read_quickly(path: Path, rows: _Rows, columns: tuple[int, ...]) -> CodeTable | None:
    """Read a file in which every row is as it should be; None where one is not."""
    cells = [text.partition(",") for _, text in rows]
    heads = [head for head, _, _ in cells]
    width = 2 * len(columns) - 1
    block = "".join([rest for _, _, rest in cells]).encode()
    digits = "".join(heads)
    sound = (
        len(block) == width * len(cells)
        and all(len(rest) == width for _, _, rest in cells)
        and digits.isascii()
        and digits.isdecimal()
        and all(0 < len(head) < 10 for head in heads)
    )
    if not sound:
        return None
    characters = np.frombuffer(block, dtype=np.uint8).reshape(len(cells), width)
    codes = characters[:, ::2] - ord("0")
    if (codes > 9).any() or (characters[:, 1::2] != ord(",")).any():
        return None
    frames = np.array(list(map(int, heads)), dtype=np.int64)
    return CodeTable(path, columns, frames, codes, [line for line, _ in rows])


def _read_carefully(path: Path, rows: _Rows, columns: tuple[int, ...], frame_column: int) -> CodeTable:
    """Read row by row, to accept what is harmless and to point at what is not."""
    numbers = []
    for line, text in rows:
        cells = [cell.strip(' \t"') for cell in text.split(",")]
        while len(cells) > len(columns) + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != len(columns) + 1:
            raise AnnotationError(
                f"The row has {len(cells)} cells, not {len(columns) + 1}.",
                path=path,
                line=line,
                remedy="Separate cells by commas; unpack the file again if it was cut off.",
            )
        numbers.append([_number(path, line, cell) for cell in cells])
    values = np.array(numbers, dtype=np.int64).reshape(-1, len(columns) + 1)
    codes = np.delete(values, frame_column, axis=1)
    # Everything above 9 is as wrong as 255; uint8 would make 256 a 0.
    return CodeTable(
        path,
        columns,
        values[:, frame_column],
        np.minimum(codes, 255).astype(np.uint8),
        [line for line, _ in rows],
    )


def _number(path: Path, line: int, cell: str) -> int:
    match = _NUMBER.fullmatch(cell)
    if match is None:
        raise AnnotationError(
            f"The cell '{cell[:20]}' is not a whole number from 0.",
            path=path,
            line=line,
            remedy="Correct it, or unpack the file again.",
        )
    return int(match[1])


def _check(table: CodeTable, allowed: Collection[int]) -> None:
    """Rows exist, count up, and hold only codes that there are."""
    frames = table.frames
    if len(frames) == 0:
        raise AnnotationError("The file has no row.", path=table.path, line=1, remedy="Unpack it again.")
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
