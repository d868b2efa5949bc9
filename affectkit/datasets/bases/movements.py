"""Rows of the coding tables of micro-expressions: who moved what, from which frame to which."""

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
_LONGEST = 200  # frames, a second; the longest of the published movements has 141
_LAST_FRAME = 9_999_999
_MISPLACED = 0.2  # share of apices outside of onset to offset from which the columns must be wrong


@dataclass(frozen=True, slots=True)
class Movement:
    """One row.

    Args:
        person: Number of the subject.
        clip: Name of the clip, unique for the subject.
        onset: Number of the first frame, as in file names; None where the movement is all that is on disk.
        apex: Number of the strongest frame, None where it is not known.
        offset: Number of the last frame.
        no_apex: Why `apex` is None.
        au: The units as coded; None where the corpus codes none.
        emotion: The corpus's word, None where the cell is empty.
        objective: Objective class, 1 to 7, by where it is written: "file" or "column".
        line: Line of the row; None for one that is not in the table.
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
        sheet: Columns `MOVEMENT_COLUMNS`, and "objective" where it is there.
        person: Reads the number of the subject of a row.
        clip: What the name of a clip looks like.
        emotions: The words that the corpus uses.

    Raises:
        AnnotationError: A cell cannot be read without guessing, a clip is there twice, or so many apices lie
            outside of their movements that columns must have been exchanged.
    """
    if len(sheet) == 0:
        raise sheet.error("The table has no row.", remedy="Get the original table.")
    rows = [_movement(sheet, row, person(sheet, row), clip, emotions) for row in range(len(sheet))]
    first: dict[tuple[int, str], Movement] = {}
    for row, movement in enumerate(rows):
        other = first.setdefault((movement.person, movement.clip.casefold()), movement)
        if other is not movement:
            raise sheet.error(
                f"The clip {movement.clip} of this subject stands in line {other.line} already.",
                row,
                remedy="Keep the row that is right.",
            )
    outside = [row for row, movement in enumerate(rows) if (movement.no_apex or "").endswith("offset")]
    if len(outside) > max(2, _MISPLACED * len(rows)):
        raise sheet.error(
            f"In {len(outside)} of {len(rows)} rows the apex is not between onset and offset; the first is here.",
            outside[0],
            remedy="Columns seem to have changed places: get the original table.",
        )
    return rows


def _movement(
    sheet: Sheet, row: int, person: int, clip: re.Pattern[str], emotions: ExpressionSet
) -> Movement:
    name = sheet.text("clip", row) or ""
    if clip.fullmatch(name) is None:
        raise sheet.error(
            f"Column 'clip' holds {name[:40]!r}, which is not the name of a clip.",
            row,
            remedy="Correct the cell, or get the original table.",
        )
    onset = sheet.required("onset", row, 1, _LAST_FRAME)
    offset = sheet.required("offset", row, 1, _LAST_FRAME)
    if not 0 <= offset - onset < _LONGEST:
        raise sheet.error(
            f"The movement goes from frame {onset} to frame {offset}.",
            row,
            remedy=f"A micro-expression ends after it begins, and takes less than {_LONGEST} frames.",
        )
    apex, no_apex = _apex(sheet, row, onset, offset)
    emotion = sheet.text("emotion", row)
    if emotion is not None and canonical_expression(emotion) not in emotions.classes:
        raise sheet.error(
            f"Column 'emotion' holds {emotion[:40]!r}.",
            row,
            remedy=f"Words of this corpus are: {', '.join(emotions.classes)}.",
        )
    objective = objective_of(sheet, row)
    return Movement(
        person=person,
        clip=name,
        onset=onset,
        apex=apex,
        offset=offset,
        no_apex=no_apex,
        au=parse_coding(_code(sheet.cell("units", row)), path=sheet.path, line=sheet.lines[row]),
        emotion=emotion,
        objective={} if objective is None else {"column": objective},
        line=sheet.lines[row],
    )


def _code(cell: object) -> object:
    """A number as its digits: as 1e+08 it would be read as a unit with a grade, plus another unit."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return cell
    return f"{cell:.6f}".rstrip("0").rstrip(".")


def _apex(sheet: Sheet, row: int, onset: int, offset: int) -> tuple[int | None, str | None]:
    """The apex, or why there is none."""
    text = sheet.text("apex", row)
    if text is None or text.casefold() in _NO_APEX:
        return None, "the cell is empty" if text is None else f"the cell holds '{text}'"
    apex = sheet.whole("apex", row)
    if apex is not None and onset <= apex <= offset:
        return apex, None
    return None, f"frame {apex} is not between onset and offset"


def objective_of(sheet: Sheet, row: int) -> int | None:
    """The objective class in a row, 1 to 7; None where its cell is empty.

    Raises:
        AnnotationError: It holds something else.
    """
    return None if sheet.cell("objective", row) is None else sheet.required("objective", row, 1, 7)
