"""SAMM as it is distributed, with rendered faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.samm import ROWS, SAMM
from affectkit.rehearse.acting.micro import (
    PIXELS,
    Actors,
    Clip,
    Unit,
    deal_units,
    match_sets,
    pick,
    save_image,
    write_manifest,
)
from affectkit.rehearse.registry import Size, register

__all__ = ["write_samm"]

_PEOPLE: Final = [person for person, rows in ROWS.items() for _ in range(rows)]
_PUBLISHED: Final = SAMM.expected["v2"]
_CLASSES: Final = {7: 84, 1: 24, 3: 20, 2: 13, 4: 8, 6: 7, 5: 3}
_CLASSED_PEOPLE: Final = 21  # who show the objective classes I to V
_INDUCEMENTS: Final = {3: 31, 1: 27, 7: 26, 4: 21, 5: 19, 2: 18, 6: 17}
_NUMBER_CELLS: Final = 37
_PLAIN_CELLS: Final = 16  # several units and no sign but the plus
_REFERENCES: Final = 9
_TYPICAL: Final = {
    "Happiness": (6, 12), "Surprise": (1, 2, 5), "Contempt": (14,), "Fear": (20, 25), "Sadness": (15, 17),
    "Disgust": (9, 10), "Anger": (4, 7, 23, 24), "Other": (14, 43, 25),
}  # fmt: skip
# Rows with "or", counted from 0: the cell, and the units of the first reading.
_CHOICES: Final[Mapping[int, tuple[str, tuple[Unit, ...]]]] = {
    15: ("R6 or R12 + R15", (Unit(6, "R"), Unit(15, "R"))),
    18: ("(R6 or R12) + R15", (Unit(6, "R"), Unit(15, "R"))),
    41: ("L12 or L14", (Unit(12, "L"),)),
    64: ("(R12 or R14)", (Unit(12, "R"),)),
    154: ("R14A or 17A or 24A", (Unit(14, "R"),)),
}
_NAMED: Final[Mapping[int, tuple[str, int, int, int]]] = {  # onset, apex as printed, offset
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
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    header_row: int = 14,
    variant: Literal["raw", "cropped"] = "raw",
) -> dict[str, Any]:
    """Write a rehearsal of SAMM.

    Args:
        out: The folder to make.
        size: "full" has the 159 rows and all published counts, "small" 8 people, "tiny" 4.
        seed: Of every draw.
        media: Whether faces are rendered; else only the table is written.
        header_row: Row of the header, 14 as distributed or 1 as in copies; above it stand notes.
        variant: Whether frames lie in the root, as distributed, or in SAMM_CROP.

    Returns:
        The manifest.
    """
    out = Path(out)
    rng = np.random.default_rng([seed, 0])
    clips = _plan(rng)
    classes = _objective(rng)
    quirks = {name for name, *_ in _NAMED.values()} | {clips[row].name for row in _CHOICES}
    chosen = pick(clips, size, (7, 11, 14, 32, 6, 20, 26, 28), quirks)
    numbers = [classes[row] for row, clip in enumerate(clips) if clip in chosen]
    if size != "full":
        chosen = [_shortened(clip, place, size) for place, clip in enumerate(chosen)]
    out.mkdir(parents=True, exist_ok=True)
    _write_table(out / "SAMM_Micro_FACS_Codes_v2.xlsx", chosen, numbers, header_row)
    if media:
        actors = Actors(PIXELS[size], seed)
        for place, clip in enumerate(chosen):
            subject = f"{clip.person:03d}"
            folder = out / ("SAMM_CROP" if variant == "cropped" else "") / subject / clip.name
            folder.mkdir(parents=True)
            frames = range(clip.onset, clip.offset + 1)
            width = 5 if place % 4 == 3 else 4  # as a quarter of the real files
            for number, image in zip(frames, actors.perform(clip, place, frames), strict=True):
                save_image(folder / f"{subject}_{number:0{width}d}.jpg", image, grey=True)
    truths = [
        clip.truth(f"{clip.person:03d}") | {"objective_column": number}
        for clip, number in zip(chosen, numbers, strict=True)
    ]
    return write_manifest(out, truths, corpus="SAMM", revision="v2", size=size, seed=seed, variant=variant)


def _plan(rng: np.random.Generator) -> list[Clip]:
    names, emotions, cells = _names(rng), _emotions(rng), _cells(rng)
    free = [row for row in range(len(_PEOPLE)) if row not in _CHOICES]
    order = match_sets(
        rng,
        [emotions[row] for row in free],
        [[u.number for u in cells[k][1]] for k in range(len(free))],
        _TYPICAL,
    )
    coded = {**_CHOICES, **{row: cells[k] for row, k in zip(free, order, strict=True)}}
    clips = []
    for row, person in enumerate(_PEOPLE):
        length = int(np.clip(rng.normal(70, 16), 30, 101))
        onset = int(rng.integers(150, 9990))
        apex: int = onset + int(rng.uniform(0.3, 0.6) * length)
        offset = onset + length - 1
        _, onset, apex, offset = _NAMED.get(row, ("", onset, apex, offset))
        cell, units = coded[row]
        shown = apex if onset <= apex <= offset else (onset + offset) // 2
        clips.append(Clip(person, names[row], onset, shown, offset, units, cell, emotions[row], apex))
    return clips


def _names(rng: np.random.Generator) -> list[str]:
    """Clips are called after the subject, the inducement and a count."""
    left = dict(_INDUCEMENTS)
    for name, *_ in _NAMED.values():
        left[int(name.split("_")[1])] -= 1
    deck = iter(rng.permutation([code for code, count in left.items() for _ in range(count)]).tolist())
    taken = {name for name, *_ in _NAMED.values()}
    names = []
    for row, person in enumerate(_PEOPLE):
        if row in _NAMED:
            names.append(_NAMED[row][0])
            continue
        code = next(deck)
        name = next(n for n in (f"{person:03d}_{code}_{k}" for k in range(1, 99)) if n not in taken)
        taken.add(name)
        names.append(name)
    return names


def _emotions(rng: np.random.Generator) -> list[str]:
    """Subject 25 shows only "Other", all others something else too."""
    words = ["Other" if person == 25 else "" for person in _PEOPLE]
    left = {word.capitalize(): count for word, count in _PUBLISHED.classes.items()}
    left["Other"] -= ROWS[25]
    usual = ("Anger", "Happiness", "Surprise", "Contempt")
    for person in ROWS:
        if person != 25:
            words[_PEOPLE.index(person)] = usual[person % 4]
            left[usual[person % 4]] -= 1
    deck = iter(rng.permutation([word for word, count in left.items() for _ in range(count)]).tolist())
    return [word or next(deck) for word in words]


def _cells(rng: np.random.Generator) -> list[tuple[str | int, tuple[Unit, ...]]]:
    """The cells without "or", as the table has them, with the units they stand for."""
    left = {int(unit[2:]): count for unit, count in _PUBLISHED.positives.items()}
    for _, units in _CHOICES.values():
        for unit in units:
            left[unit.number] -= 1
    marked = len(_PEOPLE) - len(_CHOICES) - _NUMBER_CELLS - _PLAIN_CELLS
    pairs = sum(left.values()) - _NUMBER_CELLS - 2 * _PLAIN_CELLS - marked
    sizes = [2] * (_PLAIN_CELLS + pairs) + [1] * (marked - pairs + _NUMBER_CELLS)
    shapes = cycle(_ATOMS)
    cells: list[tuple[str | int, tuple[Unit, ...]]] = []
    for row, numbers in enumerate(deal_units(rng, sizes, left)):
        if row < _PLAIN_CELLS:
            cells.append(("+".join(map(str, numbers)), tuple(map(Unit, numbers))))
        elif row >= len(sizes) - _NUMBER_CELLS:
            cells.append((numbers[0], (Unit(numbers[0]),)))
        else:
            cells.append(_marked(numbers, row - _PLAIN_CELLS, shapes))
    return [cells[k] for k in rng.permutation(len(cells)).tolist()]


def _marked(numbers: Sequence[int], place: int, shapes: Iterator[str]) -> tuple[str | int, tuple[Unit, ...]]:
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
    return text + " " * (place % 4 == 1), tuple(units)


def _objective(rng: np.random.Generator) -> list[int]:
    """The objective class of each row; I to V stand at 21 people only."""
    people = sorted(ROWS, key=lambda person: -ROWS[person])[:_CLASSED_PEOPLE]
    first = [_PEOPLE.index(person) for person in people]
    others = [row for row, person in enumerate(_PEOPLE) if person in people and row not in first]
    rows = first + rng.permutation(others).tolist()
    deck = rng.permutation(
        [n for n, count in _CLASSES.items() for _ in range(count if n <= 5 else 0)]
    ).tolist()
    classes = dict(zip(rows, deck, strict=False))
    rest = iter(rng.permutation([n for n in (6, 7) for _ in range(_CLASSES[n])]).tolist())
    return [classes[row] if row in classes else next(rest) for row in range(len(_PEOPLE))]


def _shortened(clip: Clip, place: int, size: Size) -> Clip:
    """The clip with few frames; what is wrong with its apex stays wrong."""
    start, length = (95, 995, 9995)[place % 3], (8 if size == "tiny" else 20) + place % 3
    offset = start + length - 1
    apex = start + length // 2
    printed = clip.apex_cell
    wrong = isinstance(printed, int) and not clip.onset <= printed <= clip.offset
    return replace(clip, onset=start, apex=apex, offset=offset, apex_cell=(offset + 9 if wrong else apex))


def _write_table(path: Path, clips: Sequence[Clip], objective: Sequence[int], header_row: int) -> None:
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.Workbook()
    page = book.active
    page.title = "MICRO_ONLY"
    for row, note in enumerate(_NOTES[: header_row - 1], start=1):
        page.cell(row, 1, note)
    rows: list[list[Any]] = [
        ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
         "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]
    ]  # fmt: skip
    for place, (clip, number) in enumerate(zip(clips, objective, strict=True)):
        code = int(clip.name.split("_")[1])
        line = header_row + 1 + place
        rows.append(
            [f"{clip.person:03d}", clip.name, code, clip.onset, clip.apex_cell, clip.offset, f"=F{line}-D{line}",
             "Micro - 1/2", clip.cell, clip.emotion, number, "unclear offset" if place % 9 == 4 else None]
        )  # fmt: skip
    for line, cells in enumerate(rows, start=header_row):
        for column, value in enumerate(cells, start=1):
            page.cell(line, column, value)
    book.save(path)
