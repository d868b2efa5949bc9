"""Rehearsal of SAMM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.samm import ROWS, SAMM
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

__all__ = ["write_samm"]

_PEOPLE: Final = [person for person, rows in ROWS.items() for _ in range(rows)]
_PUBLISHED: Final = SAMM.expected["v2"]
_CLASSES: Final = {7: 84, 1: 24, 3: 20, 2: 13, 4: 8, 6: 7, 5: 3}
_CLASSED_PEOPLE: Final = 21  # with objective classes I to V
_INDUCEMENTS: Final = {3: 31, 1: 27, 7: 26, 4: 21, 5: 19, 2: 18, 6: 17}
_NUMBER_CELLS: Final = 37
_PLAIN_CELLS: Final = 16  # several units and no sign but the plus
_REFERENCES: Final = 9
_TYPICAL: Final = {
    "Happiness": (6, 12), "Surprise": (1, 2, 5), "Contempt": (14,), "Fear": (20, 25), "Sadness": (15, 17),
    "Disgust": (9, 10), "Anger": (4, 7, 23, 24), "Other": (14, 43, 25),
}  # fmt: skip
# Rows, from 0, whose cell contains "or".
_CHOICES: Final = {
    15: Cell("R6 or R12 + R15", (Unit(6, "R"), Unit(15, "R"))),
    18: Cell("(R6 or R12) + R15", (Unit(6, "R"), Unit(15, "R"))),
    41: Cell("L12 or L14", (Unit(12, "L"),)),
    64: Cell("(R12 or R14)", (Unit(12, "R"),)),
    154: Cell("R14A or 17A or 24A", (Unit(14, "R"),)),
}
_NAMED: Final = {  # name, onset, apex as in the table, offset
    57: ("013_1_9", 5679, 5702, 5739),
    125: ("028_4_1", 1071, 1143, 1134),
    132: ("032_3_1", 4896, 1930, 4970),
    133: ("032_3_2", 5126, 5127, 5180),
}
_ATOMS: Final = (
    "#A", "L#", "#B", "R#", "#C", "#A/B", "L#A", "#D", "T#", "L#C", "A#", "B#", "R#A", "A#B", "#E", "A/L#", "A#C",
    "R#B", "A#E", "#B/C",
)  # fmt: skip
_NOTES: Final = (
    "Micro-movements of SAMM", "This table is a rendered rehearsal", None, "Key", '"/" = or', '"?" = unclear offset',
    "L or R = on one side", "A = asymmetric", "B or T = bottom or top lip", None, "Frames count from the start",
    None, None,
)  # fmt: skip


@register("samm")
def write_samm(
    job: Job, *, header_row: int = 14, variant: Literal["raw", "cropped"] = "raw"
) -> dict[str, Any]:
    """Write a rehearsal of SAMM.

    Options:
        size: "full" has the 159 rows and all published counts, "small" 8 people, "tiny" 4.
        header_row: Row of the header below the notes: 14 as distributed, or 1 as in copies.
        variant: Frames in the root, as distributed, or in SAMM_CROP.
    """
    rng = job.rng(0)
    people = (7, 11, 14, 32, 6, 20, 26, 28)
    quirks = {name for name, *_ in _NAMED.values()}
    clips = _plan(rng)
    quirks |= {clips[row].name for row in _CHOICES}
    clips = choose(clips, job.size, people, quirks, (95, 995, 9995))
    _write_table(job.out / "SAMM_Micro_FACS_Codes_v2.xlsx", clips, header_row)
    root = job.out / "SAMM_CROP" if variant == "cropped" else job.out
    for place, clip, frames in act(job, clips):
        width = 5 if place % 4 == 3 else 4  # like a quarter of the real files
        for number, image in frames:
            name = f"{clip.person:03d}_{number:0{width}d}.jpg"
            write_image(root / f"{clip.person:03d}" / clip.name / name, image, is_grey=True)
    return summarise([clip.truth(f"{clip.person:03d}") for clip in clips])


def _plan(rng: np.random.Generator) -> list[Clip]:
    names, emotions, cells = _draw_names(rng), _draw_emotions(rng), _draw_cells(rng)
    free = {row: word for row, word in enumerate(emotions) if row not in _CHOICES}
    coded = _CHOICES | match_cells(rng, free, cells, _TYPICAL)
    frames = []
    for row in range(len(_PEOPLE)):
        length = int(np.clip(rng.normal(70, 16), 30, 101))
        onset = int(rng.integers(150, 9990))
        apex: int = onset + int(rng.uniform(0.3, 0.6) * length)
        frames.append(_NAMED[row][1:] if row in _NAMED else (onset, apex, onset + length - 1))
    classes = _draw_classes(rng)
    return [
        Clip(person, names[row], *frames[row], emotions[row], coded[row], {"objective_column": classes[row]})
        for row, person in enumerate(_PEOPLE)
    ]


def _draw_names(rng: np.random.Generator) -> list[str]:
    """Names of subject, inducement and a count."""
    named = {row: name for row, (name, *_) in _NAMED.items()}
    known = {row: int(name.split("_")[1]) for row, name in named.items()}
    codes = deal(rng, _INDUCEMENTS, known, len(_PEOPLE))
    taken = set(named.values())
    for row, (person, code) in enumerate(zip(_PEOPLE, codes, strict=True)):
        if row not in named:
            names = (f"{person:03d}_{code}_{k}" for k in range(1, 99))
            named[row] = next(name for name in names if name not in taken)
            taken.add(named[row])
    return [named[row] for row in range(len(_PEOPLE))]


def _draw_emotions(rng: np.random.Generator) -> list[str]:
    """Subject 25 shows only "Other", all others something else too."""
    usual = ("Anger", "Happiness", "Surprise", "Contempt")
    fixed = {row: "Other" for row, person in enumerate(_PEOPLE) if person == 25}
    fixed |= {_PEOPLE.index(person): usual[person % 4] for person in ROWS if person != 25}
    counts = {word.capitalize(): count for word, count in _PUBLISHED.classes.items()}
    return deal(rng, counts, fixed, len(_PEOPLE))


def _draw_cells(rng: np.random.Generator) -> list[Cell]:
    """Cells without "or", as in the table."""
    left = {int(unit[2:]): count for unit, count in _PUBLISHED.positives.items()}
    for cell in _CHOICES.values():
        for unit in cell.units or ():
            left[unit.number] -= 1
    marked = len(_PEOPLE) - len(_CHOICES) - _NUMBER_CELLS - _PLAIN_CELLS
    pairs = sum(left.values()) - _NUMBER_CELLS - 2 * _PLAIN_CELLS - marked
    sizes = [2] * (_PLAIN_CELLS + pairs) + [1] * (marked - pairs + _NUMBER_CELLS)
    shapes = cycle(_ATOMS)
    cells = []
    for row, numbers in enumerate(deal_units(rng, sizes, left)):
        if row < _PLAIN_CELLS:
            cells.append(Cell("+".join(map(str, numbers)), tuple(map(Unit, numbers))))
        elif row >= len(sizes) - _NUMBER_CELLS:
            cells.append(Cell(numbers[0], (Unit(numbers[0]),)))
        else:
            cells.append(_mark(numbers, row - _PLAIN_CELLS, shapes))
    return [cells[k] for k in rng.permutation(len(cells)).tolist()]


def _mark(numbers: Sequence[int], place: int, shapes: Iterator[str]) -> Cell:
    """A cell with sides, grades, references, a remark or odd blanks."""
    atoms, units = [], []
    for number in numbers:
        shape = next(shapes)
        if len(numbers) == 2 and place < _REFERENCES and number == numbers[1]:
            shape = ("#", "#B", "L#")[place % 3]
        side: Literal["L", "R"] | None = "L" if "L" in shape else "R" if "R" in shape else None
        units.append(Unit(number, side))
        atoms.append(shape.replace("#", str(number)))
    if len(numbers) == 2 and place < _REFERENCES:
        atoms[1] = f"ref({atoms[1]})"
    if len(numbers) == 1 and place % 20 == 19:
        atoms.append("soft focus")
    text = (" + ", "+", "+ ")[place % 3].join(atoms)
    return Cell(text + " " * (place % 4 == 1), tuple(units))


def _draw_classes(rng: np.random.Generator) -> list[int]:
    """Objective class of each row; only 21 people have I to V."""
    people = sorted(ROWS, key=lambda person: -ROWS[person])[:_CLASSED_PEOPLE]
    first = [_PEOPLE.index(person) for person in people]
    others = [row for row, person in enumerate(_PEOPLE) if person in people and row not in first]
    rows = first + rng.permutation(others).tolist()
    low = {n: count for n, count in _CLASSES.items() if n <= 5}
    fixed = dict(zip(rows, deal(rng, low, {}, sum(low.values())), strict=False))
    return deal(rng, {6: _CLASSES[6], 7: _CLASSES[7]}, fixed, len(_PEOPLE))


def _write_table(path: Path, clips: Sequence[Clip], header_row: int) -> None:
    rows: list[list[Any]] = [[note] for note in _NOTES[: header_row - 1]]
    rows.append(
        ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
         "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]
    )  # fmt: skip
    for place, clip in enumerate(clips):
        line = header_row + 1 + place
        rows.append(
            [f"{clip.person:03d}", clip.name, int(clip.name.split("_")[1]), clip.onset, clip.apex, clip.offset,
             f"=F{line}-D{line}", "Micro - 1/2", clip.cell.text, clip.emotion, clip.extra["objective_column"],
             "unclear offset" if place % 9 == 4 else None]
        )  # fmt: skip
    write_sheet(path, "MICRO_ONLY", rows)
