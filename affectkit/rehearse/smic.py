"""Rehearsal of SMIC."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.smic import CLASSES, ROWS
from affectkit.rehearse.acting.micro import Cell, Clip, Unit, act, choose, deal, summarise
from affectkit.rehearse.acting.studio import write_image
from affectkit.rehearse.registry import Job, register

__all__ = ["write_smic"]

_VIS_ROWS: Final = {11: 9, 12: 9, 13: 9, 14: 9, 15: 9, 18: 9, 19: 8, 20: 9}
_COUNTS: Final = {"HS": {"ne": 70, "po": 51, "sur": 43}, "VIS": {"ne": 24, "po": 28, "sur": 19}}
_UNITS: Final = {"ne": (4, 7), "po": (6, 12), "sur": (1, 2, 5)}


@register("smic")
def write_smic(
    job: Job,
    *,
    part: Literal["HS", "VIS", "NIR"] = "HS",
    variant: Literal["cropped", "raw"] = "cropped",
    padded_subjects: bool = False,
) -> dict[str, Any]:
    """Write a rehearsal of SMIC. It has no table; folders name the labels.

    Options:
        size: "full" has all clips of the part (HS 164, VIS and NIR 71), "small" 8 people, "tiny" 4.
        media: Render faces; False leaves the folders of the clips empty.
        part: Camera.
        variant: Cropped or raw frames.
        padded_subjects: Name folders s03 instead of s3.
    """
    rng = job.rng(0)
    clips = _plan(rng, "HS" if part == "HS" else "VIS")
    people = sorted({clip.person for clip in clips}, key=lambda person: (person % 4, person))
    clips = choose(clips, job.size, people, {clip.name for clip in clips if clip.name.endswith("01")})
    folders, truths = [], []
    for clip in clips:
        subject = f"s{clip.person:02d}" if padded_subjects else f"s{clip.person}"
        folders.append(job.out / f"SMIC_all_{variant}" / part / subject / "micro" / clip.emotion / clip.name)
        folders[-1].mkdir(parents=True)
        (folders[-1].parents[2] / "non_micro").mkdir(exist_ok=True)
        truths.append(
            {
                "subject": f"s{clip.person:02d}",
                "clip": f"s{clip.person:02d}/{clip.name}",
                "emotion": clip.emotion,
                "frames": clip.offset - clip.onset + 1 if job.media else None,
            }
        )
    for place, _, frames in act(job, clips):
        (folders[place] / "Thumbs.db").write_bytes(b"\0")
        prefix, width = "reg_" if variant == "cropped" else "", 0 if place % 3 else 8
        for number, image in frames:
            write_image(folders[place] / f"{prefix}image{number:0{width}d}.bmp", image)
    return summarise(truths)


def _plan(rng: np.random.Generator, part: str) -> list[Clip]:
    rows = ROWS if part == "HS" else _VIS_ROWS
    people = [person for person, count in rows.items() for _ in range(count)]
    numbers: Counter[tuple[int, str]] = Counter()
    clips = []
    for person, kind in zip(people, deal(rng, _COUNTS[part], {}, len(people)), strict=True):
        numbers[person, kind] += 1
        onset = int(rng.integers(99_990, 20_000_000))
        length = int(np.clip(rng.normal(34, 9), 11, 51)) if part == "HS" else int(rng.integers(4, 14))
        cell = Cell("", tuple(map(Unit, _UNITS[kind])))
        name = f"s{person}_{kind}_{numbers[person, kind]:02d}"
        clips.append(Clip(person, name, onset, "", onset + length - 1, CLASSES[kind], cell))
    return sorted(clips, key=lambda clip: (clip.person, clip.name))
