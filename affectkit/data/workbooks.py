"""Cells of `.xlsx` workbooks, with vertically merged cells filled down."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from affectkit.errors import AnnotationError

__all__ = ["Grid", "is_blank", "read_workbook"]

Grid = list[tuple[int, Sequence[object]]]
"""Non-blank rows of equal length, with row numbers from 1."""

_MOST_ROWS = 100_000  # more than any corpus has; a damaged file may claim a million


def is_blank(cell: object) -> bool:
    """Check whether a cell is empty, NaN or blank text."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def read_workbook(path: Path, sheet: str | None = None) -> dict[str, Grid]:
    """Read the values of all cells.

    A cell merged over several rows holds its value in each of them, in the first column of the merged range; rows that
    are otherwise blank are skipped.

    Args:
        path: The `.xlsx` file.
        sheet: Title of the only sheet to read, in any case.

    Returns:
        Sheet titles and grids.

    Raises:
        AnnotationError: The file cannot be read.
    """
    import openpyxl  # type: ignore[import-untyped]

    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about styles and extensions
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            grids = {}
            for page in book.worksheets:
                if sheet is None or page.title.strip().casefold() == sheet.casefold():
                    page.reset_dimensions()  # the stated size may be wrong
                    grids[page.title] = _read_grid(page.iter_rows(values_only=True))
            with zipfile.ZipFile(file) as archive:
                parts = [name for name in archive.namelist() if name.endswith(".xml")]
                has_merged = any(b"mergeCell" in archive.read(name) for name in parts)
            if has_merged:  # read-only workbooks do not list merged cells
                whole = openpyxl.load_workbook(file, data_only=True)
                for title, grid in grids.items():
                    for area in whole[title].merged_cells.ranges:
                        _fill_down(grid, area.min_col - 1, area.min_row, area.max_row)
    except Exception as fault:  # openpyxl passes on whatever its XML parser raises
        raise AnnotationError(
            f"The spreadsheet cannot be read ({type(fault).__name__}: {fault}).",
            path=path,
            line=1,
            remedy="Get the file again, or save it as .xlsx once more.",
        ) from fault
    return grids


def _read_grid(rows: Iterable[Sequence[object]]) -> Grid:
    grid = []
    for line, row in enumerate(rows, start=1):
        if line > _MOST_ROWS:
            raise ValueError(f"more than {_MOST_ROWS} rows")
        if not all(map(is_blank, row)):
            grid.append((line, row))
    # Blank cells at the end of a row are not stored.
    width = max((len(row) for _, row in grid), default=0)
    return [(line, [*row, *[None] * (width - len(row))]) for line, row in grid]


def _fill_down(grid: Grid, column: int, first: int, last: int) -> None:
    """Copy the top cell of a merged range to the rows below it."""
    value = next((row[column] for line, row in grid if line == first and column < len(row)), None)
    for place, (line, row) in enumerate(grid):
        if first < line <= last and value is not None:
            grid[place] = (line, [*row[:column], value, *row[column + 1 :]])
