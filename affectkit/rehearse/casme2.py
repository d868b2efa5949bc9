"""CASME II as it is distributed, with rendered faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.casme2 import CASME2, ROWS
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
from affectkit.synth.writers import write_video

__all__ = ["write_casme2"]

Revision = Literal["20140508", "20190701", "MEB"]
Variant = Literal["cropped", "selected", "raw", "video"]

_FOLDERS: Final[Mapping[str, str]] = {
    "cropped": "Cropped",
    "selected": "CASME2_RAW_selected/CASME2_RAW_selected",
    "raw": "CASME2-RAW",
    "video": "CASME2_compressed",
}
_FILES: Final[Mapping[str, str]] = {
    "20140508": "CASME2-coding-20140508.xlsx",
    "20190701": "CASME2-coding-20190701.xlsx",
    "MEB": "CASME2-coding-updated.xlsx",
}
_PEOPLE: Final = [person for person, rows in enumerate(ROWS, start=1) for _ in range(rows)]
_NUMBER_CELLS: Final = 133
_SIDED_CELLS: Final = 49
_UNKNOWN: Final = {(5, "EP05_03"), (5, "EP07_01"), (5, "EP13_04f"), (19, "EP11_01f"), (26, "EP13_01")}
_COLUMN_CLASSES: Final = {1: 30, 2: 18, 3: 93, 4: 15, 5: 18, 6: 2, 7: 79}
_FILE_CLASSES: Final = {1: 25, 2: 15, 3: 99, 4: 26, 5: 20, 6: 1, 7: 69}

# Rows of the table whose clip the published notes name, counted from 0, with frames where they are known.
_NAMED: Final[Mapping[int, tuple[str, tuple[int, int | None, int] | None]]] = {
    29: ("EP12_01f", (261, None, 321)), 34: ("EP05_03", None), 35: ("EP07_01", None),
    45: ("EP09_05f", (69, 69, 123)), 47: ("EP13_04f", None), 51: ("EP16_04f", (141, 181, 181)),
    60: ("EP06_01", (15, 49, 68)), 117: ("EP09_02", None), 118: ("EP09_06", (66, 111, 111)),
    190: ("EP11_01f", None), 202: ("EP16_01", (71, 111, 111)), 223: ("EP07_01", None), 224: ("EP07_04f", None),
    225: ("EP10_03", None), 237: ("EP18_04f", (76, 116, 116)), 240: ("EP13_01", None),
}  # fmt: skip
# Where a corrected copy puts the apex: the movement must be around it.
_CORRECTED: Final = {
    35: 68, 43: 77, 53: 100, 117: 187, 126: 80, 136: 88, 147: 134, 155: 231, 168: 53, 170: 329, 177: 111,
    203: 103, 233: 98, 236: 153,
}  # fmt: skip
_RARE: Final = {9: "sadness", 10: "sadness", 19: "sadness", 26: "fear"}  # whose first clip shows it
_TYPICAL: Final = {
    "happiness": (6, 12), "surprise": (1, 2, 5), "repression": (14, 15, 17, 24), "fear": (1, 2, 20),
    "sadness": (1, 15, 17), "disgust": (4, 7, 9, 10), "others": (4, 7, 14, 17),
}  # fmt: skip
_ADDED: Final = Clip(24, "EP02_07", 24, 45, 66, None, "?", "disgust", 45)


@register("casme2")
def write_casme2(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    revision: Revision = "20140508",
    variant: Variant = "cropped",
    objective_file: bool = False,
) -> dict[str, Any]:
    """Write a rehearsal of CASME II.

    Args:
        out: The folder to make.
        size: "full" has the 255 rows (MEB: 256) and all published counts, "small" 8 people, "tiny" 4.
        seed: Of every draw.
        media: Whether faces are rendered; else only the tables are written.
        revision: Which table: of 2014-05-08, of 2019-07-01, or the corrected copy that MEB uses.
        variant: Which frames: cropped, selected raw, full raw, or compressed videos.
        objective_file: Whether the table of objective classes lies beside it.

    Returns:
        The manifest.
    """
    out = Path(out)
    rng = np.random.default_rng([seed, 0])
    clips = _plan(rng, revision)
    column, file = _objective(rng, clips)
    quirks = {name for name, _ in _NAMED.values()}
    chosen = pick(clips, size, (5, 17, 4, 12, 1, 2, 19, 24), quirks)
    numbers = [(column[k], file[k]) for k, clip in enumerate(clips) if clip in chosen]
    if size != "full":
        chosen = [_shortened(clip, place, size) for place, clip in enumerate(chosen)]
    out.mkdir(parents=True, exist_ok=True)
    _write_table(out / _FILES[revision], chosen, [number for number, _ in numbers], revision)
    if objective_file:
        _write_objective(out / "CASME2-ObjectiveClasses.xlsx", chosen, [number for _, number in numbers])
    truths = [
        clip.truth(f"sub{clip.person:02d}") | {"objective_column": a, "objective_file": b}
        for clip, (a, b) in zip(chosen, numbers, strict=True)
    ]
    actors = Actors(PIXELS[size], seed)
    for place, clip in enumerate(chosen if media else ()):
        path = out / _FOLDERS[variant] / f"sub{clip.person:02d}" / clip.name
        _film(actors, clip, place, path, variant)
    return write_manifest(
        out,
        truths,
        corpus="CASME2",
        revision=revision,
        size=size,
        seed=seed,
        variant=variant,
    )


def _plan(rng: np.random.Generator, revision: Revision) -> list[Clip]:
    """All rows of a revision."""
    emotions = _emotions(rng)
    if revision == "20190701":
        emotions = ["surprise" if row in (223, 224, 225) else word for row, word in enumerate(emotions)]
    frames, names = _frames(rng), _names(rng)
    known = [
        row
        for row in range(len(_PEOPLE))
        if revision == "20190701" or (_PEOPLE[row], names[row]) not in _UNKNOWN
    ]
    added = revision == "MEB"
    counts = {int(unit[2:]): n for unit, n in CASME2.expected[revision].positives.items()}
    fixed = {34: (16, 24)} if revision == "20190701" else {}
    cells = _cells(rng, len(known) + added - len(fixed), counts, list(fixed.values()))
    spare = cells.pop() if added else None
    free = [row for row in known if row not in fixed]
    order = match_sets(
        rng, [emotions[row] for row in free], [[u.number for u in units] for units in cells], _TYPICAL
    )
    units: dict[int, tuple[Unit, ...]] = {row: cells[k] for row, k in zip(free, order, strict=True)}
    units |= {row: tuple(map(Unit, numbers)) for row, numbers in fixed.items()}
    clips = []
    for row, person in enumerate(_PEOPLE):
        onset, apex, offset = frames[row]
        shown = (onset + offset) // 2 if apex is None else apex
        own = units.get(row)
        printed: str | int = "/" if apex is None else apex
        clips.append(Clip(person, names[row], onset, shown, offset, own, _cell(own), emotions[row], printed))
    if spare is not None:
        clips.insert(222, replace(_ADDED, units=spare, cell=_cell(spare)))
    return clips


def _emotions(rng: np.random.Generator) -> list[str]:
    """The word of each row: MEGC 2019 uses nothing of subjects 10 and 18, and something of all others."""
    left = {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}
    words = [""] * len(_PEOPLE)
    first = {person: _PEOPLE.index(person) for person in set(_PEOPLE)}
    for person, word in _RARE.items():
        words[first[person] + 1] = word
    words[first[17]], words[first[17] + 1] = "sadness", "fear"
    for row in (223, 224, 225):
        words[row] = "sadness"

    def put(row: int, word: str) -> None:
        if not words[row]:
            words[row] = word
            left[word] -= 1

    for row in (29, 45):  # the disgust clips that MEGC 2019 drops
        put(row, "disgust")
    for row, person in enumerate(_PEOPLE):
        if person in (10, 18):
            put(row, "others")
    usual = ("disgust", "happiness", "repression", "surprise")
    for person in set(_PEOPLE) - {10, 18}:
        own = [row for row, other in enumerate(_PEOPLE) if other == person and not words[row]]
        put(own[0], usual[person % 4])
    empty = [row for row in range(len(words)) if not words[row]]
    deck = rng.permutation([word for word, count in left.items() for _ in range(count)]).tolist()
    for row, word in zip(empty, deck, strict=True):
        words[row] = word
    return words


def _frames(rng: np.random.Generator) -> list[tuple[int, int | None, int]]:
    """Onset, apex and offset of each row."""
    frames: list[tuple[int, int | None, int]] = []
    for row in range(len(_PEOPLE)):
        length = int(np.clip(rng.normal(67.2, 22.0), 24, 141))
        onset = int(rng.integers(1, 220))
        if row in (0, 1):
            length = (24, 141)[row]
        if row in _CORRECTED:
            length, onset = 61, max(1, _CORRECTED[row] - 30)
        apex = onset + int(rng.uniform(0.3, 0.6) * length)
        named = _NAMED.get(row, ("", None))[1]
        frames.append(named or (onset, apex, onset + length - 1))
    return frames


def _names(rng: np.random.Generator) -> list[str]:
    """A name for each row, in all the patterns that there are, unique for the subject."""
    taken = {(_PEOPLE[row], name) for row, (name, _) in _NAMED.items()} | {(24, "EP02_07"), (9, "EP02_02f")}
    names = []
    for row, person in enumerate(_PEOPLE):
        name = _NAMED.get(row, ("", None))[0]
        while not name or (row not in _NAMED and (person, name) in taken):
            a, b, c = rng.integers(1, [20, 20, 12]).tolist()
            kind = int(rng.integers(10))
            name = f"EP{a:02d}_{b:02d}{'f' if kind < 4 else ''}"
            name = {7: f"EP{a:02d}_{c % 9 + 1}", 8: f"EP{a:02d}_{b:02d}_{c:02d}", 9: f"EP{a:02d}f"}.get(
                kind, name
            )
        taken.add((person, name))
        names.append(name)
    return names


def _cells(
    rng: np.random.Generator, rows: int, counts: Mapping[int, int], fixed: Sequence[tuple[int, ...]]
) -> list[tuple[Unit, ...]]:
    """The units of as many rows, in the published mix of single, several and one-sided ones."""
    left = {unit: count - sum(unit in own for own in fixed) for unit, count in counts.items()}
    single = _NUMBER_CELLS + 30
    several = rows - single
    triples = sum(left.values()) - single - 2 * several
    sizes = [3] * triples + [2] * (several - triples) + [1] * single
    dealt = deal_units(rng, sizes, left)
    sided = set(
        range(several - (_SIDED_CELLS - 30), several + 30)
    )  # some of several units, and 30 single ones
    cells = []
    for row, numbers in enumerate(dealt):
        side: Literal["L", "R"] = "L" if rng.uniform() < 0.5 else "R"
        both = rng.uniform() < 0.5  # 'R1+R2', or 'R1+2'
        cells.append(
            tuple(
                Unit(number, side if row in sided and (place == 0 or both) else None)
                for place, number in enumerate(numbers)
            )
        )
    return [cells[k] for k in rng.permutation(len(cells)).tolist()]


def _cell(units: tuple[Unit, ...] | None) -> str | int:
    """The units as the table has them: a number where there is one without a side, in no fixed order."""
    if units is None:
        return "?"
    if len(units) == 1 and units[0].side is None:
        return units[0].number
    turned = units[::-1] if sum(unit.number for unit in units) % 3 == 0 else units
    return "+".join(f"{unit.side or ''}{unit.number}" for unit in turned)


def _objective(rng: np.random.Generator, clips: Sequence[Clip]) -> tuple[list[int], list[int]]:
    """Objective classes of each row: the column of 2019, and the file of 2018, where everybody has I to V."""

    def deck(counts: Mapping[int, int]) -> list[int]:
        numbers: list[int] = rng.permutation(
            [n for n, count in counts.items() for _ in range(count)]
        ).tolist()
        return numbers + [7] * (len(clips) - len(numbers))

    column, file = deck(_COLUMN_CLASSES), deck(_FILE_CLASSES)
    for person in set(_PEOPLE):
        own = [row for row, clip in enumerate(clips) if clip.person == person]
        if all(file[row] > 5 for row in own):
            others = (row for row, n in enumerate(file) if n <= 5 and clips[row].person == 17)
            spare = next(others)
            file[own[0]], file[spare] = file[spare], file[own[0]]
    return column, file


def _shortened(clip: Clip, place: int, size: Size) -> Clip:
    """The clip with few frames, whose numbers pass 9."""
    start, length = (8, 9)[place % 2], (8 if size == "tiny" else 20) + place % 3
    if isinstance(clip.apex_cell, str):
        return replace(clip, onset=start, apex=start + length // 2, offset=start + length - 1)
    part = (clip.apex_cell - clip.onset) / (clip.offset - clip.onset)
    apex = start + round(part * (length - 1))
    return replace(clip, onset=start, apex=apex, offset=start + length - 1, apex_cell=apex)


def _write_table(path: Path, clips: Sequence[Clip], objective: Sequence[int], revision: Revision) -> None:
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.Workbook()
    page = book.active
    page.title = "Sheet1"
    blank = [] if revision == "MEB" else [None]
    more = ["Objective Classes"] if revision == "20190701" else []
    page.append(
        ["Subject", "Filename", *blank, "OnsetFrame", "ApexFrame", "OffsetFrame", *blank, "Action Units",
         "Estimated Emotion", *more]
    )  # fmt: skip
    for clip, number in zip(clips, objective, strict=True):
        frames = [clip.onset, clip.apex_cell, clip.offset]
        page.append(
            [
                f"{clip.person:02d}",
                clip.name,
                *blank,
                *frames,
                *blank,
                clip.cell,
                clip.emotion,
                *[number][: len(more)],
            ]
        )
    for name in ("Sheet2", "Sheet3"):
        book.create_sheet(name)
    book.save(path)


def _write_objective(path: Path, clips: Sequence[Clip], objective: Sequence[int]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Subject", "Filename", "Objective Class"])
    for clip, number in zip(clips, objective, strict=True):
        book.active.append([clip.person, clip.name, number])
    book.save(path)


def _film(actors: Actors, clip: Clip, place: int, path: Path, variant: Variant) -> None:
    """Write the frames of a clip: all of the recording, or those from onset to offset."""
    whole = variant in ("raw", "video")
    numbers = range(1, clip.offset + 6) if whole else range(clip.onset, clip.offset + 1)
    images = actors.perform(clip, place, numbers)
    if variant == "video":
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path.with_suffix(".avi"), np.stack(list(images)), fps=200.0)
        return
    path.mkdir(parents=True)
    for number, image in zip(numbers, images, strict=True):
        save_image(path / _file_name(variant, number), image)


def _file_name(variant: Variant, number: int) -> str:
    return f"{'reg_' if variant == 'cropped' else ''}img{number}.jpg"
