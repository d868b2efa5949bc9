"""Annotation tables from text, Excel and Parquet files, with errors that name the line."""

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

# Placeholders of other programs for an empty cell. `none` is an ordinary word.
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

    Empty cells read as None (not annotated): blank text, null, NaN, and the placeholders `NA`, `N/A`, `#N/A`, `nan` and
    `null`. Methods that read numbers raise `AnnotationError` for other content.

    Args:
        path: The file.
        columns: Cells of each column, of equal length.
        lines: Line of each row in the file, from 1 (Parquet: row number).
        decimal_comma: Whether numbers may be written as 3,5.
    """

    path: Path
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    lines: Sequence[int]
    decimal_comma: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, fault: str, row: int | None = None, *, remedy: str | None = None) -> AnnotationError:
        """Create an error that names the file and the line of `row` (of the header, if None)."""
        line = 1 if row is None else self.lines[row]
        return AnnotationError(fault, path=self.path, line=line, remedy=remedy)

    def with_names(self, names: Collection[str]) -> Table:
        """Rename columns to the spelling in `names`, ignoring case, spaces, underscores and hyphens.

        Raises:
            AnnotationError: Two columns get the same name.
        """
        spellings = {_fold(name): name for name in names}
        columns: dict[str, Any] = {}
        for column, cells in self.columns.items():
            name = spellings.get(_fold(column), column)
            if name in columns:
                raise self.error(f"Columns are named twice: {name}, {column}.", remedy="Rename one.")
            columns[name] = cells
        return replace(self, columns=columns)

    def text(self, column: str, row: int) -> str | None:
        """Return a cell as stripped text; None if it is empty or the column is absent."""
        if column not in self.columns:
            return None
        cell = self.columns[column][row]
        text = "" if is_blank(cell) else str(cell).strip()
        return None if text in _EMPTY else text

    def number(self, column: str, row: int, *, flag: bool = False) -> float | None:
        """Return a cell as a finite number; with `flag`, true and yes are 1, false and no are 0."""
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
                remedy="Write numbers with a decimal point, as 3.5, and leave unknown cells empty.",
            )
        return float(plain)

    def count(self, column: str, row: int) -> int | None:
        """Return a cell as a non-negative whole number."""
        value = self.number(column, row)
        if value is None:
            return None
        if value < 0 or value != int(value):
            raise self.error(
                f"Column '{column}' holds {value:g}, not a whole number from 0.",
                row,
                remedy="Leave unknown cells empty.",
            )
        return int(value)

    def numbers(self, columns: Sequence[str], *, flags: bool = False) -> NDArray[np.float32]:
        """Return whole columns as numbers, float32 [rows, columns], NaN where empty; for `flags` see `number`."""
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

    Text files (`.csv`, `.tsv`, `.txt`) are UTF-8, or UTF-16 with byte-order mark. The delimiter is whichever of comma,
    semicolon and tab gives the most header columns; with semicolons, numbers may have a decimal comma. Of a workbook
    (`.xlsx`), the first non-blank sheet is read; a cell merged over several rows counts in each of them. Blank lines,
    and blank cells beyond the header, are skipped.

    Args:
        path: A file of one of these kinds, or `.parquet`.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: The file is not a table, has no row, a duplicate column, or a line shorter than the header.
    """
    if not path.is_file():
        raise DatasetNotFoundError("This table does not exist.", path=path, remedy="Check the path.")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        text = decode_text(path)
        delimiter = max(_DELIMITERS, key=lambda one: _count_columns(text, one))
        table = _read_rows(path, list(parse_csv(path, text, delimiter)), _DELIMITERS[delimiter])
        table = replace(table, decimal_comma=delimiter == ";")
    elif suffix in (".xlsx", ".xlsm"):
        grid = next(filter(None, read_workbook(path).values()), [])
        # A header merged over two rows fills both of them.
        rows = [*grid[:1], *(row for row in grid[1:] if row[1] != grid[0][1])]
        table = _read_rows(path, rows, "commas")
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
    """Read a text file: UTF-8, or UTF-16 with byte-order mark.

    Raises:
        AnnotationError: The file has another encoding.
    """
    content = path.read_bytes()
    coding = "utf-16" if content.startswith(_MARKS) else "utf-8-sig"
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as error:
        fault, before = f"The text is not {coding.upper().removesuffix('-SIG')}.", content[: error.start]
    else:
        if "\0" not in text:
            return text
        fault, before = "The text holds NUL characters: it is not UTF-8.", text.partition("\0")[0].encode()
    raise AnnotationError(
        fault,
        path=path,
        line=before.count(b"\n") + 1,
        remedy='Save the table as UTF-8 (in Excel: "CSV UTF-8").',
    )


def parse_csv(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Split text into non-blank rows, each with the line number from 1.

    Args:
        path: Source of the text, for error messages.
        text: Lines of cells.
        delimiter: Separator of cells.

    Raises:
        AnnotationError: A quote is not closed or is inside a cell.
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


def _count_columns(text: str, delimiter: str) -> int:
    """Number of header columns with a delimiter."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return next((width for row in rows if (width := sum(bool(cell.strip()) for cell in row))), 0)


def _read_rows(path: Path, grid: Sequence[tuple[int, Sequence[Any]]], delimiter: str) -> Table:
    """Build a table from rows, of which the first is the header."""
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
    """Fast path for text cells that are all finite numbers; None if a cell needs a closer look."""
    try:
        if _PLAIN.fullmatch("".join(cells)):
            values = list(map(float, cells))
            return values if all(map(math.isfinite, values)) else None
    except (TypeError, ValueError):
        pass
    return None


def _fold(name: str) -> str:
    """Column name without case and kind of separator."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
