"""Rehearsal of BP4D."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.datasets.bp4d import BP4D, PARTS, ROWS, TASKS
from affectkit.facs.regions import POINTS_49
from affectkit.facs.sets import AU_SETS
from affectkit.rehearse.acting import coded
from affectkit.rehearse.acting.coded import Lengths, Points
from affectkit.rehearse.acting.studio import Studio, write_image, write_text
from affectkit.rehearse.registry import Job, register
from affectkit.synth.writers import write_video

__all__ = ["write_bp4d", "write_fit"]

_CODED, _USUAL, _GRADED = (tuple(unit.id for unit in AU_SETS[name]) for name in ("bp4d34", "bp4d12", "bp4d5"))
_PICTURE: Final = (1040, 1392)  # width and height of the real images
_PUBLISHED: Final = BP4D.expected["BP4D"]
_TASK_ROWS: Final = (20074, 20837, 12821, 20208, 20795, 19553, 20339, 12220)
_KNOWN_ROWS: Final = {"F001_T1": 553, "F001_T2": 574, "F020_T3": 329}
_KNOWN_STARTS: Final = {"F001_T1": 2440, "F001_T2": 721}
_FROM_FIRST: Final = 118  # recordings whose first frame is coded
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
    job: Job,
    *,
    layout: Literal["official", "benchmark"] = "official",
    preview: bool = False,
    pixels: int = 48,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write a rehearsal of BP4D.

    Options:
        size: "full" has 41 subjects with 8 tasks and the published rows of every subject and task, positives of every
            unit, and positives of the twelve usual units in each part; "small" has 9 subjects with 3 tasks, "tiny"
            3 with 2. The manifest has all codes and landmarks unless in size "full".
        media: Render images of the coded frames; takes hours in size "full".
        layout: "official", or as benchmarks rename it: images named by label frames, codes directly in `AUCoding`.
        preview: Write videos instead of images; coding then begins within the first frames.
        pixels: Width of the images, even.
        quirks: Write some files with byte-order marks, Windows line ends, blank rows, three-digit names or frames
            without landmarks.
    """
    rng = job.rng(41)
    lengths = _draw_lengths(job.size, rng)
    starts = _draw_starts(lengths, rng, preview)
    occurrence = _draw_occurrence(lengths, job.is_full, rng)
    levels = _draw_levels(lengths, occurrence, rng)
    studio, height = Studio(pixels, job.seed), 2 * round(pixels * _PICTURE[1] / _PICTURE[0] / 2)
    is_official = layout == "official"
    recordings: dict[str, Any] = {}
    tables = zip(starts.items(), coded.split(occurrence, lengths), coded.split(levels, lengths), strict=True)
    for number, ((name, first), own, graded) in enumerate(tables):
        last, quirk = first + len(own) - 1, number if quirks else 0
        truths = _write_codes(job.out, is_official, name, first, own, graded, quirk)
        if job.media:
            studio.enter(7, int(name[1:4]), name[0] == "M")
            acts, seen = _act(own, graded), dict[int, Points]()
            if preview:  # the face rests until the first coded frame
                images = coded.film(studio, [*[{}] * (first - 1), *acts], height, seen)
                path = job.out / "PreviewVideos" / name[:4] / f"{name}.avi"
                write_video(path, images, fps=25, codec="mpeg4")
            else:  # as in the real tree, there is one image more than coded frames
                images = coded.film(studio, [*acts, {}], height, seen, first - 1)
                folder = job.out / ("Sequences(2D+3D)" if is_official else "BP4D_crop") / name[:4] / name[5:]
                width = 0 if not is_official else 3 if quirk % 3 == 1 and last < 1000 else 4
                for frame, image in enumerate(images, start=first):
                    write_image(folder / f"{frame - is_official:0{width}d}.jpg", image)
                for suffix in ("mtl", "obj") if is_official else ():
                    (folder / f"{first - 1:0{width}d}.{suffix}").write_text("# rendered\n", encoding="ascii")
            lost = [first + 5] if quirks and number % 3 == 0 else []
            path = job.out / "2DFeatures" / f"{name}.mat"
            truths["landmarks"] = write_fit(path, seen, (pixels, height), lost)
        recordings[name] = {"first": first, "last": last, "rows": len(own)} | ({} if job.is_full else truths)
    return {**coded.count_frames(lengths, occurrence, _CODED, PARTS), "recordings": recordings}


