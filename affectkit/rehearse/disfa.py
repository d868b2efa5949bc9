"""Rehearsal of DISFA."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.datasets.disfa import DISFA, PARTS, POSITIVES
from affectkit.facs.regions import POINTS_66
from affectkit.facs.sets import AU_SETS
from affectkit.rehearse.acting import coded
from affectkit.rehearse.acting.coded import Lengths, Points
from affectkit.rehearse.acting.studio import Studio, write_image, write_text
from affectkit.rehearse.registry import Job, register
from affectkit.synth.writers import write_video

__all__ = ["write_disfa"]

_UNITS, _USUAL = (tuple(unit.id for unit in AU_SETS[name]) for name in ("disfa12", "disfa8"))
_PICTURE: Final = (1024, 768)  # width and height of the real images
_SMALL: Final = {
    "tiny": (("SN001", "SN003", "SN006"), 40),
    "small": (("SN001", "SN002", "SN003", "SN004", "SN006", "SN009", "SN010", "SN011", "SN012"), 100),
}
_FULL: Final = (tuple(sorted(subject for people in PARTS.values() for subject in people)), 4845)
_SHORT: Final = "SN010"  # lacks the last frame
_PUBLISHED: Final = DISFA.expected["DISFA"]
_FRAMES: Final = 130_814
_OTHERS: Final = {5: 1150, 15: 2500, 17: 4500, 20: 1900}  # AU5 is published, the others are rough guesses


@register("disfa")
def write_disfa(
    job: Job,
    *,
    images: Literal["none", "zero", "one"] = "none",
    cameras: tuple[str, ...] = ("left", "right"),
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write a rehearsal of DISFA.

    Options:
        size: "full" has 27 subjects of 4,845 frames, with the published numbers of frames at intensity 2 or more in
            each part and at 3, 4 and 5; "small" has 9 subjects of 100 frames, "tiny" 3 of 40. The manifest has all
            levels and landmarks unless in size "full".
        media: Render videos or images; takes hours in size "full".
        images: Write images instead of videos, numbered from "zero" (`SN001/0.png`) or "one"
            (`LeftVideoSN001/frame_1.jpg`).
        cameras: Cameras; the right one sees the face turned.
        pixels: Width of the images, a multiple of 8.
        quirks: Write some files with Windows line ends, byte-order marks, other spellings, or landmarks of a surplus
            frame.
    """
    rng = job.rng(43)
    subjects, length = _SMALL.get(job.size, _FULL)
    lengths = {subject: length - (subject == _SHORT) for subject in subjects}
    levels = _draw_levels(lengths, job.is_full, rng)
    studio, recordings = Studio(pixels, job.seed), dict[str, Any]()
    for number, (subject, own) in enumerate(zip(lengths, coded.split(levels, lengths), strict=True)):
        frames = range(1, len(own) + 1)
        intensity = {unit: coded.digits(column) for unit, column in zip(_UNITS, own.T, strict=True)}
        for unit, column in intensity.items():
            spelling = "AU" if quirks and number == 2 else "au"
            path = job.out / "ActionUnit_Labels" / subject / f"{subject}_{spelling}{unit}.txt"
            quirk = (number + unit) % 4 if quirks else 0
            lines = [f"{frame},{level}" for frame, level in zip(frames, column, strict=True)]
            write_text(path, lines, crlf=quirk == 1, bom=quirk == 2, final_newline=quirk != 3)
        recordings[subject] = {"first": 1, "last": len(frames), "rows": len(frames)}
        truths: dict[str, Any] = {
            "frames": list(frames),
            "intensity": {f"AU{u}": c for u, c in intensity.items()},
        }
        for camera in cameras if job.media else ():
            odd = number if quirks else 0
            seen = _write_media(job.out, subject, own, images, camera, studio, odd)
            if camera == "left":
                folder = job.out / "Landmark_Points" / subject / "tmp_frame_lm"
                truths["landmarks"] = _write_points(folder, subject, seen, pixels, odd)
        if not job.is_full:
            recordings[subject] |= truths
    at_least = {
        str(n): {f"AU{u}": int(k) for u, k in zip(_UNITS, (levels >= n).sum(0), strict=True)}
        for n in range(1, 6)
    }
    counts = coded.count_frames(lengths, levels >= 2, _UNITS, PARTS)
    return {**counts, "at_least": at_least, "recordings": recordings}


