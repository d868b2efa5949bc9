"""Clips of one's own, as people have them: whole frames with a face somewhere in a room, and a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from affectkit.synth import Face, FaceRenderer, Person, Scene, write_video

FACE = 128  # side of a rendered face
SPLITS = ("train", "train", "train", "val", "test")


def film(seed: int, frames: int = 6, *, smile: bool = False) -> np.ndarray:
    """Frames [T, 160, 224, 3] of a face, uint8; every person has another place."""
    rng = np.random.default_rng(seed)
    renderer = FaceRenderer(FACE)
    renderer.set(Person(shape=tuple(float(x) for x in rng.standard_normal(20))), Scene(seed=seed))
    room = np.full((frames, 160, 224, 3), 100, np.uint8)
    top, left = int(rng.integers(0, 160 - FACE)), int(rng.integers(0, 224 - FACE))
    for t in range(frames):
        face = Face({12: t / frames} if smile else {4: t / frames})
        room[t, top : top + FACE, left : left + FACE] = renderer.render(face).image
    return room


def write_own_clips(folder: Path, *, each: int = 2, frames: int = 6) -> Path:
    """Write five people's clips and their table; returns the folder."""
    (folder / "videos").mkdir(parents=True)
    lines = ["path,subject,split,expression,AU04,AU12,valence,arousal,notes"]
    for number, split in enumerate(SPLITS):
        for take in range(each):
            name, smile = f"videos/p{number}_{take}.mp4", take % 2
            write_video(folder / name, film(number, frames, smile=bool(smile)), fps=25.0)
            word, value = ("happiness", 0.8) if smile else ("anger", -0.6)
            lines.append(f"{name},p{number},{split},{word},{1 - smile},{smile},{value},0.1,none")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
