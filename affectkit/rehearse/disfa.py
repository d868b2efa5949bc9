"""A rendered corpus in DISFA's layout, with as many frames and positives as the real one has, or a few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.datasets.disfa import DISFA, PARTS, POSITIVES
from affectkit.facs.sets import AU_SETS
from affectkit.rehearse.acting.landmarks import in_picture, write_points
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

__all__ = ["write_disfa"]

_UNITS: Final = tuple(unit.id for unit in AU_SETS["disfa12"])
_USUAL: Final = tuple(unit.id for unit in AU_SETS["disfa8"])
_SMALL: Final = {
    "tiny": (("SN001", "SN003", "SN006"), 40),
    "small": (("SN001", "SN002", "SN003", "SN004", "SN006", "SN009", "SN010", "SN011", "SN012"), 100),
}
_LENGTH: Final = 4845
_SHORT: Final = "SN010"  # it lacks the last frame
_PUBLISHED: Final = DISFA.expected["DISFA"]
_FRAMES: Final = 130_814
# Of units 15, 17 and 20 only their rarity is known.
_OTHERS: Final = {5: 1150, 15: 2500, 17: 4500, 20: 1900}


@register("disfa")
def write_disfa(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    images: Literal["none", "zero", "one"] = "none",
    cameras: tuple[str, ...] = ("left", "right"),
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write rendered faces and their intensities as DISFA is distributed.

    In size "full" the frames, the frames at intensity 2 or more in each part, and those at 3, 4 and 5 are the
    published ones, as far as they are published.

    Args:
        out: The folder to make.
        size: "tiny" (3 subjects of 40 frames), "small" (9 of 100) or "full" (27 of 4,845).
        seed: Of every draw.
        media: Whether videos or images are rendered; hours in size "full".
        images: Instead of videos: images numbered from 0 (`SN001/0.png`) or from 1 (`LeftVideoSN001/frame_1.jpg`).
        cameras: Which cameras filmed; the right one sees the face turned.
        pixels: Width of the images, a multiple of 8.
        quirks: Windows line ends, byte-order marks, differing spellings, and landmarks of a frame too many here and
            there.

    Returns:
        The manifest, which is written as `rehearsal.json` too: counts, parts, and unless in size "full" every level
        and landmark.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 43])
    subjects, length = _SMALL.get(
        size, (tuple(sorted(s for people in PARTS.values() for s in people)), _LENGTH)
    )
    lengths = [length - (subject == _SHORT) for subject in subjects]
    levels = _draw_levels(subjects, lengths, size, rng)
    ends = np.cumsum([0, *lengths])
    recordings: dict[str, Any] = {}
    positive = np.zeros((len(subjects), 6, len(_UNITS)), dtype=np.int64)
    for number, (subject, start, stop) in enumerate(zip(subjects, ends[:-1], ends[1:], strict=True)):
        frames, own = list(range(1, stop - start + 1)), levels[start:stop]
        for unit in _UNITS:
            column = own[:, _UNITS.index(unit)].tolist()
            lines = [f"{frame},{level}" for frame, level in zip(frames, column, strict=True)]
            spelling = "SN{}_AU{}.txt" if quirks and number == 2 else "SN{}_au{}.txt"
            path = root / "ActionUnit_Labels" / subject / spelling.format(subject[2:], unit)
            quirk = (number + unit) % 4 if quirks else 0
            write_text(path, lines, crlf=quirk == 1, bom=quirk == 2, final_newline=quirk != 3)
            positive[number, :, _UNITS.index(unit)] = [sum(v >= n for v in column) for n in range(6)]
        recordings[subject] = {"first": frames[0], "last": frames[-1], "rows": len(frames)}
        if size != "full":
            recordings[subject] |= {
                "frames": frames,
                "intensity": {f"AU{u}": "".join(map(str, own[:, _UNITS.index(u)].tolist())) for u in _UNITS},
            }
        if media:
            seen = _write_media(root, subject, number, own, images, cameras, pixels, seed, quirks)
        if media and seen:
            points = write_points(
                root / "Landmark_Points" / subject / "tmp_frame_lm",
                subject,
                seen,
                (pixels, pixels * 768 // 1024),
                other_names=quirks and number == 2,
                surplus=quirks and number == 1,
            )
            recordings[subject] |= {} if size == "full" else {"landmarks": points}
    parts = {
        part: _count([subject in people for subject in subjects], recordings, positive)
        for part, people in PARTS.items()
    }
    return write_manifest(
        root,
        {
            "corpus": "DISFA",
            "size": size,
            "seed": seed,
            "media": media,
            **_count([True] * len(subjects), recordings, positive),
            "at_least": {
                str(n): {f"AU{u}": int(k) for u, k in zip(_UNITS, positive[:, n].sum(0), strict=True)}
                for n in range(1, 6)
            },
            "parts": parts,
            "recordings": recordings,
        },
    )


def _draw_levels(
    subjects: tuple[str, ...], lengths: list[int], size: Size, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Intensities 0 to 5, uint8 [N, 12]."""
    total = sum(lengths)
    of_part = {
        part: np.repeat([subject in people for subject in subjects], lengths)
        for part, people in PARTS.items()
    }
    levels = np.zeros((total, len(_UNITS)), dtype=np.uint8)
    for column, unit in enumerate(_UNITS):
        scores = draw_scores(rng, lengths, smooth=30)
        present = np.zeros(total, dtype=bool)
        if unit in _USUAL:
            whole = _PUBLISHED.positives[f"AU{unit}"]
            for part, rows in of_part.items():
                rare = round(max(whole / _FRAMES, 0.15) * rows.sum())
                count = _PUBLISHED.parts[part].positives[f"AU{unit}"] if size == "full" else rare
                present[rows] = strongest(scores[rows], count)
        else:
            whole = _OTHERS[unit]
            present = strongest(scores, whole if size == "full" else round(max(whole / _FRAMES, 0.1) * total))
        share = [
            POSITIVES[level].get(unit, round(part * whole)) for level, part in ((3, 0.6), (4, 0.2), (5, 0.04))
        ]
        counts = [n if size == "full" else round(n / whole * present.sum()) for n in share]
        # What is present stands above what is not; among the latter the strongest are traces.
        ranked = np.where(present, scores + 100, scores)
        traces = int(present.sum()) + round(0.3 * present.sum())
        for count in (traces, int(present.sum()), *counts):
            levels[:, column] += strongest(ranked, count)
    return levels


