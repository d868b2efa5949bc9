"""A rendered corpus in BP4D's layout, with as many frames and positives as the real one has, or a few."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.facs.sets import AU_SETS
from affectkit.synth.layouts.macro import (
    Size,
    Studio,
    draw_scores,
    strongest,
    write_image,
    write_manifest,
    write_text,
    write_video,
)

__all__ = ["write_bp4d"]

_CODED: Final = tuple(unit.id for unit in AU_SETS["bp4d34"])
_USUAL: Final = tuple(unit.id for unit in AU_SETS["bp4d12"])
_GRADED: Final = tuple(unit.id for unit in AU_SETS["bp4d5"])
_TASKS: Final = tuple(f"T{number}" for number in range(1, 9))
_PARTS: Final = {
    "part1": (
        "F001", "F002", "F008", "F009", "F010", "F016", "F018", "F023", "M001", "M004", "M007", "M008", "M012",
        "M014",
    ),
    "part2": (
        "F003", "F005", "F011", "F013", "F020", "F022", "M002", "M005", "M010", "M011", "M013", "M016", "M017",
        "M018",
    ),
    "part3": (
        "F004", "F006", "F007", "F012", "F014", "F015", "F017", "F019", "F021", "M003", "M006", "M009", "M015",
    ),
}  # fmt: skip
# The real corpus: rows by subject (F001 to F023, M001 to M018) and by task, and positives.
_SUBJECT_ROWS: Final = (
    3934, 3937, 3700, 3737, 3915, 3576, 3573, 3695, 3297, 3266, 3732, 3543, 3434, 3490, 3451, 3510, 3823, 3525,
    3489, 3646, 3447, 3593, 3726, 4153, 3833, 3379, 3521, 3271, 3572, 3684, 3291, 3290, 3298, 3469, 3609, 3613,
    3483, 3664, 3648, 3542, 3488,
)  # fmt: skip
_TASK_ROWS: Final = (20074, 20837, 12821, 20208, 20795, 19553, 20339, 12220)
_KNOWN_ROWS: Final = {"F001_T1": 553, "F001_T2": 574, "F020_T3": 329}
_KNOWN_STARTS: Final = {"F001_T1": 2440, "F001_T2": 721}
_FROM_FIRST: Final = 118  # recordings whose first frame is coded
_ROWS: Final = 146_847
_PART_POSITIVES: Final = {
    "part1": (8322, 8172, 10085, 21055, 29862, 29183, 28277, 20274, 7664, 16080, 8023, 7076),
    "part2": (10223, 6568, 9870, 23312, 27651, 27954, 26187, 25762, 10024, 18379, 8657, 7867),
    "part3": (12497, 10370, 9800, 23309, 23103, 30133, 28066, 22339, 7181, 15947, 7608, 7286),
}
_OTHER_POSITIVES: Final = {
    5: 5693, 9: 8512, 11: 7184, 13: 138, 16: 6593, 18: 568, 19: 1197, 20: 3644, 22: 606, 27: 1271, 28: 5697, 29: 0,
    30: 506, 31: 33, 32: 1466, 33: 19, 34: 121, 35: 0, 36: 0, 37: 21, 38: 1319, 39: 657,
}  # fmt: skip
_SMALL: Final = {
    "tiny": (("F001", "F003", "F004"), ("T1", "T2"), 35),
    "small": (
        ("F001", "F002", "M001", "F003", "F005", "M002", "F004", "F006", "M003"),
        ("T1", "T2", "T8"),
        60,
    ),
}


@dataclass(eq=False)
class _Take:
    """One recording."""

    name: str
    first: int
    rows: slice  # in the arrays of the corpus
    frames: npt.NDArray[np.int64]

    @property
    def subject(self) -> str:
        return self.name[:4]

    @property
    def task(self) -> str:
        return self.name[5:]


def write_bp4d(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    layout: Literal["official", "benchmark"] = "official",
    preview: bool = False,
    pixels: int = 48,
    quirks: bool = True,
    gap: bool = False,
    unknown: bool = False,
    conflict: bool = False,
    missing_frames: int = 0,
    truncated_image: bool = False,
) -> dict[str, Any]:
    """Write rendered faces and their codes as BP4D is distributed.

    In size "full" the rows of every subject and task, the positives of every unit, and those of the twelve usual
    units in each part are the published ones.

    Args:
        out: The folder to make.
        size: "tiny" (3 subjects, 2 tasks), "small" (9 and 3) or "full" (41 and 8).
        seed: Of every draw.
        media: Whether images of the coded frames are rendered; hours in size "full".
        layout: "official", or as benchmarks rename it: images named by label frames, codes directly in `AUCoding`.
        preview: Videos instead of images; recordings then start early.
        pixels: Width of the images, even.
        quirks: Byte-order marks, Windows line ends, blank rows and three-digit names here and there.
        gap: Leave three rows out of the first recording.
        unknown: Code 9 in some rows of the second recording.
        conflict: Intensity 0 where a unit is present, in four frames of the first recording.
        missing_frames: Leave out so many of the first recording's last images.
        truncated_image: Cut off an image of the first recording.

    Returns:
        The manifest, which is written as `rehearsal.json` too: counts, parts, and unless in size "full" every code.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 41])
    takes = _takes(size, rng, early=preview)
    occurrence = _draw_occurrence(takes, size, rng)
    levels = _draw_levels(takes, occurrence, rng)
    codes = occurrence.astype(np.uint8)
    first, second = takes[0], takes[1]
    if unknown:
        codes[second.rows.start + 3 : second.rows.start + 9, _CODED.index(4)] = 9
    if conflict:
        unit = _GRADED.index(12)
        present = np.flatnonzero(occurrence[first.rows, _CODED.index(12)])[:4] + first.rows.start
        levels[present, unit] = 0
    kept = np.ones(len(codes), dtype=bool)
    if gap:
        kept[first.rows.start + 10 : first.rows.start + 13] = False
    recordings = {}
    for number, take in enumerate(takes):
        rows = np.flatnonzero(kept[take.rows]) + take.rows.start
        recordings[take.name] = _write_codes(
            root,
            layout,
            take,
            rows,
            codes,
            levels,
            quirk=number if quirks else 0,
            extra=quirks and number % 7 == 3,
        )
    defects = {"missing_frames": [], "truncated_image": []} | _write_media(
        root,
        takes,
        occurrence,
        levels,
        media,
        layout,
        preview,
        pixels,
        seed,
        quirks,
        missing_frames,
        truncated_image,
    )
    positive = (codes == 1) & kept[:, None]
    parts = {
        part: _count([take for take in takes if take.subject in people], positive, kept)
        for part, people in _PARTS.items()
    }
    if size == "full":
        recordings = {
            name: {key: its[key] for key in ("first", "last", "rows")} for name, its in recordings.items()
        }
    return write_manifest(
        root,
        {
            "corpus": "BP4D",
            "size": size,
            "seed": seed,
            "layout": layout,
            "media": media,
            **_count(takes, positive, kept),
            "parts": parts,
            "recordings": recordings,
            **defects,
        },
    )


