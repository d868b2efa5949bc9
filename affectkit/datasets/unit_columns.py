"""Columns of tables that are named after action units, in the spellings that people and OpenFace use."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from affectkit.data.tables import Table
from affectkit.errors import LabelSpaceError
from affectkit.facs.sets import AUSet
from affectkit.facs.units import ActionUnit

__all__ = ["is_unit_column", "like_annotation", "unit_labels"]

_COLUMN = re.compile(r"AU[ _-]?(?P<unit>\d{1,2}[LR]?)([ _-](?P<way>[CIR]))?", re.ASCII | re.IGNORECASE)
_LIKE_UNIT = re.compile(r"au[\W_]*\d", re.ASCII | re.IGNORECASE)
_OTHER_WORDS = {  # what people call the columns that a table of clips may have
    "expression": (
        "emotion",
        "emotions",
        "emotion_label",
        "expressions",
        "facial_expression",
        "label",
        "class",
    ),
    "au": ("aus", "action_unit", "action_units", "facs"),
    "subject": (
        "subjects",
        "subject_id",
        "subjectid",
        "participant",
        "participant_id",
        "person",
        "person_id",
    ),
    "split": ("set", "subset", "partition"),
}


def is_unit_column(name: str) -> bool:
    """Whether a column's name is that of an action unit."""
    return _COLUMN.fullmatch(name) is not None


def like_annotation(columns: Collection[str], *, frames: bool = False) -> tuple[str, ...]:
    """Columns that look like annotation, but have no name under which a table is read.

    Args:
        columns: The names of all columns of the table.
        frames: Whether the table has a row a frame and not a row a clip.

    Example:
        >>> like_annotation(["path", "AU01", "AU1x", "emotion", "notes"])
        ('AU1x', 'emotion')
    """
    if frames:
        words = {word for name in ("expression", "au") for word in (name, *_OTHER_WORDS[name])}
    else:
        words = {word for name, others in _OTHER_WORDS.items() if name not in columns for word in others}
    return tuple(
        name
        for name in columns
        if (_LIKE_UNIT.match(name) and not is_unit_column(name))
        or re.sub(r"[\s-]+", "_", name.casefold()) in words
    )


def unit_labels(table: Table) -> dict[str, tuple[str, Tensor]]:
    """Read the columns named after action units.

    Args:
        table: Columns `AU12`, `AU12L`, `AU12_c` hold 0 or 1, false or true (target "au"); `AU12_i`, `AU12_r` hold 0 to
            5 ("intensity"). Capitals, leading zeros and a sign behind `AU` do not matter: `au_4` is `AU04`.

    Returns:
        For each target that has a column, the label space and the values, float [rows, A], NaN where empty.

    Raises:
        AnnotationError: A cell holds anything else, FACS has no such unit, two columns are of one unit, or `AU12_R`
            may be the right side or an intensity.
    """
    found: dict[str, dict[ActionUnit, str]] = {}
    for column in table.columns:
        match = _COLUMN.fullmatch(column)
        if match is None:
            continue
        if match["way"] == "R" and column.startswith("AU"):
            raise table.error(
                f"Column '{column}' may be the right side of a unit or an intensity.",
                remedy=f"Rename it {column[:-2]}R or {column[:-2]}_r.",
            )
        try:
            unit = ActionUnit.parse(match["unit"])
        except LabelSpaceError as error:
            raise table.error(f"Column '{column}': {error.fault}", remedy=error.remedy) from error
        target = found.setdefault("intensity" if match["way"] in tuple("iIrR") else "au", {})
        if target.setdefault(unit, column) != column:
            raise table.error(
                f"Columns '{target[unit]}' and '{column}' are the same unit.", remedy="Keep one."
            )
    labels = {}
    for name, columns in found.items():
        values = table.numbers(list(columns.values()), flags=name == "au")
        wrong = (values < 0) | (values > 5) if name == "intensity" else (values != 0) & (values != 1)
        if (wrong & ~np.isnan(values)).any():
            row, place = np.argwhere(wrong & ~np.isnan(values))[0].tolist()
            raise table.error(
                f"Column '{list(columns.values())[place]}' holds {values[row, place]:g}.",
                row,
                remedy=f"Write {'0 to 5' if name == 'intensity' else '0 or 1'}, nothing where it is unknown.",
            )
        units = AUSet(tuple(columns))
        space = units.as_intensity() if name == "intensity" else units
        labels[name] = (space.name, torch.from_numpy(values))
    return labels