def _write_media(
    root: Path,
    subject: str,
    number: int,
    levels: npt.NDArray[np.uint8],
    images: str,
    cameras: tuple[str, ...],
    pixels: int,
    seed: int,
    quirks: bool,
) -> dict[int, npt.NDArray[np.float64]]:
    """Render a subject; where the landmarks lie for the left camera, by frame from 0."""
    studio = Studio(pixels, seed)
    height = pixels * 768 // 1024
    seen: dict[str, dict[int, npt.NDArray[np.float64]]] = {"left": {}, "right": {}}
    for camera in cameras:
        studio.enter(int(subject[2:]))
        frames = _film(studio, levels, 25.0 if camera == "right" else 0.0, height, seen[camera])
        side = camera.capitalize()
        if images == "none":
            spelling = (
                f"{camera}Video{subject}_Comp.avi"
                if quirks and number == 1
                else f"{side}Video{subject}_comp.avi"
            )
            folder = f"Video{'' if camera == 'right' else 's'}_{side}Camera"
            write_video(root / folder / spelling, frames, fps=20, height=height)
        for index, image in enumerate(frames if images != "none" else ()):
            name = (
                f"{subject}/{index}.png"
                if images == "zero"
                else f"{side}Video{subject}/frame_{index + 1}.jpg"
            )
            write_image(root / f"images_{camera}" / name, image, height=height)
    return seen["left"]


def _film(
    studio: Studio,
    levels: npt.NDArray[np.uint8],
    yaw: float,
    height: int,
    seen: dict[int, npt.NDArray[np.float64]],
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render a frame a row, and note in `seen` where its landmarks lie."""
    for frame, row in enumerate(levels):
        units = {unit: int(level) / 5 for unit, level in zip(_UNITS, row, strict=True)}
        face = studio.shoot(units, yaw)
        seen[frame] = in_picture(face.landmarks, len(face.image), height)
        yield face.image


def _count(chosen: list[bool], recordings: dict[str, Any], positive: npt.NDArray[np.int64]) -> dict[str, Any]:
    rows = [its["rows"] for its, own in zip(recordings.values(), chosen, strict=True) if own]
    return {
        "subjects": len(rows),
        "clips": len(rows),
        "frames": sum(rows),
        "positives": {f"AU{u}": int(n) for u, n in zip(_UNITS, positive[chosen, 2].sum(0), strict=True)},
    }
