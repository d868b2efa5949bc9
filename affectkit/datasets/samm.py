"""SAMM: spontaneous micro-expressions of people of many origins."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.micro import MicroCorpus, unit_counts
from affectkit.datasets.bases.movements import Movement, read_movements
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.reading.sheets import Sheet
from affectkit.datasets.registry import register
from affectkit.facs.coding import CodedUnit
from affectkit.facs.expressions import EXPRESSION_SETS

__all__ = ["SAMM"]

_CLIP: Final = re.compile(r"(\d{1,3})_\d_\d{1,2}", re.ASCII)
_SUBJECT: Final = re.compile(r"(\d{1,3})(?:\.0)?", re.ASCII)

# MEB's values of three impossible apices, and its choice for cells with "or".
_MEB_APEX: Final = {"028_4_1": 1105, "032_3_1": 4945, "032_3_2": 5130}
_MEB_UNIT: Final = {15: 12, 18: 12, 41: 14, 64: 14, 154: 14}  # row from 0: FACS number

ROWS: Final = {
    6: 11, 7: 10, 9: 4, 10: 4, 11: 20, 12: 3, 13: 6, 14: 11, 15: 3, 16: 5, 17: 6, 18: 4, 19: 3, 20: 9, 21: 2,
    22: 5, 23: 1, 24: 1, 25: 4, 26: 13, 28: 3, 30: 3, 31: 1, 32: 6, 33: 5, 34: 3, 35: 9, 36: 1, 37: 3,
}  # fmt: skip

_EMOTIONS: Final = {
    "anger": 57, "other": 26, "happiness": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8,
    "sadness": 6,
}  # fmt: skip


@register
class SAMM(MicroCorpus):
    """SAMM: 159 micro-expressions of 29 people, 200 fps, grey, coded in FACS units and eight emotions.

    The header of the coding table may be in row 14, as distributed, or in row 1; frame names have four or five digits.
    The target "au" is of the clip, in `samm_4` by default; "expression" in `samm_5` (or `samm_8`, `megc3`,
    "objective"). Subjects are `006` to `037`, clips `006/006_1_2`. See `datasets/samm/README.md`.

    Corrections (`errata`): "meb", apices of three clips, and one reading for each of the five cells with an "or".
    """

    name = "SAMM"
    citation = "Davison, Lansley, Costen, Tan & Yap, SAMM, IEEE TAC 9(1), 2018."
    licence = "Research only, on a signed agreement with Manchester Metropolitan University."
    protocols = (leave_one_subject_out("SAMM", "SAMM"),)
    native = "samm_8"
    default_units = "samm_4"
    default_classes = "samm_5"
    subject_form = "%03d"
    folder_form = re.compile(r"(\d{3})", re.ASCII)
    sheet_names = ("micro.*facs", "facs.*codes", "samm.*micro")
    corrections = MappingProxyType(
        {"meb": "apex of 028_4_1, 032_3_1, 032_3_2; one reading of each 'or' (MEB, arXiv 2211.11425)"}
    )
    expected = MappingProxyType(
        {
            "v2": Counts(
                subjects=29,
                clips=159,
                all_units=True,
                positives=unit_counts(
                    "1:6 2:18 4:23 5:10 6:5 7:46 8:1 9:5 10:6 12:28 13:3 14:11 15:4 17:6 18:4 20:7 21:1 23:1 24:9 "
                    "25:7 26:6 31:2 38:2 39:5 43:8 56:1 61:1"
                ),
                classes=_EMOTIONS,
                parts={f"{person:03d}": Counts(clips=rows) for person, rows in ROWS.items()},
            )
        }
    )

    def movements(self) -> list[Movement]:
        """See `MicroCorpus`."""
        sheet = self.find_sheet()
        _check_inducement(sheet)
        return read_movements(sheet, person=_person, clip=_CLIP, emotions=EXPRESSION_SETS[self.native])

    def correct(self, movements: list[Movement], erratum: str) -> list[Movement]:
        """See `MicroCorpus`."""
        whole = [movement.person for movement in movements] == [p for p, n in ROWS.items() for _ in range(n)]
        if not whole:
            self.warnings.append("'meb' does not change any \"or\": the rows are not in the published order")
        corrected = []
        for row, movement in enumerate(movements):
            apex, unit = _MEB_APEX.get(movement.clip), _MEB_UNIT.get(row)
            if apex is not None and (movement.onset or 0) <= apex <= (movement.offset or 0):
                movement = replace(movement, apex=apex, no_apex=None)
            if whole and unit is not None and movement.au is not None:
                units = tuple(_chosen(coded, unit) for coded in movement.au.units)
                movement = replace(movement, au=replace(movement.au, units=units))
            corrected.append(movement)
        return corrected


def _chosen(coded: CodedUnit, unit: int) -> CodedUnit:
    """The reading of an "or" with the given unit."""
    for reading in (coded, *coded.alternatives):
        if coded.alternatives and reading.unit.id == unit:
            return replace(reading, alternatives=())
    return coded


def _check_inducement(sheet: Sheet) -> None:
    """Check that inducement codes, which resemble objective classes, agree with the names of the clips."""
    wrong = [
        row
        for row in range(len(sheet))
        if sheet.cell("inducement", row) is not None
        and f"_{sheet.text('inducement', row)}_" not in (sheet.text("clip", row) or "")
    ]
    if len(wrong) > max(2, len(sheet) / 5):
        fault = f"The inducement code is not that of the clip in {len(wrong)} of {len(sheet)} rows, first in this one."
        remedy = "Columns seem to be exchanged: get the original table."
        raise sheet.error(fault, wrong[0], remedy=remedy)


def _person(sheet: Sheet, row: int) -> int:
    """Number of the subject, which must agree with the name of the clip."""
    subject = _SUBJECT.fullmatch(sheet.text("subject", row) or "")
    clip = _CLIP.fullmatch(sheet.text("clip", row) or "")
    if subject is None or int(subject[1]) not in ROWS:
        fault = f"Column 'subject' holds {sheet.cell('subject', row)!r}."
        raise sheet.error(fault, row, remedy="Subjects are 006 to 037.")
    if clip is not None and int(clip[1]) != int(subject[1]):
        remedy = "The name begins with the subject; rows or columns seem to be moved."
        raise sheet.error(f"The clip {clip[0]} is not of subject {subject[1]}.", row, remedy=remedy)
    return int(subject[1])
