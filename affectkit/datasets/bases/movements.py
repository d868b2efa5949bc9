"""Rows of the coding tables of micro-expressions: subject, units and key frames of each movement."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from affectkit.datasets.reading.sheets import Sheet
from affectkit.facs.coding import Coding, parse_coding
from affectkit.facs.expressions import ExpressionSet, canonical_expression

__all__ = ["MOVEMENT_COLUMNS", "Movement", "objective_of", "read_movements"]

MOVEMENT_COLUMNS = ("subject", "clip", "onset", "apex", "offset", "units", "emotion")

_NO_APEX = frozenset({"/", "nan", "-1", "0"})
_LONGEST = 200  # frames, one second; the longest published movement has 141
_LAST_FRAME = 9_999_999
_MISPLACED = 0.2  # share of apices outside of their movements above which columns must be exchanged


@dataclass(frozen=True, slots=True)
class Movement:
    """One row.

    Args:
        person: Number of the subject.
        clip: Name of the clip, unique for the subject.
        onset: Number of the first frame, as in file names; None if the movement is all frames on disk.
        apex: Number of the strongest frame; None if unknown.
        offset: Number of the last frame.
        no_apex: Reason why `apex` is None.
        au: Coded units; None if the corpus codes none.
        emotion: The corpus's word; None if the cell is empty.
        objective: Objective class, 1 to 7, by its source: "file" or "column".
        line: Line of the row; None if it is not in the table.
    """

    person: int
    clip: str
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    no_apex: str | None = None
    au: Coding | None = None
    emotion: str | None = None
    objective: Mapping[str, int] = field(default_factory=dict)
    line: int | None = None


def read_movements(
    sheet: Sheet, *, person: Callable[[Sheet, int], int], clip: re.Pattern[str], emotions: ExpressionSet
) -> list[Movement]:
    """Parse every row of a coding table.

    Args:
        sheet: Columns `MOVEMENT_COLUMNS` and, optionally, "objective".
        person: Reads the number of the subject of a row.
        clip: Form of the names of clips.
        emotions: Words of the corpus.

    Raises:
        AnnotationError: A cell is invalid, a clip is listed twice, or so many apices are outside of their movements
            that columns must be exchanged.
    """
    if len(sheet) == 0:
        raise sheet.error("The table has no rows.", remedy="Get the original table.")
    rows = [_movement(sheet, row, person(sheet, row), clip, emotions) for row in range(len(sheet))]
    first: dict[tuple[int, str], Movement] = {}
    for row, movement in enumerate(rows):
        other = first.setdefault((movement.person, movement.clip.casefold()), movement)
        if other is not movement:
            fault = f"The clip {movement.clip} of this subject is in line {other.line} too."
            raise sheet.error(fault, row, remedy="Keep the correct row.")
    outside = [row for row, movement in enumerate(rows) if (movement.no_apex or "").endswith("offset")]
    if len(outside) > max(2, _MISPLACED * len(rows)):
        raise sheet.error(
            f"The apex is not between onset and offset in {len(outside)} of {len(rows)} rows, first in this one.",
            outside[0],
            remedy="Columns seem to be exchanged: get the original table.",
        )
    return rows


def _movement(
    sheet: Sheet, row: int, person: int, clip: re.Pattern[str], emotions: ExpressionSet
) -> Movement:
    name, emotion = sheet.text("clip", row) or "", sheet.text("emotion", row)
    if clip.fullmatch(name) is None:
        fault = f"Column 'clip' holds {name[:40]!r}, which is not the name of a clip."
        raise sheet.error(fault, row, remedy="Correct the cell, or get the original table.")
    onset = sheet.required("onset", row, 1, _LAST_FRAME)
    offset = sheet.required("offset", row, 1, _LAST_FRAME)
    if not 0 <= offset - onset < _LONGEST:
        remedy = f"A micro-expression ends after its onset and has fewer than {_LONGEST} frames."
        raise sheet.error(f"The movement goes from frame {onset} to frame {offset}.", row, remedy=remedy)
    if emotion is not None and canonical_expression(emotion) not in emotions.classes:
        remedy = f"Words of this corpus are: {', '.join(emotions.classes)}."
        raise sheet.error(f"Column 'emotion' holds {emotion[:40]!r}.", row, remedy=remedy)
    text, apex, no_apex = sheet.text("apex", row), None, None
    if text is None or text.casefold() in _NO_APEX:
        no_apex = "the cell is empty" if text is None else f"the cell holds '{text}'"
    else:
        apex = sheet.whole("apex", row)
        if apex is None or not onset <= apex <= offset:
            apex, no_apex = None, f"frame {apex} is not between onset and offset"
    units = sheet.cell("units", row)
    if isinstance(units, (int, float)) and not isinstance(units, bool):
        # Written out: 1e+08 would be parsed as a unit with a grade, plus another unit.
        units = f"{units:.6f}".rstrip("0").rstrip(".")
    objective = objective_of(sheet, row)
    return Movement(
        person=person,
        clip=name,
        onset=onset,
        apex=apex,
        offset=offset,
        no_apex=no_apex,
        au=parse_coding(units, path=sheet.path, line=sheet.lines[row]),
        emotion=emotion,
        objective={} if objective is None else {"column": objective},
        line=sheet.lines[row],
    )


def objective_of(sheet: Sheet, row: int) -> int | None:
    """Objective class of a row, 1 to 7; None if its cell is empty."""
    return None if sheet.cell("objective", row) is None else sheet.required("objective", row, 1, 7)
