"""Spreadsheets of corpora: `.xlsx` and `.csv` files whose header may be in any of the first rows.

Columns are found by their names, ignoring case and blanks. Every fault is an `AnnotationError` with file and line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from affectkit.data.tables import Table, decode_text, parse_csv
from affectkit.data.workbooks import Grid, is_blank, read_workbook
from affectkit.errors import AnnotationError, DatasetNotFoundError

__all__ = ["COLUMNS", "Sheet", "find_sheets", "read_sheet"]

_SUFFIXES = frozenset({".xlsx", ".xlsm", ".csv"})

COLUMNS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "subject": frozenset({"subject", "subjects", "sub", "subid", "subjectid"}),
        "clip": frozenset({"filename", "file", "clip", "clipname"}),
        "onset": frozenset({"onsetframe", "onset", "onsetf"}),
        "apex": frozenset({"apexframe", "apex", "apexf"}),
        "offset": frozenset({"offsetframe", "offset", "offsetf"}),
        "units": frozenset({"actionunits", "actionunit", "aus", "au"}),
        "emotion": frozenset({"estimatedemotion", "emotion", "emotions"}),
        "objective": frozenset({"objectiveclasses", "objectiveclass"}),
        "inducement": frozenset({"inducementcode", "inducementcodes"}),
    }
)
"""Spellings of each column, without blanks and signs, in lower case."""

_HEADER_ROWS = 30  # searched for a header
_WHOLE = re.compile(r"([+-]?[0-9]{1,9})(?:\.0*)?")


@dataclass(frozen=True, eq=False)
class Sheet(Table):
    """The rows below the header of a sheet, by the column names of `COLUMNS`."""

    def cell(self, column: str, row: int) -> object:
        """A cell as in the file; None if it is blank or the column is absent."""
        value: object = self.columns[column][row] if column in self.columns else None
        return None if is_blank(value) else value

    def whole(self, column: str, row: int) -> int | None:
        """A cell as a whole number; None if it is blank.

        Raises:
            AnnotationError: The cell holds something else.
        """
        value = self.cell(column, row)
        if value is None:
            return None
        match = _WHOLE.fullmatch(unicodedata.normalize("NFKC", str(value)).strip())
        if match is None or not isinstance(value, (int, float, str)):
            fault = f"Column '{column}' holds {str(value)[:40]!r}, not a whole number."
            raise self.error(fault, row, remedy="Correct the cell, or get the original table.")
        return int(match[1])

    def required(self, column: str, row: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`.

        Raises:
            AnnotationError: The cell is blank or holds something else.
        """
        value = self.whole(column, row)
        if value is None or not low <= value <= high:
            fault = f"Column '{column}' is empty." if value is None else f"Column '{column}' holds {value}."
            raise self.error(fault, row, remedy=f"It must be a number from {low} to {high}.")
        return value


def find_sheets(root: Path, required: Sequence[str], names: Sequence[str]) -> list[Path]:
    """Candidates for a spreadsheet in a folder and in the folders in it, the best first; hidden files are left out.

    Args:
        root: The folder, or one spreadsheet.
        required: Its columns, see `read_sheet`.
        names: Regular expressions of its name in lower case, the best first. If no name matches, the candidates are
            the spreadsheets with the columns; if there are none, all spreadsheets, for the error of `read_sheet`.
    """
    paths = [root] if root.is_file() else [*root.glob("*"), *root.glob("*/*")]
    ranks = {}
    for path in paths:
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith((".", "~")) and path.is_file():
            places = [place for place, name in enumerate(names) if re.search(name, path.name.lower())]
            ranks[path] = min(places, default=len(names)), len(path.parts), str(path)
    files = sorted(ranks, key=lambda path: ranks[path])
    named = [path for path in files if ranks[path][0] < len(names)]
    return named or [path for path in files if _has_columns(path, required)] or files


def _has_columns(path: Path, required: Sequence[str]) -> bool:
    try:
        read_sheet(path, required)
    except AnnotationError:
        return False
    return True


def read_sheet(path: Path, required: Sequence[str]) -> Sheet:
    r"""Read the first sheet with all required columns.

    Args:
        path: A `.xlsx` file, or a `.csv` file (UTF-8, or UTF-16 with a byte-order mark; comma, semicolon or tab).
        required: Keys of `COLUMNS`; other columns of `COLUMNS` are optional.

    Returns:
        The rows below the header that are not blank. A merged cell counts in each of its rows.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: It is not a spreadsheet, lacks a column, or has one twice.

    Example:
        >>> path = getfixture("tmp_path") / "a.csv"
        >>> _ = path.write_text("some notes,\nSubject;File Name;AUs\n01;EP02_01f;4+7\n\n")
        >>> table = read_sheet(path, ["subject", "clip", "units"])
        >>> table.lines, table.text("units", 0)
        ([3], '4+7')
    """
    if not path.is_file():
        raise DatasetNotFoundError("This spreadsheet does not exist.", path=path, remedy="Check the path.")
    line, absent = 1, list(required)
    for grid in _csv_grids(path) if path.suffix.lower() == ".csv" else read_workbook(path).values():
        for place, (number, cells) in enumerate(grid[:_HEADER_ROWS]):
            names = [_column(cell) for cell in cells]
            lacking = [name for name in required if name not in names]
            if not lacking:
                return _read_rows(path, number, names, cells, grid[place + 1 :])
            if len(lacking) < len(absent):
                line, absent = number, lacking
    fault = f"No header has the columns {', '.join(required)}: {', '.join(absent)} missing."
    remedy = "Get the original table, or name its columns as in the original."
    raise AnnotationError(fault, path=path, line=line, remedy=remedy)


def _read_rows(
    path: Path, header: int, names: list[str | None], cells: Sequence[object], rows: Grid
) -> Sheet:
    places = {name: place for place, name in enumerate(names) if name is not None}
    for name in places:
        if names.count(name) > 1:
            twice = [repr(str(cell)) for cell, own in zip(cells, names, strict=True) if own == name]
            fault = f"Several columns are '{name}': {' and '.join(twice)}."
            raise AnnotationError(fault, path=path, line=header, remedy="Keep one of them.")
    # A header merged over two rows fills both of them.
    kept = [(line, row) for line, row in rows if [_column(cell) for cell in row] != names]
    for line, row in kept:
        if len(row) <= max(places.values()) or not all(map(is_blank, row[len(names) :])):
            raise AnnotationError(
                f"The line has {len(row)} {'cell' if len(row) == 1 else 'cells'}, the header {len(names)}.",
                path=path,
                line=line,
                remedy="Quote cells with commas; get a truncated table again.",
            )
    columns = {name: [row[place] for _, row in kept] for name, place in places.items()}
    return Sheet(path, columns, [line for line, _ in kept])


def _column(cell: object) -> str | None:
    """Key in `COLUMNS` of a header cell."""
    if not isinstance(cell, str):
        return None
    spelling = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", cell).casefold())
    return next((name for name, spellings in COLUMNS.items() if spelling in spellings), None)


def _csv_grids(path: Path) -> Iterator[Grid]:
    text = decode_text(path)
    for delimiter in ",;\t":
        yield [(line, row) for line, row in parse_csv(path, text, delimiter)]
