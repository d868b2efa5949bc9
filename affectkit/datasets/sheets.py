"""Spreadsheets as corpora distribute them: `.xlsx` and `.csv` files whose header may stand anywhere near the top.

Columns are found by their names, in any capitals and with any blanks in them, never by their places. Every fault
is an `AnnotationError` that names the file and the line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from affectkit.data.tables import Table, decode_text, parse_csv
from affectkit.data.workbooks import Grid, is_blank, read_workbook
from affectkit.errors import AnnotationError, DatasetNotFoundError

__all__ = ["COLUMNS", "SHEET_SUFFIXES", "Sheet", "find_sheets", "read_sheet", "sheet_files"]

SHEET_SUFFIXES = frozenset({".xlsx", ".xlsm", ".csv"})

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
"""The spellings of each column, without blanks and signs, in lower case."""

_HEADER_ROWS = 30  # how far down a header is looked for
_WHOLE = re.compile(r"([+-]?[0-9]{1,9})(?:\.0*)?")


@dataclass(frozen=True, eq=False)
class Sheet(Table):
    """The rows below the header of one sheet, by the column names of `COLUMNS`."""

    def cell(self, column: str, row: int) -> object:
        """A cell as the file holds it; `None` where it is blank or the column is absent."""
        if column not in self.columns:
            return None
        value: object = self.columns[column][row]
        return None if is_blank(value) else value

    def whole(self, column: str, row: int) -> int | None:
        """A cell as a whole number; `None` where it is blank.

        Raises:
            AnnotationError: It holds something else.
        """
        value = self.cell(column, row)
        if value is None:
            return None
        if not isinstance(value, bool) and isinstance(value, (int, float, str)):
            match = _WHOLE.fullmatch(unicodedata.normalize("NFKC", str(value)).strip())
            if match is not None:
                return int(match[1])
        raise self.error(
            f"Column '{column}' holds {_shown(value)}, not a whole number.",
            row,
            remedy="Correct the cell, or get the original table.",
        )

    def required(self, column: str, row: int, low: int, high: int) -> int:
        """A whole number that must be there, from `low` to `high`.

        Raises:
            AnnotationError: It is not.
        """
        value = self.whole(column, row)
        if value is None or not low <= value <= high:
            fault = f"Column '{column}' is empty." if value is None else f"Column '{column}' holds {value}."
            raise self.error(fault, row, remedy=f"It must be a number from {low} to {high}.")
        return value


def sheet_files(root: Path) -> list[Path]:
    """The spreadsheets in a folder and in the folders in it, sorted; hidden and lock files are left out.

    Args:
        root: The folder, or one spreadsheet.
    """
    if root.is_file():
        return [root]
    return sorted(
        path
        for pattern in ("*", "*/*")
        for path in root.glob(pattern)
        if path.suffix.lower() in SHEET_SUFFIXES and not path.name.startswith((".", "~")) and path.is_file()
    )


def find_sheets(root: Path, required: Sequence[str], names: Sequence[str]) -> list[Path]:
    """The spreadsheets that may be the one looked for, the best first.

    Args:
        root: A folder, or one spreadsheet.
        required: Columns that it has, see `read_sheet`.
        names: Regular expressions of its name in lower case, the best first. Where no name fits, every
            spreadsheet with the columns is a candidate; where none has them either, any one is, so that
            reading it says what is missing.
    """

    def rank(path: Path) -> tuple[int, int, str]:
        places = [place for place, name in enumerate(names) if re.search(name, path.name.lower())]
        return min(places, default=len(names)), len(path.parts), str(path)

    files = sorted(sheet_files(root), key=rank)
    named = [path for path in files if rank(path)[0] < len(names)]
    return named or [path for path in files if _fits(path, required)] or files


def _fits(path: Path, required: Sequence[str]) -> bool:
    try:
        read_sheet(path, required)
    except AnnotationError:
        return False
    return True


def read_sheet(path: Path, required: Sequence[str], *, sheet: str | None = None) -> Sheet:
    r"""Read the first sheet that has all the columns asked for.

    Args:
        path: A `.xlsx` file, or a `.csv` file (UTF-8 or, with its mark, UTF-16; comma, semicolon or tab).
        required: Keys of `COLUMNS`; its other columns are read where they are there.
        sheet: Name of the only sheet to look at, in any capitals.

    Returns:
        Every row below the header that is not blank. A cell of a workbook that is merged over several rows counts in
        each of them.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: It is no spreadsheet, lacks a column, or names one twice.

    Example:
        >>> path = getfixture("tmp_path") / "a.csv"
        >>> _ = path.write_text("some notes,\nSubject;File Name;AUs\n01;EP02_01f;4+7\n\n")
        >>> table = read_sheet(path, ["subject", "clip", "units"])
        >>> table.lines, table.text("units", 0)
        ([3], '4+7')
    """
    if not path.is_file():
        raise DatasetNotFoundError("This spreadsheet does not exist.", path=path, remedy="Check the path.")
    grids: Iterable[Grid] = (
        _csv_grids(path) if path.suffix.lower() == ".csv" else read_workbook(path, sheet).values()
    )
    nearest: tuple[int, list[str]] = (1, list(required))
    for grid in grids:
        for place, (line, cells) in enumerate(grid[:_HEADER_ROWS]):
            names = [_column(cell) for cell in cells]
            absent = [name for name in required if name not in names]
            if not absent:
                return _below(path, line, names, cells, grid[place + 1 :])
            if len(absent) < len(nearest[1]):
                nearest = (line, absent)
    line, absent = nearest
    raise AnnotationError(
        f"No header with the columns {', '.join(required)} is there: {', '.join(absent)} missing.",
        path=path,
        line=line,
        remedy="Get the original table, or name its columns as the original does.",
    )


def _below(path: Path, header: int, names: list[str | None], cells: Sequence[object], rows: Grid) -> Sheet:
    for name in dict.fromkeys(names):
        if name is not None and names.count(name) > 1:
            twice = " and ".join(
                repr(str(cell)) for cell, own in zip(cells, names, strict=True) if own == name
            )
            raise AnnotationError(
                f"Several columns are '{name}': {twice}.", path=path, line=header, remedy="Keep one of them."
            )
    places = {name: place for place, name in enumerate(names) if name is not None}
    # A header merged over two rows fills both of them.
    kept = [(line, row) for line, row in rows if [_column(cell) for cell in row] != names]
    for line, row in kept:
        if len(row) <= max(places.values()) or not all(map(is_blank, row[len(names) :])):
            raise AnnotationError(
                f"The line has {len(row)} cells, the header {len(names)}.",
                path=path,
                line=line,
                remedy="Quote cells that hold commas; where the table was cut off, get it again.",
            )
    columns = {name: [row[place] for _, row in kept] for name, place in places.items()}
    return Sheet(path, columns, [line for line, _ in kept])


def _column(cell: object) -> str | None:
    """The key of a header cell."""
    if not isinstance(cell, str):
        return None
    spelling = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", cell).casefold())
    return next((name for name, spellings in COLUMNS.items() if spelling in spellings), None)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _csv_grids(path: Path) -> Iterable[Grid]:
    text = decode_text(path)
    for delimiter in ",;\t":
        yield [(line, row) for line, row in parse_csv(path, text, delimiter)]
