"""Annotation tables: text, Excel and Parquet files whose every fault can be pointed at."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.data.workbooks import is_blank, read_workbook
from affectkit.errors import AnnotationError, DatasetNotFoundError

__all__ = ["Table", "decode_text", "parse_csv", "read_table"]

# What other programs write into a cell that holds nothing. `none` is a word like any other.
_EMPTY = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "NAN", "nan", "NaT", "NULL", "Null", "null"}
)
_NO_NUMBER = re.compile(r"none|[+-]?(nan(\(\w*\))?|1\.#(qnan|ind)\w*)", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"[0-9.eE+-]*")
_FLAGS = {"true": 1.0, "yes": 1.0, "y": 1.0, "false": 0.0, "no": 0.0, "n": 0.0}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of one file.

    An empty cell reads as `None` everywhere: not annotated. Blank text, null and NaN are empty, and so are `NA`,
    `N/A`, `#N/A`, `nan` and `null`, which other programs write.

    Args:
        path: The file.
        columns: Cells of each column, all of one length.
        lines: Line in the file of each row, from 1 (Parquet: number of the row).
        decimal_comma: Whether numbers may be written as 3,5.
    """

    path: Path
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    lines: Sequence[int]
    decimal_comma: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, fault: str, row: int | None = None, *, remedy: str | None = None) -> AnnotationError:
        """An error that names the file, and the line of `row` (of the header, if `None`)."""
        line = 1 if row is None else self.lines[row]
        return AnnotationError(fault, path=self.path, line=line, remedy=remedy)

    def with_names(self, names: Collection[str]) -> Table:
        """The same table with columns spelled as in `names`, whatever capitals, blanks and hyphens they have here.

        Raises:
            AnnotationError: Two columns have one of the names.
        """
        spellings = {_folded(name): name for name in names}
        columns: dict[str, Any] = {}
        for column, cells in self.columns.items():
            name = spellings.get(_folded(column), column)
            if name in columns:
                raise self.error(f"Columns are named twice: {name}, {column}.", remedy="Rename one.")
            columns[name] = cells
        return replace(self, columns=columns)

    def text(self, column: str, row: int) -> str | None:
        """A cell as text without surrounding blanks; `None` where it is empty or the column is absent."""
        if column not in self.columns:
            return None
        cell = self.columns[column][row]
        text = "" if is_blank(cell) else str(cell).strip()
        return None if text in _EMPTY else text

    def number(self, column: str, row: int, *, flag: bool = False) -> float | None:
        """A cell as a finite number.

        Args:
            column: Name of the column.
            row: Index of the row.
            flag: Whether true and yes are 1, and false and no are 0.

        Raises:
            AnnotationError: It holds something else.
        """
        text = self.text(column, row)
        if text is None or _NO_NUMBER.fullmatch(text):
            return None
        if flag and text.casefold() in _FLAGS:
            return _FLAGS[text.casefold()]
        plain = text.replace(",", ".") if self.decimal_comma else text
        if _NUMBER.fullmatch(plain) is None or not math.isfinite(float(plain)):
            raise self.error(
                f"Column '{column}' holds '{text}', not a number.",
                row,
                remedy="Write numbers with a decimal point, as 3.5, and nothing where it is unknown.",
            )
        return float(plain)

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

    def numbers(self, columns: Sequence[str], *, flags: bool = False) -> NDArray[np.float32]:
        """Whole columns as numbers, float32 [rows, columns]; empty cells are NaN.

        Args:
            columns: Names of columns.
            flags: Whether true and yes are 1, and false and no are 0.

        Raises:
            AnnotationError: A cell holds something else.
        """
        result = np.full((len(self), len(columns)), np.nan, dtype=np.float32)
        for place, column in enumerate(columns):
            cells = np.asarray(self.columns[column])
            if cells.dtype.kind in ("fiub" if flags else "fiu"):
                result[:, place] = cells
            elif (plain := _plain_numbers(self.columns[column])) is not None:
                result[:, place] = plain
            else:
                values = (self.number(column, row, flag=flags) for row in range(len(self)))
                result[:, place] = [np.nan if value is None else value for value in values]
        return result


