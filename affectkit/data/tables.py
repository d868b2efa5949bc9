"""Annotation tables: CSV and Parquet files whose every fault can be pointed at."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError, DatasetNotFoundError

__all__ = ["Table", "read_table"]


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of one file.

    An empty cell (blank text, null or NaN) reads as `None` everywhere: not annotated.

    Args:
        path: The file.
        columns: Cells of each column, all of one length.
        lines: Line in the file of each row, from 1 (Parquet: number of the row).
    """

    path: Path
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, fault: str, row: int | None = None, *, remedy: str | None = None) -> AnnotationError:
        """An error that names the file, and the line of `row` (of the header, if `None`)."""
        line = 1 if row is None else self.lines[row]
        return AnnotationError(fault, path=self.path, line=line, remedy=remedy)

    def text(self, column: str, row: int) -> str | None:
        """A cell as text without surrounding blanks; `None` where it is empty or the column is absent."""
        if column not in self.columns:
            return None
        cell = self.columns[column][row]
        missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
        return None if missing else str(cell).strip() or None

    def number(self, column: str, row: int) -> float | None:
        """A cell as a finite number.

        Raises:
            AnnotationError: It holds something else.
        """
        text = self.text(column, row)
        if text is None:
            return None
        try:
            value = float({"True": "1", "False": "0"}.get(text, text))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"Column '{column}' holds '{text}', not a number.", row)
        return value

    def count(self, column: str, row: int) -> int | None:
        """A cell as a whole number from 0.

        Raises:
            AnnotationError: It holds something else.
        """
        value = self.number(column, row)
        if value is None:
            return None
        if value < 0 or value != int(value):
            raise self.error(
                f"Column '{column}' holds {value:g}, not a whole number from 0.",
                row,
                remedy="Leave the cell empty where it is unknown.",
            )
        return int(value)

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float32]:
        """Whole columns as numbers, float32 [rows, columns]; empty cells are NaN.

        Raises:
            AnnotationError: A cell holds something else.
        """
        result = np.full((len(self), len(columns)), np.nan, dtype=np.float32)
        for place, column in enumerate(columns):
            cells = np.asarray(self.columns[column])
            if cells.dtype.kind in "fiub":
                result[:, place] = cells
            else:
                values = (self.number(column, row) for row in range(len(self)))
                result[:, place] = [np.nan if value is None else value for value in values]
        return result


def read_table(path: Path) -> Table:
    """Read a `.csv` (UTF-8, comma, header line) or `.parquet` file.

    Blank lines and cells beyond the header, if empty, are left out.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: It is no table, names a column twice, or has a line that is shorter than its header.
    """
    if not path.is_file():
        raise DatasetNotFoundError("This table does not exist.", path=path, remedy="Check the path.")
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    raise AnnotationError(
        "This is neither a .csv nor a .parquet file.", path=path, remedy="Convert the table."
    )


def _read_csv(path: Path) -> Table:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise AnnotationError(
            "The text is not UTF-8.", path=path, line=line, remedy="Save the table as UTF-8."
        ) from fault
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as fault:
        raise AnnotationError(
            f"This is not CSV ({fault}).", path=path, line=line, remedy="Check its quotes."
        ) from fault
    if not rows:
        raise AnnotationError(
            "The table is empty.", path=path, line=1, remedy="Write a header line and rows."
        )
    header = [name.strip() for name in rows[0]]
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) < len(header) or any(cell.strip() for cell in row[len(header) :]):
            raise AnnotationError(
                f"The line has {len(row)} cells, the header {len(header)}.",
                path=path,
                line=line,
                remedy="Quote cells that hold commas.",
            )
    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(header) if name}
    if len(columns) < sum(map(bool, header)):
        twice = sorted({name for name in header if name and header.count(name) > 1})
        raise AnnotationError(
            f"Columns are named twice: {', '.join(twice)}.", path=path, line=lines[0], remedy="Rename one."
        )
    return Table(path, columns, lines[1:])


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as fault:
        raise AnnotationError(
            f"This is not a Parquet file ({str(fault).splitlines()[0]}).",
            path=path,
            remedy="Write the table again.",
        ) from fault
    if len(set(table.column_names)) < table.num_columns:
        raise AnnotationError("Columns are named twice.", path=path, remedy="Rename one.")
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return Table(path, columns, range(1, table.num_rows + 1))