def _draw_levels(lengths: Lengths, is_full: bool, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Intensities 0 to 5, uint8 [N, 12]."""
    total = sum(lengths.values())
    of_part = {part: coded.rows_of(lengths, people) for part, people in PARTS.items()}
    levels = np.zeros((total, len(_UNITS)), dtype=np.uint8)
    for column, unit in enumerate(_UNITS):
        scores, label = coded.draw_scores(rng, lengths.values(), smooth=30), f"AU{unit}"
        whole = _PUBLISHED.positives[label] if unit in _USUAL else _OTHERS[unit]
        least = 0.15 if unit in _USUAL else 0.1
        sets = of_part if unit in _USUAL else {"": np.ones(total, dtype=bool)}
        counts = [(rows, round(max(whole / _FRAMES, least) * rows.sum())) for rows in sets.values()]
        if is_full:
            known = _PUBLISHED.parts
            counts = [(rows, known[part].positives[label] if part else whole) for part, rows in sets.items()]
        present = coded.mark_strongest(scores, counts)
        shares = ((3, 0.6), (4, 0.2), (5, 0.04))
        higher = [POSITIVES[level].get(unit, round(share * whole)) for level, share in shares]
        number = int(present.sum())
        if not is_full:
            higher = [round(count / whole * number) for count in higher]
        # Present frames rank above absent ones; the strongest of the latter are traces.
        ranked = np.where(present, scores + 100, scores)
        for count in (number + round(0.3 * number), number, *higher):
            levels[:, column] += coded.strongest(ranked, count)
    return levels


def _write_media(
    out: Path,
    subject: str,
    levels: npt.NDArray[np.uint8],
    images: str,
    camera: str,
    studio: Studio,
    quirk: int,
) -> dict[int, Points]:
    """Render a subject, and return the landmarks by frame from 0."""
    height, side = studio.size * _PICTURE[1] // _PICTURE[0], camera.capitalize()
    seen: dict[int, Points] = {}
    studio.enter(7, int(subject[2:]))
    acts = [dict(zip(_UNITS, row, strict=True)) for row in (levels / 5).tolist()]
    frames = coded.film(studio, acts, height, seen, yaw=25.0 if camera == "right" else 0.0)
    if images == "none":
        folder = f"Video{'' if camera == 'right' else 's'}_{side}Camera"
        name = f"{camera}Video{subject}_Comp.avi" if quirk == 1 else f"{side}Video{subject}_comp.avi"
        write_video(out / folder / name, frames, fps=20, codec="mpeg4")
    for index, image in enumerate(frames if images != "none" else ()):
        name = f"{subject}/{index}.png" if images == "zero" else f"{side}Video{subject}/frame_{index + 1}.jpg"
        write_image(out / f"images_{camera}" / name, image)
    return seen


def _write_points(
    folder: Path, subject: str, seen: dict[int, Points], pixels: int, quirk: int
) -> dict[str, str]:
    """Write DISFA's 66 landmarks, a file per frame from 0, and return all 68."""
    last = max(seen)
    surplus = {last + 1: seen[last]} if quirk == 1 else {}
    for frame, points in (seen | surplus).items():
        name = f"l{frame:05d}_lm.mat" if quirk == 2 else f"{subject}_{frame:04d}_lm.mat"
        pts = coded.rescale(points, (pixels, pixels * _PICTURE[1] // _PICTURE[0]), _PICTURE)[list(POINTS_66)]
        coded.write_mat(folder / name, pts=pts)
    return coded.describe_points(seen)
