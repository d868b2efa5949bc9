"""SMIC as it is distributed, with rendered faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.smic import CLASSES, ROWS
from affectkit.rehearse.acting.micro import (
    PIXELS,
    Actors,
    Clip,
    Unit,
    pick,
    save_image,
    write_manifest,
)
from affectkit.rehearse.registry import Size, register

__all__ = ["write_smic"]

_ROWS: Final = {
    "HS": ROWS,
    "VIS": {11: 9, 12: 9, 13: 9, 14: 9, 15: 9, 18: 9, 19: 8, 20: 9},
}
_COUNTS: Final = {"HS": {"ne": 70, "po": 51, "sur": 43}, "VIS": {"ne": 24, "po": 28, "sur": 19}}
_UNITS: Final = {"ne": (4, 7), "po": (6, 12), "sur": (1, 2, 5)}


@register("smic")
def write_smic(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    part: Literal["HS", "VIS", "NIR"] = "HS",
    variant: Literal["cropped", "raw"] = "cropped",
    padded_subjects: bool = False,
) -> dict[str, Any]:
    """Write a rehearsal of SMIC: there is no table, folders say what is in them.

    Args:
        out: The folder to make.
        size: "full" has all clips of the part (HS 164, VIS and NIR 71), "small" 8 people, "tiny" 4.
        seed: Of every draw.
        media: Whether faces are rendered; else the folders of the clips are empty.
        part: The camera.
        variant: Which frames.
        padded_subjects: Whether folders are called s03 instead of s3.

    Returns:
        The manifest.
    """
    out = Path(out)
    rng = np.random.default_rng([seed, 0])
    clips = _plan(rng, "HS" if part == "HS" else "VIS")
    people = sorted({clip.person for clip in clips}, key=lambda person: (person % 4, person))
    chosen = pick(clips, size, people, {clip.name for clip in clips if clip.name.endswith("01")})
    actors = Actors(PIXELS[size], seed)
    truths = []
    for place, clip in enumerate(chosen):
        kind = clip.name.split("_")[1]
        subject = f"s{clip.person:02d}" if padded_subjects else f"s{clip.person}"
        folder = out / f"SMIC_all_{variant}" / part / subject / "micro" / CLASSES[kind] / clip.name
        folder.mkdir(parents=True)
        (folder.parents[2] / "non_micro").mkdir(exist_ok=True)
        length = clip.offset - clip.onset + 1 if size == "full" else 8 + place % 3
        short = Clip(
            clip.person, clip.name, clip.onset, clip.onset + length // 2, clip.onset + length - 1, clip.units,
            clip.cell, clip.emotion, "",
        )  # fmt: skip
        truths.append(
            {
                "subject": f"s{clip.person:02d}",
                "clip": f"s{clip.person:02d}/{clip.name}",
                "emotion": clip.emotion,
                "frames": length if media else None,
            }
        )
        if not media:
            continue
        (folder / "Thumbs.db").write_bytes(b"\0")
        numbers = range(short.onset, short.offset + 1)
        width = 8 if place % 3 == 0 else 0
        for number, image in zip(numbers, actors.perform(short, place, numbers), strict=True):
            name = f"{'reg_' if variant == 'cropped' else ''}image{number:0{width}d}.bmp"
            save_image(folder / name, image)
    return write_manifest(
        out,
        truths,
        corpus="SMIC",
        revision=part,
        size=size,
        seed=seed,
        variant=variant,
    )


def _plan(rng: np.random.Generator, part: str) -> list[Clip]:
    people = [person for person, rows in _ROWS[part].items() for _ in range(rows)]
    kinds = rng.permutation([kind for kind, n in _COUNTS[part].items() for _ in range(n)]).tolist()
    counts: dict[tuple[int, str], int] = {}
    clips = []
    for person, kind in zip(people, kinds, strict=True):
        counts[person, kind] = number = counts.get((person, kind), 0) + 1
        onset = int(rng.integers(99_990, 20_000_000))
        length = int(np.clip(rng.normal(34, 9), 11, 51)) if part == "HS" else int(rng.integers(4, 14))
        units = tuple(map(Unit, _UNITS[kind]))
        name = f"s{person}_{kind}_{number:02d}"
        clips.append(Clip(person, name, onset, onset, onset + length - 1, units, "", CLASSES[kind], ""))
    return sorted(clips, key=lambda clip: (clip.person, clip.name))
