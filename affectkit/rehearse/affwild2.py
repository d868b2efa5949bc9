"""Rehearsal of Aff-Wild2."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.datasets.affwild2 import CLASSES, UNITS
from affectkit.facs.rules import DU_2014
from affectkit.rehearse.acting.coded import draw_scores
from affectkit.rehearse.acting.studio import PLACES, Studio, write_image, write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_affwild2"]

_VIDEOS: Final = {"tiny": (6, 40), "small": (16, 90), "full": (40, 300)}  # videos, frames of each
_LISTS: Final = {  # folder and header
    "au": ("AU_Detection_Challenge", ",".join(UNITS.labels)),
    "expression": (
        "EXPR_Classification_Challenge", "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    ),
    "va": ("VA_Estimation_Challenge", "valence,arousal"),
}  # fmt: skip
_TASKS: Final = {1: ("au",), 2: ("expression", "va")}  # of every sixth video; the others have all lists
_EPISODE: Final = 12  # frames
_VISIBLE: Final = 0.3  # lowest intensity with a label


@register("affwild2")
def write_affwild2(job: Job, *, pixels: int = 64) -> dict[str, Any]:
    """Write a rehearsal of Aff-Wild2: labels of each frame for one or several challenges.

    Expressions rise and fade in episodes. Units are those that people show for the expression (Du et al. 2014), and
    valence and arousal move from the centre to its usual place with them, so all three can be learned from the
    pictures. A frame is neutral, and a unit absent, while the intensity is below 0.3.

    The second video shows two people and has a list for each. In the third, one challenge trains on frames that
    another validates on. Some frames show no face, and some are not annotated.

    Options:
        size: "full" has 40 videos of 300 frames (the real corpus has hundreds of videos), "small" 16 of 90, "tiny" 6
            of 40.
        pixels: Side of the images.
    """
    rng = job.rng(89)
    videos, length = _VIDEOS[job.size]
    studio = Studio(pixels, job.seed)
    recordings: dict[str, Any] = {}
    for number, person in ((n, person) for n in range(videos) for person in range(2 if n == 1 else 1)):
        part, suffix = "validation" if number % 3 == 2 else "train", "_right" if person else ""
        name = f"video{number + 1}{suffix}" if number % 2 else f"{number + 1}-30-640x360{suffix}"
        labels, acts = _draw_labels(rng, length)
        shown = {task: labels[task] for task in _TASKS.get(number % 6, tuple(_LISTS))}
        for task, table in shown.items():
            folder, header = _LISTS[task]
            is_train = part == "train" or (number == 2 and task == "va")
            folder = f"{folder}/{'Train' if is_train else 'Validation'}_Set"
            rows = [",".join(f"{value:g}" for value in row) for row in table.tolist()]
            write_text(
                job.out / "annotations" / folder / f"{name}.txt", [header, *rows], crlf=number % 2 == 1
            )
        hidden = {3, 4} if number % 2 else set()  # frames without a face
        if job.media:
            studio.enter(7, number, person)
        for frame, units in enumerate(acts if job.media else (), start=1):
            if frame not in hidden:
                path = job.out / "cropped_aligned" / name / f"{frame:05d}.jpg"
                write_image(path, studio.shoot(units).image)
        rounded = {task: table.round(3).tolist() for task, table in shown.items()}
        recordings[name] = {"part": part, "hidden": sorted(hidden), "labels": rounded}
    parts = {
        part: _count([its for its in recordings.values() if its["part"] == part])
        for part in ("train", "validation")
    }
    return {**_count(list(recordings.values())), "parts": parts, "recordings": recordings}


def _draw_labels(
    rng: np.random.Generator, length: int
) -> tuple[dict[str, npt.NDArray[np.float64]], list[dict[int, float]]]:
    """Labels of all frames by task, [N, C], some of them not annotated, and the intensities of units to show."""
    acts: list[dict[int, float]] = []
    classes, place = np.zeros((length, 1)), np.zeros((length, 2))
    rise = np.sin(np.pi * (np.arange(_EPISODE) + 0.5) / _EPISODE)
    for start in range(0, length, _EPISODE):
        code = int(rng.integers(len(CLASSES)))
        expression = CLASSES.classes[code]
        units = _draw_units(rng, expression)
        for frame, level in enumerate(rise[: length - start].tolist(), start=start):
            acts.append({unit: level * strength for unit, strength in units.items()})
            classes[frame] = code if level >= _VISIBLE else 0
            place[frame] = np.array(PLACES.get(expression, (0.1, 0.2))) * level
    wandering = np.stack([draw_scores(rng, [length]) for _ in range(2)], axis=1)
    place = np.clip(place + 0.05 * wandering, -1, 1).round(3)
    occurrence = np.array([[float(act.get(unit.id, 0) >= _VISIBLE) for unit in UNITS] for act in acts])
    start = int(rng.integers(5, length - 10))
    occurrence[start : start + 3, 2] = -1
    classes[start : start + 4] = -1
    place[start : start + 2] = -5
    return {"au": occurrence, "expression": classes, "va": place}, acts


def _draw_units(rng: np.random.Generator, expression: str) -> dict[int, float]:
    """Units of an episode and their highest intensities."""
    if expression in DU_2014:
        category = DU_2014[expression]
        units = [*category.prototypical, *(u for u, p in category.variants.items() if rng.uniform() < p)]
    else:
        others = [unit.id for unit in UNITS]
        units = rng.choice(others, 2, replace=False).tolist() if expression == "other" else []
    return {unit: float(rng.uniform(0.6, 1.0)) for unit in units}


def _count(recordings: list[dict[str, Any]]) -> dict[str, Any]:
    positives: npt.NDArray[np.int64] = np.zeros(len(UNITS), dtype=np.int64)
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
        "positives": dict(zip(UNITS.labels, positives.tolist(), strict=True)),
        "classes": dict(classes),
    }
