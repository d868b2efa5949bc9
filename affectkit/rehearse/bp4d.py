"""A rendered corpus in BP4D's layout, with as many frames and positives as the real one has, or a few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.datasets.bp4d import BP4D, PARTS, ROWS, TASKS
from affectkit.facs.sets import AU_SETS
from affectkit.rehearse.acting.landmarks import BP4D_PICTURE, in_picture, write_fit
from affectkit.rehearse.acting.macro import (
    Studio,
    draw_scores,
    strongest,
    write_image,
    write_manifest,
    write_text,
    write_video,
)
from affectkit.rehearse.registry import Size, register

__all__ = ["write_bp4d"]

CODED: Final = tuple(unit.id for unit in AU_SETS["bp4d34"])
_USUAL: Final = tuple(unit.id for unit in AU_SETS["bp4d12"])
GRADED: Final = tuple(unit.id for unit in AU_SETS["bp4d5"])
_PUBLISHED: Final = BP4D.expected["BP4D"]
_TASK_ROWS: Final = (20074, 20837, 12821, 20208, 20795, 19553, 20339, 12220)
_KNOWN_ROWS: Final = {"F001_T1": 553, "F001_T2": 574, "F020_T3": 329}
_KNOWN_STARTS: Final = {"F001_T1": 2440, "F001_T2": 721}
_FROM_FIRST: Final = 118  # recordings whose first frame is coded
_ROWS: Final = 146_847
_SMALL: Final = {
    "tiny": (("F001", "F003", "F004"), ("T1", "T2"), 35),
    "small": (
        ("F001", "F002", "M001", "F003", "F005", "M002", "F004", "F006", "M003"),
        ("T1", "T2", "T8"),
        60,
    ),
}


@register("bp4d")
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
        quirks: Byte-order marks, Windows line ends, blank rows, three-digit names and frames without landmarks here
            and there.

    Returns:
        The manifest, which is written as `rehearsal.json` too: counts, parts, and unless in size "full" every code
        and landmark.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 41])
    takes = plan_takes(size, rng, early=preview)
    occurrence = draw_occurrence(takes, size, rng)
    levels = draw_levels(takes, occurrence, rng)
    codes = occurrence.astype(np.uint8)
    recordings = {}
    for number, take in enumerate(takes):
        recordings[take.name] = _write_codes(
            root,
            layout,
            take,
            codes,
            levels,
            quirk=number if quirks else 0,
            extra=quirks and number % 7 == 3,
        )
    studio = Studio(pixels, seed)
    for number, take in enumerate(takes if media else ()):
        studio.enter(int(take.subject[1:]), take.subject[0] == "M")
        film = _Film(studio, pixels, 2 * round(pixels * BP4D_PICTURE[1] / BP4D_PICTURE[0] / 2))
        shown = _acts(occurrence[take.rows], levels[take.rows])
        if preview:
            _write_preview(root, take, film, shown)
        else:
            _write_images(
                root,
                take,
                film,
                shown,
                official=layout == "official",
                few_digits=quirks and number % 3 == 1,
            )
        recordings[take.name]["landmarks"] = write_fit(
            root / "2DFeatures" / f"{take.name}.mat",
            film.landmarks,
            (film.width, film.height),
            lost=[take.first + 5] if quirks and number % 3 == 0 else (),
        )
    parts = {
        part: _count([take for take in takes if take.subject in people], occurrence)
        for part, people in PARTS.items()
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
            **_count(takes, occurrence),
            "parts": parts,
            "recordings": recordings,
        },
    )


def _write_codes(
    root: Path,
    layout: str,
    take: Take,
    codes: npt.NDArray[np.uint8],
    levels: npt.NDArray[np.uint8],
    *,
    quirk: int,
    extra: bool,
) -> dict[str, Any]:
    """Write the files of one recording; `quirk` says which of the oddities they have (0: none)."""
    official = layout == "official"
    frames, own = take.frames, codes[take.rows]
    table = np.full((len(own), 99), 9, dtype=np.uint8)
    table[:, np.array(CODED) - 1] = own
    lines = [",".join(map(str, range(100)))]
    lines += [f"{frame}," + ",".join(row) for frame, row in zip(frames.tolist(), _digits(table), strict=True)]
    if quirk % 4 == 1:
        lines[5:5] = ["," * 99]
    folder = root / "AUCoding" / "AU_OCC" if official else root / "AUCoding"
    path = folder / f"{take.name}.csv"
    write_text(path, lines, bom=quirk % 5 == 2, crlf=quirk % 3 == 1, final_newline=quirk % 6 != 4)
    graded = {}
    for column, unit in enumerate(GRADED):
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
        "rows": len(own),
        "file": path.relative_to(root).as_posix(),
        "frames": frames.tolist(),
        "occurrence": {
            f"AU{unit}": "".join(map(str, own[:, column].tolist())) for column, unit in enumerate(CODED)
        },
        "intensity": graded,
    }


def _digits(table: npt.NDArray[np.uint8]) -> list[str]:
    """Each row of one-digit numbers as text."""
    text = (table + ord("0")).tobytes().decode()
    width = table.shape[1]
    return [text[start : start + width] for start in range(0, len(text), width)]


class _Film:
    """Pictures of one recording, and where the landmarks lie in them."""

    def __init__(self, studio: Studio, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.landmarks: dict[int, npt.NDArray[np.float64]] = {}
        self._studio = studio

    def shoot(self, first: int, acts: Sequence[Mapping[int, float]]) -> Iterator[npt.NDArray[np.uint8]]:
        """Render frames, of which the first has the number `first`, from 0."""
        for frame, units in enumerate(acts, start=first):
            face = self._studio.shoot(units)
            self.landmarks[frame] = in_picture(face.landmarks, self.width, self.height)
            yield face.image


def _acts(occurrence: npt.NDArray[np.bool_], levels: npt.NDArray[np.uint8]) -> list[dict[int, float]]:
    """What a face does in each frame: the intensities of its units."""
    graded = dict(zip(GRADED, levels.T, strict=True))
    return [
        {
            unit: (int(graded[unit][row]) % 9 / 5 if unit in graded else 0.6) * bool(present[column])
            for column, unit in enumerate(CODED)
        }
        for row, present in enumerate(occurrence)
    ]


def _write_preview(root: Path, take: Take, film: _Film, shown: list[dict[int, float]]) -> None:
    """Write the video of a recording, whose face rests until its first coded frame."""
    rest: list[dict[int, float]] = [{}] * (take.first - 1)
    path = root / "PreviewVideos" / take.subject / f"{take.name}.avi"
    write_video(path, film.shoot(0, [*rest, *shown]), fps=25, height=film.height)


def _write_images(
    root: Path,
    take: Take,
    film: _Film,
    shown: list[dict[int, float]],
    *,
    official: bool,
    few_digits: bool,
) -> None:
    """Write the images of a recording."""
    folder = root / ("Sequences(2D+3D)" if official else "BP4D_crop") / take.subject / take.task
    digits = 0 if not official else 3 if few_digits and take.frames[-1] < 1000 else 4
    # As in the real tree, images go on behind the last coded frame.
    frames = range(take.first, take.first + len(shown) + 1)
    names = [f"{frame - official:0{digits}d}.jpg" for frame in frames]
    for name, image in zip(names, film.shoot(take.first - 1, [*shown, {}]), strict=True):
        write_image(folder / name, image, height=film.height)
    if official:
        for suffix in (".mtl", ".obj"):
            (folder / names[0]).with_suffix(suffix).write_text("# rendered\n", encoding="ascii")


def _count(takes: list[Take], occurrence: npt.NDArray[np.bool_]) -> dict[str, Any]:
    rows = np.zeros(len(occurrence), dtype=bool)
    for take in takes:
        rows[take.rows] = True
    return {
        "subjects": len({take.subject for take in takes}),
        "clips": len(takes),
        "frames": int(rows.sum()),
        "positives": {f"AU{u}": int(n) for u, n in zip(CODED, occurrence[rows].sum(0), strict=True)},
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
    wanted_rows = np.array([ROWS[subject] for subject in subjects], dtype=np.float64)
    wanted_columns = np.array(_TASK_ROWS, dtype=np.float64)
    table = np.random.default_rng(8).uniform(0.85, 1.15, (len(subjects), len(TASKS)))
    free = np.ones_like(table)
    fixed = np.zeros_like(table)
    for name, rows in _KNOWN_ROWS.items():
        place = subjects.index(name[:4]), TASKS.index(name[5:])
        free[place], fixed[place] = 0.0, rows
    for _ in range(200):  # proportional fitting
        table *= free * ((wanted_rows - fixed.sum(1)) / (table * free).sum(1))[:, None]
        table *= free * ((wanted_columns - fixed.sum(0)) / (table * free).sum(0))[None]
    whole = np.floor(table + fixed)
    lack_rows, lack_columns = wanted_rows - whole.sum(1), wanted_columns - whole.sum(0)
    order = np.argsort(-(table - np.floor(table)) * free, axis=None)
    while lack_rows.any():
        for place in order.tolist():
            row, column = divmod(place, len(TASKS))
            if lack_rows[row] > 0 and lack_columns[column] > 0 and free[row, column]:
                whole[row, column] += 1
                lack_rows[row] -= 1
                lack_columns[column] -= 1
    return {
        f"{subject}_{task}": int(whole[row, column])
        for row, subject in enumerate(subjects)
        for column, task in enumerate(TASKS)
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
                count = _PUBLISHED.parts[part].positives[f"AU{unit}"]
                if size != "full":  # as frequent as in the whole, but neither never nor always
                    rate = _PUBLISHED.positives[f"AU{unit}"] / _ROWS
                    count = min(max(round(rate * rows.sum()), 4), int(rows.sum()) - 4)
                occurrence[rows, column] = strongest(scores[rows], count)
        else:
            count = _PUBLISHED.positives[f"AU{unit}"]
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
