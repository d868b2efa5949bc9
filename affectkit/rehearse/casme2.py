"""Rehearsal of CASME II."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.casme2 import CASME2, ROWS
from affectkit.rehearse.acting.micro import (
    Cell,
    Clip,
    Unit,
    act,
    choose,
    deal,
    deal_units,
    match_cells,
    summarise,
)
from affectkit.rehearse.acting.studio import write_image, write_sheet
from affectkit.rehearse.registry import Job, register
from affectkit.synth.writers import write_video

__all__ = ["write_casme2"]

Revision = Literal["20140508", "20190701", "MEB"]

_FOLDERS: Final = {
    "cropped": "Cropped",
    "selected": "CASME2_RAW_selected/CASME2_RAW_selected",
    "raw": "CASME2-RAW",
    "video": "CASME2_compressed",
}
_PEOPLE: Final = [person for person, rows in enumerate(ROWS, start=1) for _ in range(rows)]
_NUMBER_CELLS: Final = 133
_SIDED_CELLS: Final = 49
_UNKNOWN: Final = {(5, "EP05_03"), (5, "EP07_01"), (5, "EP13_04f"), (19, "EP11_01f"), (26, "EP13_01")}
_COLUMN_CLASSES: Final = {1: 30, 2: 18, 3: 93, 4: 15, 5: 18, 6: 2, 7: 79}
_FILE_CLASSES: Final = {1: 25, 2: 15, 3: 99, 4: 26, 5: 20, 6: 1, 7: 69}

# Rows, from 0, whose clip published notes name, with frames where these are known.
_NAMED: Final[Mapping[int, tuple[str, tuple[int, int | str, int] | None]]] = {
    29: ("EP12_01f", (261, "/", 321)), 34: ("EP05_03", None), 35: ("EP07_01", None),
    45: ("EP09_05f", (69, 69, 123)), 47: ("EP13_04f", None), 51: ("EP16_04f", (141, 181, 181)),
    60: ("EP06_01", (15, 49, 68)), 117: ("EP09_02", None), 118: ("EP09_06", (66, 111, 111)),
    190: ("EP11_01f", None), 202: ("EP16_01", (71, 111, 111)), 223: ("EP07_01", None), 224: ("EP07_04f", None),
    225: ("EP10_03", None), 237: ("EP18_04f", (76, 116, 116)), 240: ("EP13_01", None),
}  # fmt: skip
# Apex in a corrected copy; the movement must be around it.
_CORRECTED: Final = {
    35: 68, 43: 77, 53: 100, 117: 187, 126: 80, 136: 88, 147: 134, 155: 231, 168: 53, 170: 329, 177: 111,
    203: 103, 233: 98, 236: 153,
}  # fmt: skip
_RARE: Final = {9: "sadness", 10: "sadness", 19: "sadness", 26: "fear"}  # emotion of the second clip
_TYPICAL: Final = {
    "happiness": (6, 12), "surprise": (1, 2, 5), "repression": (14, 15, 17, 24), "fear": (1, 2, 20),
    "sadness": (1, 15, 17), "disgust": (4, 7, 9, 10), "others": (4, 7, 14, 17),
}  # fmt: skip


@register("casme2")
def write_casme2(
    job: Job,
    *,
    revision: Revision = "20140508",
    variant: Literal["cropped", "selected", "raw", "video"] = "cropped",
    objective_file: bool = False,
) -> dict[str, Any]:
    """Write a rehearsal of CASME II.

    Options:
        size: "full" has the 255 rows (MEB: 256) and all published counts, "small" 8 people, "tiny" 4.
        revision: Table of 2014-05-08, of 2019-07-01, or the corrected copy that MEB uses.
        variant: Cropped, selected raw or full raw frames, or compressed videos.
        objective_file: Write the separate table of objective classes.
    """
    rng = job.rng(0)
    people, quirks = (5, 17, 4, 12, 1, 2, 19, 24), {name for name, _ in _NAMED.values()}
    clips = choose(_number(rng, _plan(rng, revision)), job.size, people, quirks, (8, 9))
    _write_table(
        job.out / f"CASME2-coding-{'updated' if revision == 'MEB' else revision}.xlsx", clips, revision
    )
    if objective_file:
        rows = [[clip.person, clip.name, clip.extra["objective_file"]] for clip in clips]
        path = job.out / "CASME2-ObjectiveClasses.xlsx"
        write_sheet(path, "Sheet", [["Subject", "Filename", "Objective Class"], *rows])
    whole, prefix = variant in ("raw", "video"), "reg_" if variant == "cropped" else ""
    for _, clip, frames in act(job, clips, is_whole=whole):
        path = job.out / _FOLDERS[variant] / f"sub{clip.person:02d}" / clip.name
        if variant == "video":
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path.with_suffix(".avi"), np.stack([image for _, image in frames]), fps=200.0)
        else:
            for number, image in frames:
                write_image(path / f"{prefix}img{number}.jpg", image)
    return summarise([clip.truth(f"sub{clip.person:02d}") for clip in clips])


def _plan(rng: np.random.Generator, revision: Revision) -> list[Clip]:
    """All rows of a revision."""
    emotions = _draw_emotions(rng)
    if revision == "20190701":
        emotions[223:226] = ["surprise"] * 3
    frames, names = _draw_frames(rng), _draw_names(rng)
    known = [
        row
        for row, key in enumerate(zip(_PEOPLE, names, strict=True))
        if revision == "20190701" or key not in _UNKNOWN
    ]
    counts = {int(unit[2:]): n for unit, n in CASME2.expected[revision].positives.items()}
    added, fixed = revision == "MEB", {}
    if revision == "20190701":
        fixed = {34: _write_cell((Unit(16), Unit(24)))}
        counts |= {16: counts[16] - 1, 24: counts[24] - 1}
    cells = _draw_cells(rng, len(known) + added - len(fixed), counts)
    spare = cells.pop() if added else None
    coded = fixed | match_cells(
        rng, {row: emotions[row] for row in known if row not in fixed}, cells, _TYPICAL
    )
    clips = [
        Clip(person, names[row], *frames[row], emotions[row], coded.get(row, Cell("?", None)))
        for row, person in enumerate(_PEOPLE)
    ]
    if spare is not None:
        clips.insert(222, Clip(24, "EP02_07", 24, 45, 66, "disgust", spare))
    return clips


def _draw_emotions(rng: np.random.Generator) -> list[str]:
    """Emotion of each row: MEGC 2019 uses no row of subjects 10 and 18, and some of all others."""
    first = {person: _PEOPLE.index(person) for person in _PEOPLE}
    fixed = {first[person] + 1: word for person, word in _RARE.items()}
    fixed |= {first[17]: "sadness", first[17] + 1: "fear", 223: "sadness", 224: "sadness", 225: "sadness"}
    fixed |= {29: "disgust", 45: "disgust"}  # not in MEGC 2019
    usual = ("disgust", "happiness", "repression", "surprise")
    for person in first:
        own = [row for row, other in enumerate(_PEOPLE) if other == person and row not in fixed]
        fixed |= dict.fromkeys(own, "others") if person in (10, 18) else {own[0]: usual[person % 4]}
    counts = dict(CASME2.expected["20140508"].classes)
    return deal(rng, counts, fixed, len(_PEOPLE))


def _draw_frames(rng: np.random.Generator) -> list[tuple[int, int | str, int]]:
    """Onset, apex and offset of each row as in the table."""
    frames: list[tuple[int, int | str, int]] = []
    for row in range(len(_PEOPLE)):
        length = int(np.clip(rng.normal(67.2, 22.0), 24, 141))
        onset = int(rng.integers(1, 220))
        if row in (0, 1):
            length = (24, 141)[row]
        if row in _CORRECTED:
            length, onset = 61, max(1, _CORRECTED[row] - 30)
        apex = onset + int(rng.uniform(0.3, 0.6) * length)
        frames.append(_NAMED.get(row, ("", None))[1] or (onset, apex, onset + length - 1))
    return frames


def _draw_names(rng: np.random.Generator) -> list[str]:
    """Name of each row, unique for the subject, in all existing patterns."""
    taken = {(_PEOPLE[row], name) for row, (name, _) in _NAMED.items()} | {(24, "EP02_07"), (9, "EP02_02f")}
    names = []
    for row, person in enumerate(_PEOPLE):
        name = _NAMED.get(row, ("", None))[0]
        while not name or (row not in _NAMED and (person, name) in taken):
            a, b, c = rng.integers(1, [20, 20, 12]).tolist()
            patterns = {7: f"EP{a:02d}_{c % 9 + 1}", 8: f"EP{a:02d}_{b:02d}_{c:02d}", 9: f"EP{a:02d}f"}
            kind = int(rng.integers(10))
            name = patterns.get(kind, f"EP{a:02d}_{b:02d}{'f' if kind < 4 else ''}")
        taken.add((person, name))
        names.append(name)
    return names


def _draw_cells(rng: np.random.Generator, rows: int, counts: Mapping[int, int]) -> list[Cell]:
    """Cells of as many rows, in the published mix of single, several and one-sided units."""
    single = _NUMBER_CELLS + 30
    several = rows - single
    triples = sum(counts.values()) - single - 2 * several
    sizes = [3] * triples + [2] * (several - triples) + [1] * single
    sided = range(several - (_SIDED_CELLS - 30), several + 30)  # 30 of them single units
    cells = []
    for row, numbers in enumerate(deal_units(rng, sizes, counts)):
        side: Literal["L", "R"] = "L" if rng.uniform() < 0.5 else "R"
        marked = len(numbers) if rng.uniform() < 0.5 else 1  # 'R1+R2' or 'R1+2'
        marked *= row in sided
        cells.append(_write_cell([Unit(n, side if k < marked else None) for k, n in enumerate(numbers)]))
    return [cells[k] for k in rng.permutation(len(cells)).tolist()]


def _write_cell(units: Sequence[Unit]) -> Cell:
    """A number for a single unit without a side, else text; units are in no fixed order."""
    if len(units) == 1 and units[0].side is None:
        return Cell(units[0].number, tuple(units))
    turned = units[::-1] if sum(unit.number for unit in units) % 3 == 0 else units
    return Cell("+".join(f"{unit.side or ''}{unit.number}" for unit in turned), tuple(units))


def _number(rng: np.random.Generator, clips: Sequence[Clip]) -> list[Clip]:
    """Add objective classes: the column of 2019, and the file of 2018, which has I to V for every subject."""
    rest = [7] * (len(clips) - len(_PEOPLE))
    column = deal(rng, _COLUMN_CLASSES, {}, len(_PEOPLE)) + rest
    file = deal(rng, _FILE_CLASSES, {}, len(_PEOPLE)) + rest
    for person in set(_PEOPLE):
        own = [row for row, clip in enumerate(clips) if clip.person == person]
        if all(file[row] > 5 for row in own):
            spare = next(row for row, n in enumerate(file) if n <= 5 and clips[row].person == 17)
            file[own[0]], file[spare] = file[spare], file[own[0]]
    return [
        replace(clip, extra={"objective_column": a, "objective_file": b})
        for clip, a, b in zip(clips, column, file, strict=True)
    ]


def _write_table(path: Path, clips: Sequence[Clip], revision: Revision) -> None:
    blank = [] if revision == "MEB" else [None]
    is_classed = revision == "20190701"
    rows: list[list[Any]] = [
        ["Subject", "Filename", *blank, "OnsetFrame", "ApexFrame", "OffsetFrame", *blank, "Action Units",
         "Estimated Emotion", *["Objective Classes"][:is_classed]]
    ]  # fmt: skip
    for clip in clips:
        cells = [f"{clip.person:02d}", clip.name, *blank, clip.onset, clip.apex, clip.offset, *blank]
        rows.append([*cells, clip.cell.text, clip.emotion, *[clip.extra["objective_column"]][:is_classed]])
    write_sheet(path, "Sheet1", rows, "Sheet2", "Sheet3")
