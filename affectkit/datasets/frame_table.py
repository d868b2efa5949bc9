"""Labels of single frames in a table, one's own or of OpenFace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from affectkit.data.tables import Table
from affectkit.datasets.unit_columns import is_unit_column, like_annotation, unit_labels

__all__ = ["FrameTable"]

_NAMES = ("frame", "face_id", "confidence", "success")
_LANDMARKS = [f"{axis}{point}" for point in range(68) for axis in "xy"]
_OPENFACE_LANDMARKS = [f"{axis}_{point}" for point in range(68) for axis in "xy"]


class FrameTable:
    """Labels of single frames: a table with a column `frame` and a row a frame.

    A table with the columns `frame`, `confidence` and `success` is one of OpenFace: its frames count from 1, and a row
    whose success or confidence is 0 says nothing. Landmarks are `x0 … y67`, or OpenFace's `x_0 … y_67`.

    Args:
        table: The table.

    Attributes:
        labels: Under "au" and "intensity" the label space and the values, float [rows, A], NaN where empty.
        points: Landmarks float [rows, 68, 2], or None where the table has none.
        unread: Columns that look like annotation and are not read.

    Raises:
        AnnotationError: Frames are not numbered, or twice; a cell holds no valid label.
    """

    def __init__(self, table: Table) -> None:
        table = table.with_names(_NAMES)
        openface = {"frame", "confidence", "success"} <= table.columns.keys()
        if openface:
            table = _without_filling(table)
        self.labels = unit_labels(table)
        self.points: Tensor | None = None
        for names in (_LANDMARKS, _OPENFACE_LANDMARKS):
            if table.columns.keys() >= set(names):
                self.points = torch.from_numpy(table.numbers(names)).reshape(-1, 68, 2)
        unread = like_annotation(table.columns, frames=True)
        # The probabilities `AU01_p` that affectkit adds to OpenFace's columns need no warning.
        self.unread = tuple(name for name in unread if not (openface and name.endswith("_p")))
        if openface:
            self._mask(_failed(table))
        self._row_of = _rows_by_frame(table, 1 if openface else 0)
        self.table = replace(table, columns={})  # what is left serves to name file and line

    def take(self, values: Tensor, frames: Sequence[int]) -> Tensor:
        """The rows of the given frames, float [T, ...]; NaN for a frame without a row.

        Args:
            values: float [rows, ...].
            frames: T frame numbers.
        """
        rows = torch.tensor([self._row_of.get(frame, -1) for frame in frames], dtype=torch.int64)
        there = (rows >= 0).reshape(-1, *[1] * (values.dim() - 1))
        return torch.where(there, values[rows], torch.nan)

    @property
    def frames(self) -> Sequence[int]:
        """The frames that have a row, from 0, in ascending order."""
        return sorted(self._row_of)

    def _mask(self, rows: Tensor) -> None:
        for _, values in self.labels.values():
            values[rows] = torch.nan
        if self.points is not None:
            self.points[rows] = torch.nan


def _failed(table: Table) -> Tensor:
    """The rows in which OpenFace found no face, bool [rows]."""
    success = torch.from_numpy(table.numbers(["success"], flags=True))[:, 0]
    confidence = torch.from_numpy(table.numbers(["confidence"]))[:, 0]
    return ~(success > 0) | (confidence == 0)


def _rows_by_frame(table: Table, first: int) -> dict[int, int]:
    """Row of each frame, from 0.

    Args:
        table: Has a column `frame`.
        first: The number of the first frame.
    """
    row_of: dict[int, int] = {}
    remedy = f"Number each frame once in a column 'frame', from {first}."
    if first:
        remedy += " Of an OpenFace table with several faces, keep the rows of one face_id."
    for row in range(len(table)):
        frame = table.count("frame", row)
        if frame is None:
            fault = "The frame has no number."
        elif frame < first:
            fault = f"Frame {frame} comes before the first one, {first}."
        elif row_of.setdefault(frame - first, row) != row:
            fault = f"Frame {frame} is there twice."
        else:
            continue
        raise table.error(fault, row, remedy=remedy)
    return row_of


def _without_filling(table: Table) -> Table:
    """Leave out the columns that affectkit filled in for units which its model does not predict."""
    try:
        metadata = json.loads(table.path.with_suffix(".json").read_text(encoding="utf-8"))
        if "units_not_predicted" not in metadata:
            return table
        predicted = {name for head in metadata["heads"].values() for name in head["columns"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return table  # no metadata, or not ours
    kept = {f"{name}_c" for name in predicted} | {name.replace("_i", "_r") for name in predicted}
    columns = {
        name: cells for name, cells in table.columns.items() if name in kept or not is_unit_column(name)
    }
    return replace(table, columns=columns)