def read_table(path: Path) -> Table:
    """Read a table with a header line.

    Text (`.csv`, `.tsv`, `.txt`) is UTF-8, or UTF-16 with its mark, and separated by whichever of comma, semicolon
    and tab gives the header the most columns; where that is the semicolon, numbers may have a decimal comma. Of a
    workbook (`.xlsx`) the first sheet that is not blank counts; a cell merged over several rows counts in each of
    them. Blank lines, and cells beyond the header if empty, are left out.

    Args:
        path: The file, of one of these kinds or `.parquet`.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: It is no table, has no row, names a column twice, or has a line that is shorter than its
            header.
    """
    if not path.is_file():
        raise DatasetNotFoundError("This table does not exist.", path=path, remedy="Check the path.")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        table = _read_csv(path)
    elif suffix in (".xlsx", ".xlsm"):
        table = _read_workbook(path)
    elif suffix == ".parquet":
        table = _read_parquet(path)
    else:
        raise AnnotationError(
            f"A table cannot be a '{path.suffix}' file.",
            path=path,
            remedy="Save it as .csv, .tsv, .xlsx or .parquet.",
        )
    if len(table) == 0:
        raise table.error("The table has a header and no rows.", remedy="Write the rows below the header.")
    return table


def decode_text(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 with its mark.

    Raises:
        AnnotationError: It is something else.
    """
    content = path.read_bytes()
    coding = "utf-16" if content.startswith(_MARKS) else "utf-8-sig"
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise AnnotationError(
            f"The text is not {coding.upper().removesuffix('-SIG')}.",
            path=path,
            line=line,
            remedy='Save the table as UTF-8 (in Excel: "CSV UTF-8").',
        ) from fault
    if "\0" in text:
        raise AnnotationError(
            "The text holds NUL characters: it is no UTF-8.",
            path=path,
            line=text.count("\n", 0, text.index("\0")) + 1,
            remedy='Save the table as UTF-8 (in Excel: "CSV UTF-8").',
        )
    return text


def parse_csv(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Split text into rows that are not blank, each with its line from 1.

    Args:
        path: Where the text is from.
        text: Lines of cells.
        delimiter: What separates cells.

    Raises:
        AnnotationError: Quotes are not closed, or stand inside a cell.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as fault:
        raise AnnotationError(
            f"This is not CSV ({fault}).", path=path, line=line, remedy="Check its quotes."
        ) from fault


def _read_csv(path: Path) -> Table:
    text = decode_text(path)
    delimiter = max(_DELIMITERS, key=lambda one: _width(text, one))
    table = _below_header(path, list(parse_csv(path, text, delimiter)), _DELIMITERS[delimiter])
    return replace(table, decimal_comma=delimiter == ";")


def _width(text: str, delimiter: str) -> int:
    """How many columns the header has if separated so."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return next((width for row in rows if (width := sum(bool(cell.strip()) for cell in row))), 0)


def _read_workbook(path: Path) -> Table:
    grid = next(filter(None, read_workbook(path).values()), [])
    # A header merged over two rows fills both of them.
    return _below_header(path, [*grid[:1], *(row for row in grid[1:] if row[1] != grid[0][1])], "commas")


def _below_header(path: Path, grid: Sequence[tuple[int, Sequence[Any]]], delimiter: str) -> Table:
    """The rows below the first one, which names the columns."""
    if not grid:
        raise AnnotationError(
            "The table is empty.", path=path, line=1, remedy="Write a header line and rows."
        )
    header = ["" if is_blank(name) else str(name).strip() for name in grid[0][1]]
    rows = grid[1:]
    for line, row in rows:
        if len(row) < len(header) or not all(map(is_blank, row[len(header) :])):
            raise AnnotationError(
                f"The line has {len(row)} {'cell' if len(row) == 1 else 'cells'}, the header {len(header)}.",
                path=path,
                line=line,
                remedy=f"Quote cells that hold {delimiter}.",
            )
    columns = {name: [row[place] for _, row in rows] for place, name in enumerate(header) if name}
    if len(columns) < sum(map(bool, header)):
        twice = sorted({name for name in header if name and header.count(name) > 1})
        raise AnnotationError(
            f"Columns are named twice: {', '.join(twice)}.", path=path, line=grid[0][0], remedy="Rename one."
        )
    return Table(path, columns, [line for line, _ in rows])


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


def _plain_numbers(cells: Sequence[Any] | NDArray[Any]) -> list[float] | None:
    """Cells of text that hold nothing but numbers, which is quick; None where one of them needs a closer look."""
    try:
        if _PLAIN.fullmatch("".join(cells)):
            values = list(map(float, cells))
            return values if all(map(math.isfinite, values)) else None
    except (TypeError, ValueError):
        pass
    return None


def _folded(name: str) -> str:
    """A column's name without what writers of tables vary."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