def _draw_lengths(size: str, rng: np.random.Generator) -> dict[str, int]:
    """Rows of each recording; in size "full" they add up to the published rows of subjects and tasks."""
    if size != "full":
        subjects, tasks, length = _SMALL[size]
        return {f"{s}_{t}": length + int(rng.integers(0, 9)) for s in subjects for t in tasks}
    left = np.array(_TASK_ROWS)
    for name, rows in _KNOWN_ROWS.items():
        left[TASKS.index(name[5:])] -= rows
    lengths: dict[str, int] = {}
    for subject in sorted(ROWS):
        known = {task: _KNOWN_ROWS.get(f"{subject}_{task}", 0) for task in TASKS}
        rows = ROWS[subject] - sum(known.values())
        weights = np.where([known[task] > 0 for task in TASKS], 0, left)
        share = weights * (rows / weights.sum())
        own = np.floor(share).astype(int)
        own[np.argsort(own - share)[: rows - own.sum()]] += 1
        left -= own
        lengths |= {f"{subject}_{task}": known[task] + n for task, n in zip(TASKS, own.tolist(), strict=True)}
    return lengths


def _draw_starts(lengths: Lengths, rng: np.random.Generator, is_early: bool) -> dict[str, int]:
    """First coded frame of each recording."""
    count = max(1, _FROM_FIRST * len(lengths) // 328)
    from_first = set(rng.permutation(sorted(lengths.keys() - _KNOWN_STARTS.keys()))[:count])
    starts = {}
    for name in lengths:
        first = _KNOWN_STARTS.get(name, 1 if name in from_first else int(rng.integers(2, 700)))
        starts[name] = 1 + first % 7 if is_early else first
    return starts


def _draw_occurrence(lengths: Lengths, is_full: bool, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Presence of the coded units in each frame, bool [N, U]."""
    total = sum(lengths.values())
    of_part = {part: coded.rows_of(lengths, people) for part, people in PARTS.items()}
    occurrence = np.zeros((total, len(_CODED)), dtype=bool)
    for column, unit in enumerate(_CODED):
        scores, whole = coded.draw_scores(rng, lengths.values()), _PUBLISHED.positives[f"AU{unit}"]
        rate = whole / sum(ROWS.values())
        counts: list[tuple[Any, int]] = [(slice(None), whole if is_full else round(rate * total))]
        if unit in _USUAL and is_full:
            counts = [(rows, _PUBLISHED.parts[part].positives[f"AU{unit}"]) for part, rows in of_part.items()]
        elif unit in _USUAL:  # neither never nor always
            counts = [
                (rows, min(max(round(rate * rows.sum()), 4), int(rows.sum()) - 4))
                for rows in of_part.values()
            ]
        occurrence[:, column] = coded.mark_strongest(scores, counts)
    return occurrence


def _draw_levels(
    lengths: Lengths, occurrence: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Intensities 0 to 5 of the graded units, 9 in short stretches: uint8 [N, 5]."""
    levels = np.zeros((len(occurrence), len(_GRADED)), dtype=np.uint8)
    for column, unit in enumerate(_GRADED):
        strength = 1 + np.clip(1.5 + coded.draw_scores(rng, lengths.values()), 0, 4).astype(np.uint8)
        levels[:, column] = np.where(occurrence[:, _CODED.index(unit)], strength, 0)
        for own in coded.split(levels[:, column], lengths)[::5]:
            start = int(rng.integers(0, len(own) - 6))
            own[start : start + 4] = 9
    return levels


def _write_codes(
    out: Path,
    is_official: bool,
    name: str,
    first: int,
    occurrence: npt.NDArray[np.bool_],
    levels: npt.NDArray[np.uint8],
    quirk: int,
) -> dict[str, Any]:
    """Write the codes of a recording, with oddities by the number `quirk` (0: none), and return them."""
    frames = list(range(first, first + len(occurrence)))
    table = np.full((len(frames), 99), 9, dtype=np.uint8)
    table[:, np.array(_CODED) - 1] = occurrence
    lines = [",".join(map(str, range(100)))]
    lines += [f"{frame},{','.join(coded.digits(row))}" for frame, row in zip(frames, table, strict=True)]
    if quirk % 4 == 1:
        lines[5:5] = ["," * 99]
    path = out / ("AUCoding/AU_OCC" if is_official else "AUCoding") / f"{name}.csv"
    write_text(path, lines, bom=quirk % 5 == 2, crlf=quirk % 3 == 1, final_newline=quirk % 6 != 4)
    is_shifted = quirk % 7 == 3  # intensities lack the first frame and have one more
    if is_shifted:
        levels = np.concatenate([levels[1:], levels[:1] * 0])
    graded, shifted = {}, [frame + is_shifted for frame in frames]
    for unit, column in zip(_GRADED, map(coded.digits, levels.T), strict=True):
        folder = out / ("AUCoding/AU_INT" if is_official else "AU-Intensity-Codes3.0") / f"AU{unit:02d}"
        pairs = [f"{frame},{level}" for frame, level in zip(shifted, column, strict=True)]
        write_text(folder / f"{name}_AU{unit:02d}.csv", pairs, crlf=quirk % 2 == 1, bom=quirk % 5 == 3)
        graded[f"AU{unit}"] = {"frames": shifted, "levels": column}
    return {
        "file": path.relative_to(out).as_posix(),
        "frames": frames,
        "occurrence": {
            f"AU{unit}": coded.digits(codes) for unit, codes in zip(_CODED, occurrence.T, strict=True)
        },
        "intensity": graded,
    }


def _act(occurrence: npt.NDArray[np.bool_], levels: npt.NDArray[np.uint8]) -> list[Mapping[int, float]]:
    """Intensities of the present units in each frame."""
    strength = np.where(occurrence, 0.6, 0.0)
    for unit, column in zip(_GRADED, levels.T, strict=True):
        strength[:, _CODED.index(unit)] = occurrence[:, _CODED.index(unit)] * (column % 9 / 5)
    return [dict(zip(_CODED, row, strict=True)) for row in strength.tolist()]


def write_fit(
    path: Path, seen: Mapping[int, Points], size: tuple[int, int], lost: Collection[int] = ()
) -> dict[str, str]:
    """Write BP4D's 49 landmarks: a structure array `fit` with an entry per frame, empty where tracking failed.

    Args:
        path: File to write.
        seen: Points [68, 2] in the written pictures by tracked frame, from 0.
        size: Width and height of the written pictures.
        lost: Frames in which tracking failed nevertheless.

    Returns:
        All 68 points of the tracked frames, see `acting.coded.describe_points`.
    """
    tracked = {frame: points for frame, points in seen.items() if frame not in lost}
    fit = np.empty((1, max(seen) + 1), dtype=[("pred", object), ("pose", object)])
    for frame in range(fit.size):
        pose = np.empty((1, 1), dtype=[("angle", object), ("rot", object)])
        pose[0, 0] = (np.zeros((1, 3)), np.eye(3))
        pred = np.zeros((0, 0))
        if frame in tracked:
            pred = coded.rescale(tracked[frame], size, _PICTURE)[list(POINTS_49)]
        fit[0, frame] = (pred, pose)
    coded.write_mat(path, fit=fit)
    return coded.describe_points(tracked)
