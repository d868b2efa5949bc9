"""Which frames of a rendered BP4D are coded, and how: as many as in the real one, or a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from affectkit.facs.sets import AU_SETS
from affectkit.rehearse.acting.macro import Size, draw_scores, strongest

__all__ = ["CODED", "GRADED", "PARTS", "Take", "draw_levels", "draw_occurrence", "plan_takes"]

CODED: Final = tuple(unit.id for unit in AU_SETS["bp4d34"])
_USUAL: Final = tuple(unit.id for unit in AU_SETS["bp4d12"])
GRADED: Final = tuple(unit.id for unit in AU_SETS["bp4d5"])
_TASKS: Final = tuple(f"T{number}" for number in range(1, 9))
PARTS: Final = {
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
class Take:
    """One recording."""

    name: str
    first: int
    rows: slice  # in the arrays of the corpus
    frames: npt.NDArray[np.int64]

    @property
    def subject(self) -> str:
        """Who is seen."""
        return self.name[:4]

    @property
    def task(self) -> str:
        """What they do."""
        return self.name[5:]


def plan_takes(size: Size, rng: np.random.Generator, *, early: bool) -> list[Take]:
    """The recordings of a size.

    Args:
        size: Of the corpus.
        rng: Source of every choice.
        early: Whether coding begins within the first frames.
    """
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
        takes.append(Take(name, first, slice(start, start + length), np.arange(first, first + length)))
        start += length
    return takes


def _full_rows() -> dict[str, int]:
    """Rows of all recordings: the published sums of subjects and tasks, and the few lengths that are published."""
    subjects = sorted(subject for people in PARTS.values() for subject in people)
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


def draw_occurrence(takes: list[Take], size: Size, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which units are present in which frame, bool [N, U] in the order of the coded units."""
    lengths = [len(take.frames) for take in takes]
    total = sum(lengths)
    part_of = {subject: part for part, people in PARTS.items() for subject in people}
    of_part = {part: np.repeat([part_of[take.subject] == part for take in takes], lengths) for part in PARTS}
    occurrence = np.zeros((total, len(CODED)), dtype=bool)
    for column, unit in enumerate(CODED):
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


def draw_levels(
    takes: list[Take], occurrence: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Intensities 0 to 5 of the graded units, 9 in short stretches: uint8 [N, 5]."""
    lengths = [len(take.frames) for take in takes]
    levels = np.zeros((len(occurrence), len(GRADED)), dtype=np.uint8)
    for column, unit in enumerate(GRADED):
        strength = 1 + np.clip(1.5 + draw_scores(rng, lengths), 0, 4).astype(np.uint8)
        levels[:, column] = np.where(occurrence[:, CODED.index(unit)], strength, 0)
        for take in takes[::5]:
            start = take.rows.start + int(rng.integers(0, len(take.frames) - 6))
            levels[start : start + 4, column] = 9
    return levels