def _takes(size: Size, rng: np.random.Generator, *, early: bool) -> list[_Take]:
    if size == "full":
        rows = _full_rows()
    else:
        subjects, tasks, length = _SMALL[size]
        rows = {f"{s}_{t}": length + int(rng.integers(0, 9)) for s in subjects for t in tasks}
    from_first = set(
        rng.permutation(sorted(rows.keys() - _KNOWN_STARTS.keys()))[: max(1, _FROM_FIRST * len(rows) // 328)]
    )
    takes, start = [], 0
    for name, length in rows.items():
        first = _KNOWN_STARTS.get(name, 1 if name in from_first else int(rng.integers(2, 700)))
        first = 1 + first % 7 if early else first
        takes.append(_Take(name, first, slice(start, start + length), np.arange(first, first + length)))
        start += length
    return takes


def _full_rows() -> dict[str, int]:
    """Rows of all recordings: the published sums of subjects and tasks, and the few lengths that are published."""
    subjects = sorted(subject for people in _PARTS.values() for subject in people)
    wanted_rows = np.array(_SUBJECT_ROWS, dtype=np.float64)
    wanted_columns = np.array(_TASK_ROWS, dtype=np.float64)
    table = np.random.default_rng(8).uniform(0.85, 1.15, (len(subjects), len(_TASKS)))
    free = np.ones_like(table)
    fixed = np.zeros_like(table)
    for name, rows in _KNOWN_ROWS.items():
        place = subjects.index(name[:4]), _TASKS.index(name[5:])
        free[place], fixed[place] = 0.0, rows
    for _ in range(200):  # proportional fitting
        table *= free * ((wanted_rows - fixed.sum(1)) / (table * free).sum(1))[:, None]
        table *= free * ((wanted_columns - fixed.sum(0)) / (table * free).sum(0))[None]
    whole = np.floor(table + fixed)
    lack_rows, lack_columns = wanted_rows - whole.sum(1), wanted_columns - whole.sum(0)
    order = np.argsort(-(table - np.floor(table)) * free, axis=None)
    while lack_rows.any():
        for place in order.tolist():
            row, column = divmod(place, len(_TASKS))
            if lack_rows[row] > 0 and lack_columns[column] > 0 and free[row, column]:
                whole[row, column] += 1
                lack_rows[row] -= 1
                lack_columns[column] -= 1
    return {
        f"{subject}_{task}": int(whole[row, column])
        for row, subject in enumerate(subjects)
        for column, task in enumerate(_TASKS)
    }


def _draw_occurrence(takes: list[_Take], size: Size, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which units are present in which frame, bool [N, U] in the order of the coded units."""
    lengths = [len(take.frames) for take in takes]
    total = sum(lengths)
    part_of = {subject: part for part, people in _PARTS.items() for subject in people}
    of_part = {part: np.repeat([part_of[take.subject] == part for take in takes], lengths) for part in _PARTS}
    occurrence = np.zeros((total, len(_CODED)), dtype=bool)
    for column, unit in enumerate(_CODED):
        scores = draw_scores(rng, lengths)
        if unit in _USUAL:
            for part, rows in of_part.items():
                count = _PART_POSITIVES[part][_USUAL.index(unit)]
                if size != "full":  # as frequent as in the whole, but neither never nor always
                    rate = sum(their[_USUAL.index(unit)] for their in _PART_POSITIVES.values()) / _ROWS
                    count = min(max(round(rate * rows.sum()), 4), int(rows.sum()) - 4)
                occurrence[rows, column] = strongest(scores[rows], count)
        else:
            count = _OTHER_POSITIVES[unit]
            occurrence[:, column] = strongest(
                scores, count if size == "full" else round(count / _ROWS * total)
            )
    return occurrence


def _draw_levels(
    takes: list[_Take], occurrence: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Intensities 0 to 5 of the graded units, 9 in short stretches: uint8 [N, 5]."""
    lengths = [len(take.frames) for take in takes]
    levels = np.zeros((len(occurrence), len(_GRADED)), dtype=np.uint8)
    for column, unit in enumerate(_GRADED):
        strength = 1 + np.clip(1.5 + draw_scores(rng, lengths), 0, 4).astype(np.uint8)
        levels[:, column] = np.where(occurrence[:, _CODED.index(unit)], strength, 0)
        for take in takes[::5]:
            start = take.rows.start + int(rng.integers(0, len(take.frames) - 6))
            levels[start : start + 4, column] = 9
    return levels


def _write_codes(
    root: Path,
    layout: str,
    take: _Take,
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.uint8],
    levels: npt.NDArray[np.uint8],
    *,
    quirk: int,
    extra: bool,
) -> dict[str, Any]:
    """Write the files of one recording; `quirk` says which of the oddities they have (0: none)."""
    official = layout == "official"
    frames = take.frames[rows - take.rows.start]
    table = np.full((len(rows), 99), 9, dtype=np.uint8)
    table[:, np.array(_CODED) - 1] = codes[rows]
    lines = [",".join(map(str, range(100)))]
    lines += [f"{frame}," + ",".join(row) for frame, row in zip(frames.tolist(), _digits(table), strict=True)]
    if quirk % 4 == 1:
        lines[5:5] = ["," * 99]
    folder = root / "AUCoding" / "AU_OCC" if official else root / "AUCoding"
    path = folder / f"{take.name}.csv"
    write_text(path, lines, bom=quirk % 5 == 2, crlf=quirk % 3 == 1, final_newline=quirk % 6 != 4)
    graded = {}
    for column, unit in enumerate(_GRADED):
        their_frames, their = take.frames.tolist(), levels[take.rows, column].tolist()
        if extra:  # one frame fewer in front, one more behind
            their_frames, their = [*their_frames[1:], their_frames[-1] + 1], [*their[1:], 0]
        name = f"AU{unit:02d}"
        folder = root / ("AUCoding/AU_INT" if official else "AU-Intensity-Codes3.0") / name
        pairs = [f"{frame},{level}" for frame, level in zip(their_frames, their, strict=True)]
        write_text(folder / f"{take.name}_{name}.csv", pairs, crlf=quirk % 2 == 1, bom=quirk % 5 == 3)
        graded[f"AU{unit}"] = {"frames": their_frames, "levels": "".join(map(str, their))}
    return {
        "first": int(frames[0]),
        "last": int(frames[-1]),
        "rows": len(rows),
        "file": path.relative_to(root).as_posix(),
        "frames": frames.tolist(),
        "occurrence": {
            f"AU{unit}": "".join(map(str, codes[rows, column].tolist())) for column, unit in enumerate(_CODED)
        },
        "intensity": graded,
    }


def _digits(table: npt.NDArray[np.uint8]) -> list[str]:
    """Each row of one-digit numbers as text."""
    text = (table + ord("0")).tobytes().decode()
    width = table.shape[1]
    return [text[start : start + width] for start in range(0, len(text), width)]


def _write_media(
    root: Path,
    takes: list[_Take],
    occurrence: npt.NDArray[np.bool_],
    levels: npt.NDArray[np.uint8],
    media: bool,
    layout: str,
    preview: bool,
    pixels: int,
    seed: int,
    quirks: bool,
    missing_frames: int,
    truncated_image: bool,
) -> dict[str, Any]:
    """Render the coded frames; what was left out or damaged."""
    if not media:
        return {}
    studio = Studio(pixels, seed)
    height = 2 * round(pixels * 1392 / 1040 / 2)
    defects: dict[str, Any] = {}
    for number, take in enumerate(takes):
        studio.enter(int(take.subject[1:]), take.subject[0] == "M")
        graded = dict(zip(_GRADED, levels[take.rows].T, strict=True))
        shown = [
            {
                unit: (int(graded[unit][row]) % 9 / 5 if unit in graded else 0.6) * bool(present[column])
                for column, unit in enumerate(_CODED)
            }
            for row, present in enumerate(occurrence[take.rows])
        ]
        if preview:
            still: dict[int, float] = {}
            acts = [still] * (take.first - 1) + shown
            images = (studio.shoot(units).image for units in acts)
            path = root / "PreviewVideos" / take.subject / f"{take.name}.avi"
            write_video(path, images, fps=25, height=height)
            continue
        official = layout == "official"
        tree = "Sequences(2D+3D)" if official else "BP4D_crop"
        folder = root / tree / take.subject / take.task
        digits = 0 if not official else 3 if quirks and number % 3 == 1 and take.frames[-1] < 1000 else 4
        # As in the real tree, images go on behind the last coded frame.
        frames = range(take.first, take.first + len(shown) + 1)
        names = [f"{frame - official:0{digits}d}.jpg" for frame in frames]
        lacking = names[len(shown) - missing_frames :] if number == 0 and missing_frames else []
        for name, units in zip(names, [*shown, {}], strict=True):
            if name not in lacking:
                write_image(folder / name, studio.shoot(units).image, height=height)
        if official:
            for suffix in (".mtl", ".obj"):
                (folder / names[0]).with_suffix(suffix).write_text("# rendered\n", encoding="ascii")
        if lacking:
            defects["missing_frames"] = [f"{take.name}/{name}" for name in lacking]
        if truncated_image and number == 0:
            image = folder / names[1]
            image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
            defects["truncated_image"] = [f"{take.name}/{names[1]}"]
    return defects


def _count(
    takes: list[_Take], positive: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    rows = np.zeros(len(kept), dtype=bool)
    for take in takes:
        rows[take.rows] = True
    return {
        "subjects": len({take.subject for take in takes}),
        "clips": len(takes),
        "frames": int((rows & kept).sum()),
        "positives": {f"AU{u}": int(n) for u, n in zip(_CODED, positive[rows].sum(0), strict=True)},
    }
