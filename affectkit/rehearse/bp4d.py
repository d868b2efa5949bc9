"""A rendered corpus in BP4D's layout, with as many frames and positives as the real one has, or a few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from affectkit.rehearse.acting.landmarks import BP4D_PICTURE, LandmarkDefect, in_picture, write_fit
from affectkit.rehearse.acting.macro import (
    Size,
    Studio,
    write_image,
    write_manifest,
    write_text,
    write_video,
)
from affectkit.rehearse.bp4d_codes import (
    CODED,
    GRADED,
    PARTS,
    Take,
    draw_levels,
    draw_occurrence,
    plan_takes,
)

__all__ = ["write_bp4d"]


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
    landmark_defect: LandmarkDefect = "none",
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
        gap: Leave three rows out of the first recording.
        unknown: Code 9 in some rows of the second recording.
        conflict: Intensity 0 where a unit is present, in four frames of the first recording.
        missing_frames: Leave out so many of the first recording's last images.
        truncated_image: Cut off an image of the first recording.
        landmark_defect: What is wrong with the landmarks of the first recording, see `write_fit`.

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
    first, second = takes[0], takes[1]
    if unknown:
        codes[second.rows.start + 3 : second.rows.start + 9, CODED.index(4)] = 9
    if conflict:
        unit = GRADED.index(12)
        present = np.flatnonzero(occurrence[first.rows, CODED.index(12)])[:4] + first.rows.start
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
    defects: dict[str, list[str]] = {"missing_frames": [], "truncated_image": []}
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
                missing=missing_frames * (number == 0),
                truncated=truncated_image and number == 0,
                defects=defects,
            )
        recordings[take.name]["landmarks"] = write_fit(
            root / "2DFeatures" / f"{take.name}.mat",
            film.landmarks,
            (film.width, film.height),
            lost=[take.first + 5] if quirks and number % 3 == 0 else (),
            defect=landmark_defect if number == 0 else "none",
        )
    positive = (codes == 1) & kept[:, None]
    parts = {
        part: _count([take for take in takes if take.subject in people], positive, kept)
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
            **_count(takes, positive, kept),
            "parts": parts,
            "recordings": recordings,
            **defects,
        },
    )


def _write_codes(
    root: Path,
    layout: str,
    take: Take,
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
    table[:, np.array(CODED) - 1] = codes[rows]
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
        "rows": len(rows),
        "file": path.relative_to(root).as_posix(),
        "frames": frames.tolist(),
        "occurrence": {
            f"AU{unit}": "".join(map(str, codes[rows, column].tolist())) for column, unit in enumerate(CODED)
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
    missing: int,
    truncated: bool,
    defects: dict[str, list[str]],
) -> None:
    """Write the images of a recording, and in `defects` what was left out or damaged."""
    folder = root / ("Sequences(2D+3D)" if official else "BP4D_crop") / take.subject / take.task
    digits = 0 if not official else 3 if few_digits and take.frames[-1] < 1000 else 4
    # As in the real tree, images go on behind the last coded frame.
    frames = range(take.first, take.first + len(shown) + 1)
    names = [f"{frame - official:0{digits}d}.jpg" for frame in frames]
    lacking = names[len(shown) - missing :] if missing else []
    for name, image in zip(names, film.shoot(take.first - 1, [*shown, {}]), strict=True):
        if name not in lacking:
            write_image(folder / name, image, height=film.height)
    if official:
        for suffix in (".mtl", ".obj"):
            (folder / names[0]).with_suffix(suffix).write_text("# rendered\n", encoding="ascii")
    if lacking:
        defects["missing_frames"] = [f"{take.name}/{name}" for name in lacking]
    if truncated:
        path = folder / names[1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        defects["truncated_image"] = [f"{take.name}/{names[1]}"]


def _count(takes: list[Take], positive: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]) -> dict[str, Any]:
    rows = np.zeros(len(kept), dtype=bool)
    for take in takes:
        rows[take.rows] = True
    return {
        "subjects": len({take.subject for take in takes}),
        "clips": len(takes),
        "frames": int((rows & kept).sum()),
        "positives": {f"AU{u}": int(n) for u, n in zip(CODED, positive[rows].sum(0), strict=True)},
    }
