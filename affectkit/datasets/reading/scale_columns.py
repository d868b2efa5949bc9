"""Columns of tables for continuous dimensions and for ordered levels."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from affectkit.data.tables import Table
from affectkit.errors import LabelSpaceError
from affectkit.facs.scales import VALENCE_AROUSAL, Dimensions, Levels

__all__ = ["dimension_labels", "level_labels"]

_WHOLE = re.compile(r"-?\d+(\.0*)?", re.ASCII)


def dimension_labels(table: Table) -> dict[str, tuple[str, Tensor]]:
    """Read the columns `valence` and `arousal`, from -1 to 1.

    Returns:
        Target "va" with its label space and values, float [rows, D], NaN if empty; nothing without such a column.

    Raises:
        AnnotationError: A cell is no number or out of range.
    """
    names = [name for name in VALENCE_AROUSAL.labels if name in table.columns]
    if not names:
        return {}
    values = table.numbers(names)
    outside = np.abs(values) > 1
    if outside.any():
        row, place = np.argwhere(outside)[0].tolist()
        fault = f"Column '{names[place]}' holds {values[row, place]:g}, which is not from -1 to 1."
        raise table.error(fault, row, remedy="Rescale the column to -1 … 1.")
    return {"va": (Dimensions(tuple(names)).name, torch.from_numpy(values))}


def level_labels(table: Table, order: str | None) -> dict[str, tuple[str, Tensor]]:
    """Read the column `level`: one level of an ordered scale per row.

    Args:
        table: The table.
        order: Comma list of all levels from the lowest to the highest; None for whole numbers, whose levels are those
            from the smallest to the largest in the table.

    Returns:
        Target "levels" with its label space and indices, int64 [rows], -1 if empty; nothing without such a column.

    Raises:
        AnnotationError: A cell is none of the levels, or words have no order.
    """
    words = [table.text("level", row) for row in range(len(table))]
    known = [(row, _spelled(word)) for row, word in enumerate(words) if word is not None]
    if not known:
        return {}
    if order is None:
        for row, word in known:
            if _WHOLE.fullmatch(word) is None:
                fault = f"The level is '{word}', and the order of the levels is unknown."
                remedy = "State it, as in `levels: low,medium,high` (--levels low,medium,high), or write whole numbers."
                raise table.error(fault, row, remedy=remedy)
        numbers = [int(word) for _, word in known]
        order = ",".join(map(str, range(min(numbers), max(numbers) + 1)))
    try:
        space = Levels.parse(f"levels:{order}")
    except LabelSpaceError as error:
        raise table.error(f"Column 'level': {error.fault}", remedy=error.remedy) from error
    indices = torch.full((len(table),), -1)
    for row, word in known:
        if word not in space.levels:
            raise table.error(
                f"The level is '{word}'.", row, remedy=f"Write one of {', '.join(space.levels)}, or nothing."
            )
        indices[row] = space.levels.index(word)
    return {"levels": (space.name, indices)}


def _spelled(word: str) -> str:
    """A level in lower case with single spaces; `2.0` is `2`."""
    plain = " ".join(word.casefold().split())
    return plain.partition(".")[0] if _WHOLE.fullmatch(plain) else plain
