"""Labels in tables: columns named after action units, and tables with one row per frame (own ones or OpenFace's)."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from affectkit.data.tables import Table
from affectkit.datasets.reading.scale_columns import dimension_labels
from affectkit.errors import LabelSpaceError
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["FrameTable", "is_unit_column", "like_annotation", "similar_column", "unit_labels"]

_COLUMN = re.compile(r"AU[ _-]?(?P<unit>\d{1,2}[LR]?)([ _-](?P<way>[CIR]))?", re.ASCII | re.IGNORECASE)
_LIKE_UNIT = re.compile(r"au[\W_]*\d", re.ASCII | re.IGNORECASE)
_SYNONYMS = {  # other names of the columns of a table of clips, as regular expressions
    "expression": "emotions?|emotion_label|expressions|facial_expression|label|class",
    "au": "aus|action_units?|facs",
    "subject": "subjects|subject_?id|participant(_id)?|person(_id)?",
    "split": "set|subset|partition",
    "level": "levels|engagement|severity",
}
_NAMES = ("frame", "face_id", "confidence", "success", "valence", "arousal")


def is_unit_column(name: str) -> bool:
    """Whether a column has the name of an action unit.

    Example:
        >>> is_unit_column("au_4"), is_unit_column("AU12_i"), is_unit_column("AU1x")
        (True, True, False)
    """
    return _COLUMN.fullmatch(name) is not None


def like_annotation(columns: Collection[str], *, frames: bool = False) -> tuple[str, ...]:
    """Columns that look like annotation, but have a name that is not read.

    Args:
        columns: Names of all columns of the table.
        frames: Whether the table has one row per frame, not per clip.

    Example:
        >>> like_annotation(["path", "AU01", "AU1x", "emotion", "notes"])
        ('AU1x', 'emotion')
    """
    others = ["expression", "au"] if frames else []
    names = others or [name for name in _SYNONYMS if name not in columns]
    words = re.compile("|".join([*others, *(_SYNONYMS[name] for name in names)]))
    return tuple(
        name
        for name in columns
        if (_LIKE_UNIT.match(name) and not is_unit_column(name))
        or words.fullmatch(re.sub(r"[\s-]+", "_", name.casefold()))
    )


def similar_column(name: str, names: Collection[str]) -> str | None:
    """The column that a name may mean: by a synonym, as a unit, or as a misspelling.

    Args:
        name: A name that is not read.
        names: Names that are read and that the table lacks.

    Example:
        >>> [similar_column(name, ["expression", "valence"]) for name in ("emotion", "valance", "AU1x", "notes")]
        ['expression', 'valence', 'AU01', None]
    """
    word = re.sub(r"[\s-]+", "_", name.casefold())
    synonyms = (key for key, words in _SYNONYMS.items() if key in names and re.fullmatch(words, word))
    if (found := next(synonyms, None)) is not None:
        return found
    if _LIKE_UNIT.match(name):
        return f"AU{int(re.findall(r'[0-9]+', name)[0]):02d}"
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=0.75)), None)


def unit_labels(table: Table) -> dict[str, tuple[str, Tensor]]:
    """Read the columns named after action units.

    Args:
        table: Columns `AU12`, `AU12L`, `AU12_c` hold 0 or 1, false or true (target "au"); `AU12_i`, `AU12_r` hold 0 to
            5 ("intensity"). Case, leading zeros and a sign after `AU` are ignored: `au_4` is `AU04`.

    Returns:
        Label space and values of each target with a column, float [rows, A], NaN if empty.

    Raises:
        AnnotationError: A cell is invalid, FACS has no such unit, two columns are of one unit, or `AU12_R` may be the
            right side or an intensity.
    """
    found: dict[str, dict[ActionUnit, str]] = {}
    for column, match in ((column, _COLUMN.fullmatch(column)) for column in table.columns):
        if match is None:
            continue
        if match["way"] == "R" and column.startswith("AU"):
            fault = f"Column '{column}' may be the right side of a unit or an intensity."
            raise table.error(fault, remedy=f"Rename it {column[:-2]}R or {column[:-2]}_r.")
        try:
            unit = ActionUnit.parse(match["unit"])
        except LabelSpaceError as error:
            raise table.error(f"Column '{column}': {error.fault}", remedy=error.remedy) from error
        target = found.setdefault("intensity" if match["way"] in tuple("iIrR") else "au", {})
        if target.setdefault(unit, column) != column:
            fault = f"Columns '{target[unit]}' and '{column}' are the same unit."
            raise table.error(fault, remedy="Keep one.")
    labels = {}
    for name, columns in found.items():
        values = table.numbers(list(columns.values()), flags=name == "au")
        right = (values >= 0) & (values <= 5) if name == "intensity" else (values == 0) | (values == 1)
        if not (right | np.isnan(values)).all():
            row, place = np.argwhere(~right & ~np.isnan(values))[0].tolist()
            fault = f"Column '{list(columns.values())[place]}' holds {values[row, place]:g}."
            remedy = f"Write {'0 to 5' if name == 'intensity' else '0 or 1'}, or nothing if it is unknown."
            raise table.error(fault, row, remedy=remedy)
        units = AUSet(tuple(columns))
        labels[name] = (
            (units.as_intensity() if name == "intensity" else units).name,
            torch.from_numpy(values),
        )
    return labels


class FrameTable:
    """Labels of frames: a table with a column `frame` and one row per frame.

    A table with the columns `frame`, `confidence` and `success` is one of OpenFace: its frames count from 1, and rows
    with success or confidence 0 are masked. Landmarks are `x0 … y67`, or OpenFace's `x_0 … y_67`.

    Args:
        table: The table.

    Attributes:
        labels: Label space and values of "au", "intensity" and "va", float [rows, A], NaN if empty.
        points: Landmarks float [rows, 68, 2], or None.
        frames: Frames with a row, from 0, ascending.
        unread: Columns that look like annotation and are not read.

    Raises:
        AnnotationError: A frame has no number or two rows, or a cell is not a valid label.
    """

    def __init__(self, table: Table) -> None:
        table = table.with_names(_NAMES)
        openface = {"frame", "confidence", "success"} <= table.columns.keys()
        if openface:
            table = _without_filling(table)
        self.labels = {**unit_labels(table), **dimension_labels(table)}
        self.points: Tensor | None = None
        for form in ("{}{}", "{}_{}"):
            names = [form.format(axis, point) for point in range(68) for axis in "xy"]
            if table.columns.keys() >= set(names):
                self.points = torch.from_numpy(table.numbers(names)).reshape(-1, 68, 2)
        unread = like_annotation(table.columns, frames=True)
        # affectkit adds the probabilities `AU01_p` to OpenFace's columns.
        self.unread = tuple(name for name in unread if not (openface and name.endswith("_p")))
        if openface:
            success = torch.from_numpy(table.numbers(["success"], flags=True))[:, 0]
            confidence = torch.from_numpy(table.numbers(["confidence"]))[:, 0]
            for values in (*(values for _, values in self.labels.values()), self.points):
                if values is not None:
                    values[~(success > 0) | (confidence == 0)] = torch.nan
        self._row_of = _rows_by_frame(table, int(openface))
        self.frames = sorted(self._row_of)
        self.table = replace(table, columns={})  # for errors, which need file and lines only

    def take(self, values: Tensor, frames: Sequence[int]) -> Tensor:
        """Rows of frames, float [T, ...], NaN for a frame without a row.

        Args:
            values: float [rows, ...].
            frames: T frame numbers.
        """
        rows = torch.tensor([self._row_of.get(frame, -1) for frame in frames], dtype=torch.int64)
        there = (rows >= 0).reshape(-1, *[1] * (values.dim() - 1))
        return torch.where(there, values[rows], torch.nan)


def _rows_by_frame(table: Table, first: int) -> dict[int, int]:
    """Row of each frame, from 0; `first` is the number of the first frame in the table."""
    row_of: dict[int, int] = {}
    remedy = f"Number each frame once in a column 'frame', from {first}."
    if first:
        remedy += " Of an OpenFace table with several faces, keep the rows of one face_id."
    for row in range(len(table)):
        frame = table.count("frame", row)
        if frame is None:
            raise table.error("The frame has no number.", row, remedy=remedy)
        if frame < first:
            raise table.error(f"Frame {frame} comes before the first one, {first}.", row, remedy=remedy)
        if row_of.setdefault(frame - first, row) != row:
            raise table.error(f"Frame {frame} is listed twice.", row, remedy=remedy)
    return row_of


def _without_filling(table: Table) -> Table:
    """Remove the columns that affectkit filled in for units that its model does not predict."""
    try:
        metadata = json.loads(table.path.with_suffix(".json").read_text(encoding="utf-8"))
        if isinstance(
            name := metadata.get("shared"), str
        ):  # tables of a folder share the rest of their metadata
            metadata |= json.loads(table.path.with_name(Path(name).name).read_text(encoding="utf-8"))
        if "units_not_predicted" not in metadata:
            return table
        predicted = {name for head in metadata["heads"].values() for name in head["columns"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return table  # no metadata of affectkit
    kept = {f"{name}_c" for name in predicted} | {name.replace("_i", "_r") for name in predicted}
    columns = {
        name: cells for name, cells in table.columns.items() if name in kept or not _COLUMN.fullmatch(name)
    }
    return replace(table, columns=columns)
