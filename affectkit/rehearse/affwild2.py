"""A rendered corpus in Aff-Wild2's layout: a few videos, annotated for one challenge or several."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.datasets.affwild2 import CLASSES, UNITS
from affectkit.rehearse.acting.macro import (
    Studio,
    draw_scores,
    strongest,
    write_image,
    write_manifest,
    write_text,
)
from affectkit.rehearse.registry import Size, register

__all__ = ["write_affwild2"]

_VIDEOS: Final = {"tiny": (6, 40), "small": (16, 90), "full": (40, 300)}  # videos, frames of each
_FOLDERS: Final = {
    "au": "AU_Detection_Challenge", "expression": "EXPR_Classification_Challenge", "va": "VA_Estimation_Challenge",
}  # fmt: skip
_HEADERS: Final = {
    "au": ",".join(UNITS.labels), "expression": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "va": "valence,arousal",
}  # fmt: skip
_TASKS: Final = (("au", "expression", "va"), ("au",), ("expression", "va"))  # of the videos in turn


@register("affwild2")
def write_affwild2(
    out: str | Path, *, size: Size = "tiny", seed: int = 0, media: bool = True, pixels: int = 64
) -> dict[str, Any]:
    """Write rendered faces and their labels by frame as Aff-Wild2 is distributed.

    The second video shows two people and has a list for each; in the third, one challenge trains on what another
    validates on. Some frames show no face, and some are not annotated.

    Args:
        out: The folder to make.
        size: "tiny" (6 videos of 40 frames), "small" (16 of 90) or "full" (40 of 300; the real corpus has hundreds).
        seed: Of every draw.
        media: Whether faces are rendered.
        pixels: Side of the images.

    Returns:
        The manifest, which is written as `rehearsal.json` too: counts, and the labels of every frame.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 89])
    videos, length = _VIDEOS[size]
    studio = Studio(pixels, seed)
    recordings: dict[str, Any] = {}
    for number in range(videos):
        part = "validation" if number % 3 == 2 else "train"
        for person, suffix in enumerate(("", "_right") if number == 1 else ("",)):
            name = f"video{number + 1}{suffix}" if number % 2 else f"{number + 1}-30-640x360{suffix}"
            tasks = _TASKS[number % 3]
            labels = _draw(rng, length)
            for task in tasks:
                own = "train" if number == 2 and task == "va" else part
                folder = (
                    root
                    / "annotations"
                    / _FOLDERS[task]
                    / ("Train_Set" if own == "train" else "Validation_Set")
                )
                rows = [",".join(f"{value:g}" for value in row) for row in labels[task].tolist()]
                write_text(folder / f"{name}.txt", [_HEADERS[task], *rows], crlf=number % 2 == 1)
            hidden = {3, 4} if number % 2 else set()  # frames without a face
            if media:
                studio.enter(number, person)
                for frame, codes in enumerate(labels["au"].tolist(), start=1):
                    if frame not in hidden:
                        shown = {unit.id: code for unit, code in zip(UNITS, codes, strict=True)}
                        path = root / "cropped_aligned" / name / f"{frame:05d}.jpg"
                        write_image(path, studio.shoot(shown).image)
            recordings[name] = {
                "part": part,
                "hidden": sorted(hidden),
                "labels": {task: labels[task].round(3).tolist() for task in tasks},
            }
    parts = {
        part: _count([its for its in recordings.values() if its["part"] == part])
        for part in ("train", "validation")
    }
    return write_manifest(
        root,
        {
            "corpus": "AffWild2",
            "size": size,
            "seed": seed,
            "media": media,
            **_count(list(recordings.values())),
            "parts": parts,
            "recordings": recordings,
        },
    )


def _draw(rng: np.random.Generator, length: int) -> dict[str, npt.NDArray[np.float64]]:
    """Labels of all frames by task, [N, C]; stretches of them are not annotated."""
    units = np.stack([strongest(draw_scores(rng, [length]), length // 4) for _ in UNITS], axis=1).astype(
        float
    )
    classes = np.repeat(rng.integers(0, len(CLASSES), -(-length // 8)), 8)[:length, None].astype(float)
    place = np.stack([np.tanh(draw_scores(rng, [length])) for _ in range(2)], axis=1).astype(float).round(3)
    start = int(rng.integers(5, length - 10))
    units[start : start + 3, 2] = -1
    classes[start : start + 4] = -1
    place[start : start + 2] = -5
    return {"au": units, "expression": classes, "va": place}


def _count(recordings: list[dict[str, Any]]) -> dict[str, Any]:
    positives = np.zeros(len(UNITS), dtype=np.int64)
    classes: Counter[str] = Counter()
    frames = 0
    for its in recordings:
        tables = {task: np.array(rows) for task, rows in its["labels"].items()}
        known = [(rows > -5 if task == "va" else rows >= 0).any(axis=1) for task, rows in tables.items()]
        frames += int(np.logical_or.reduce(known).sum())
        if "au" in tables:
            positives += (tables["au"] == 1).sum(axis=0)
        if "expression" in tables:
            classes.update(CLASSES.classes[int(code)] for code in tables["expression"].ravel() if code >= 0)
    return {
        "clips": len(recordings),
        "frames": frames,
        "positives": {label: int(n) for label, n in zip(UNITS.labels, positives, strict=True)},
        "classes": dict(classes),
    }
