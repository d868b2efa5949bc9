"""CASME II: spontaneous micro-expressions at 200 frames a second."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Final

from affectkit.datasets.bases.corpus import Counts
from affectkit.datasets.bases.micro import MicroCorpus, unit_counts
from affectkit.datasets.bases.movements import Movement, objective_of, read_movements
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.reading.folders import ClipTree
from affectkit.datasets.reading.sheets import Sheet, find_sheets, read_sheet
from affectkit.datasets.registry import register
from affectkit.errors import ConfigError
from affectkit.facs.coding import parse_coding
from affectkit.facs.expressions import EXPRESSION_SETS

__all__ = ["CASME2"]

_CLIP: Final = re.compile(r"EP\d{2}(?:_\d{1,2}){0,2}f?", re.IGNORECASE | re.ASCII)
_SUBJECT: Final = re.compile(r"(?:sub|s)?(\d{1,2})(?:\.0)?", re.IGNORECASE | re.ASCII)
_PEOPLE: Final = 26
ROWS: Final = (9, 13, 7, 5, 19, 5, 9, 3, 14, 14, 10, 12, 8, 4, 3, 4, 36, 3, 16, 11, 2, 2, 12, 10, 7, 17)
"""Clips of subjects 1 to 26."""

_NO_APEX: Final = (4, "EP12_01f")  # whose cell is "/" in the original tables
NOT_IN_MEGC: Final = ("sub04/EP12_01f", "sub05/EP09_05f")  # clips of disgust without a usable apex
_ADDED: Final = (24, "EP02_07")  # on disk, and only in the corrected copy of the table
_ADDED_ROW: Final = 222

# Apices in the corrected copy by row, from 0, with the added clip in its place.
_MEB_APEX: Final = {
    29: 279, 35: 68, 43: 77, 45: 81, 51: 166, 53: 100, 60: 78, 117: 187, 118: 89, 126: 80, 136: 88, 147: 134,
    155: 231, 168: 53, 170: 329, 177: 111, 202: 91, 203: 103, 234: 98, 237: 153, 238: 98,
}  # fmt: skip
_MEB_OFFSET: Final = {(7, "EP06_01"): 91}
_XZQ: Final = {(7, "EP06_01"): (56, 89, 116), (12, "EP09_02"): (161, 176, 206)}
_MORE: Final = {
    "extra_clips": (
        Movement(9, "EP02_02f", 26, None, 171, "none is published", parse_coding("L12"), "happiness"),
        Movement(24, "EP02_07", 24, None, 66, "none is published", parse_coding("1"), "sadness"),
    ),
    "paper247": (Movement(24, "EP02_07", 24, None, 66, "none is published", parse_coding("?"), "disgust"),),
}
_EMOTIONS: Final = {
    "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2,
}  # fmt: skip
_PARTS: Final = {f"sub{person:02d}": Counts(clips=rows) for person, rows in enumerate(ROWS, start=1)}


def _revision(units: str, clips: int = 255, **stated: object) -> Counts:
    """Counts of a revision of the table, by unit as in `unit_counts`."""
    counts = {"parts": _PARTS, **stated}
    return Counts(subjects=26, clips=clips, all_units=True, positives=unit_counts(units), **counts)  # type: ignore[arg-type]


@register
class CASME2(MicroCorpus):
    """CASME II: 255 micro-expressions of 26 people in China, 200 fps, coded in FACS units and seven emotions.

    The distributed tables of 2014-05-08 (used by the protocols) and 2019-07-01, corrected copies, and cropped,
    selected raw, full raw or compressed frames are supported; see `datasets/casme2/README.md`. The target "au" is of
    the clip, in `casme2_8` by default; "expression" in `casme2_5` (or `casme2_7`, `megc3`, "objective"). Subjects are
    `sub01` to `sub26`, clips `sub01/EP02_01f`.

    With `classes="megc3"` the two disgust clips without a usable apex that MEGC 2019 leaves out have no class.

    Corrections (`errata`): "meb", the apices and one offset that MEB corrects; "xzq", key frames of two clips;
    "extra_clips", two clips that are on disk and not in the table, labelled as in bob.db.casme2; "paper247", one
    of them as disgust, which gives the paper's 247 clips of five classes.

    References:
        Varanka et al., Data leakage and evaluation issues in micro-expression analysis, 2022 (MEB).
    """

    name = "CASME2"
    citation = "Yan et al., CASME II, PLoS ONE 9(1): e86041, 2014."
    licence = "Research only, on a signed agreement with the Chinese Academy of Sciences."
    protocols = (leave_one_subject_out("CASME2", "CASME II"),)
    native = "casme2_7"
    default_units = "casme2_8"
    default_classes = "casme2_5"
    media_order = ("cropped", "selected", "raw", "video")
    subject_form = "sub%02d"
    folder_form = re.compile(r"sub(\d{1,2})", re.IGNORECASE | re.ASCII)
    sheet_names = ("cod.*20140508", "cod.*20190701", "casme.*cod")
    corrections = MappingProxyType(
        {
            "meb": "apex of 21 clips and offset of sub07/EP06_01 (MEB, arXiv 2211.11425)",
            "xzq": "key frames of sub07/EP06_01 and sub12/EP09_02 (Xia et al., Benchmark-MicroExpressionRec)",
            "extra_clips": "sub09/EP02_02f happiness L12, sub24/EP02_07 sadness 1 (bob.db.casme2)",
            "paper247": "sub24/EP02_07 as disgust, units unknown",
        }
    )
    expected = MappingProxyType(
        {
            "20140508": _revision(
                "1:26 2:21 4:129 5:2 6:13 7:38 9:13 10:17 12:34 14:27 15:16 16:1 17:25 18:1 20:1 24:2 25:2 26:1 38:2",
                classes=_EMOTIONS,
            ),
            "20190701": _revision(
                "1:28 2:25 4:125 5:5 6:10 7:38 9:9 10:18 12:39 14:22 15:17 16:5 17:26 18:1 20:2 24:6 25:2 26:1 38:2",
                classes=_EMOTIONS | {"surprise": 28, "sadness": 4},
            ),
            "MEB": _revision(
                "1:26 2:22 4:130 5:2 6:13 7:39 9:13 10:16 12:34 14:27 15:16 16:1 17:25 18:1 20:1 24:2 25:2 26:1 38:2",
                clips=256,
                parts=_PARTS | {"sub24": Counts(clips=11)},
            ),
        }
    )

    def movements(self) -> list[Movement]:
        """See `MicroCorpus`; the table of objective classes is read too if it is there."""
        emotions = EXPRESSION_SETS[self.native]
        movements = read_movements(self.find_sheet(), person=_person, clip=_CLIP, emotions=emotions)
        table = find_sheets(self._folder, ("subject", "clip", "objective"), ("objective",))
        if table and "objective" in table[0].name.lower():
            sheet = read_sheet(table[0], ("subject", "clip", "objective"))
            movements = self._with_objective(movements, sheet)
        given = next((row for row in movements if (row.person, row.clip) == _NO_APEX and row.apex), None)
        if given is not None:
            self.warnings.append(
                f"An edited copy: sub04/EP12_01f has the apex {given.apex}; the original tables have none"
            )
        return movements

    def correct(self, movements: list[Movement], erratum: str) -> list[Movement]:
        """See `MicroCorpus`."""
        keyed = {(movement.person, movement.clip): movement for movement in movements}
        if erratum in _MORE:
            for more in _MORE[erratum]:
                keyed.setdefault((more.person, more.clip), more)
        elif erratum == "xzq":
            for key in _XZQ.keys() & keyed.keys():
                onset, apex, offset = _XZQ[key]
                keyed[key] = replace(keyed[key], onset=onset, apex=apex, offset=offset, no_apex=None)
        else:
            for key in _MEB_OFFSET.keys() & keyed.keys():
                keyed[key] = replace(keyed[key], offset=_MEB_OFFSET[key])
            for key, apex in self._meb_apices(movements).items():
                row = keyed[key]
                if (row.onset or 0) <= apex <= (row.offset or 0):
                    keyed[key] = replace(row, apex=apex, no_apex=None)
                else:
                    self.warnings.append(f"{row.clip}, line {row.line}: the apex {apex} of MEB does not fit")
        return list(keyed.values())

    def is_excluded(self, movement: Movement) -> bool:
        """See `MicroCorpus`."""
        clip = f"{self.subject_form % movement.person}/{movement.clip}"
        return self.classes.name == "megc3" and clip in NOT_IN_MEGC

    def find_variant(self, tree: ClipTree) -> str:
        """See `MicroCorpus`; the files decide if the name of the folder does not."""
        place = self._place(tree)
        words = {"crop": "cropped", "select": "selected", "compress": "video", "raw": "raw"}
        if named := [name for word, name in words.items() if word in place]:
            return named[0]
        clips = list(chain.from_iterable(clips.values() for clips in tree.clips.values()))[:1]
        if any(path.name.startswith("reg_") for clip in clips if clip.is_dir() for path in clip.iterdir()):
            return "cropped"
        return "video" if any(clip.suffix.lower() == ".avi" for clip in clips) else "raw"

    def _with_objective(self, movements: list[Movement], sheet: Sheet) -> list[Movement]:
        classes: dict[tuple[int, str], int] = {}
        for row in range(len(sheet)):
            key = (_person(sheet, row), (sheet.text("clip", row) or "").casefold())
            number = objective_of(sheet, row)
            if number is None or key in classes:
                fault = "has no objective class." if number is None else "is listed twice."
                remedy = "Keep one row per clip."
                raise sheet.error(f"The clip {key[1]} of this subject {fault}", row, remedy=remedy)
            classes[key] = number
        result = []
        for movement in movements:
            number = classes.pop((movement.person, movement.clip.casefold()), None)
            more = {} if number is None else {"file": number}
            result.append(replace(movement, objective={**movement.objective, **more}))
        lost = sum("file" not in movement.objective for movement in result)
        if lost or classes:
            self.warnings.append(
                f"{sheet.path.name}: clips of the coding table that it lacks: {lost}, other clips: {len(classes)}"
            )
        return result

    def _meb_apices(self, movements: list[Movement]) -> dict[tuple[int, str], int]:
        """Apices of MEB by clip, from their rows in the published order."""
        keys = [(movement.person, movement.clip) for movement in movements]
        rows = [key for key in keys if key not in {(more.person, more.clip) for more in _MORE["extra_clips"]}]
        if [person for person, _ in rows] != [p for p, n in enumerate(ROWS, start=1) for _ in range(n)]:
            raise ConfigError(
                "The correction 'meb' needs the published order of the 255 rows, and this table has another.",
                path=self.root,
                remedy="Use the original table, or omit the correction.",
            )
        rows.insert(_ADDED_ROW, _ADDED)
        return {rows[place]: apex for place, apex in _MEB_APEX.items()}


def _person(sheet: Sheet, row: int) -> int:
    match = _SUBJECT.fullmatch(sheet.text("subject", row) or "")
    if match is None or not 1 <= int(match[1]) <= _PEOPLE:
        fault = f"Column 'subject' holds {sheet.cell('subject', row)!r}."
        raise sheet.error(fault, row, remedy=f"Subjects are 01 to {_PEOPLE}.")
    return int(match[1])
