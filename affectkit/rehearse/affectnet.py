"""Rehearsal of AffectNet."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.affectnet import CLASSES, COLUMNS, TRAIN, UNDEFINED, VALIDATION
from affectkit.rehearse.acting.studio import (
    PLACES,
    Studio,
    count_labels,
    expression_units,
    write_image,
    write_text,
)
from affectkit.rehearse.registry import Job, register

__all__ = ["write_affectnet"]

_EACH: Final[dict[str, dict[str, Any]]] = {
    "tiny": {"train": 2, "validation": 1}, "small": {"train": 8, "validation": 4},
    "full": {"train": TRAIN, "validation": VALIDATION},
}  # fmt: skip
_WORDS: Final = (*CLASSES.classes, "none", "uncertain", "no face")


@register("affectnet")
def write_affectnet(
    job: Job,
    *,
    layout: Literal["lists", "folders"] = "lists",
    header: bool = True,
    pixels: int = 64,
) -> dict[str, Any]:
    """Write a rehearsal of AffectNet: expressions, valence and arousal.

    Options:
        size: "full" has the published numbers of photographs per class, "small" 8 training and 4 validation
            photographs per class, "tiny" 2 and 1. The manifest has all labels unless in size "full".
        layout: "lists" of all photographs, or the later "folders" with annotation files for each photograph.
        header: Write a header in the training list; some copies lack it.
        pixels: Side of the photographs.
    """
    studio = Studio(pixels, job.seed)
    names: dict[str, list[str]] = {}
    truths: dict[str, Any] = {}
    for place, part in enumerate(("train", "validation")):
        rng = job.rng(83, place)
        each = np.broadcast_to(_EACH[job.size][part], len(CLASSES))
        labels = rng.permutation([*np.repeat(np.arange(len(CLASSES)), each), 8, 9, 10]).tolist()
        names[part] = [_WORDS[label] for label in labels]
        undefined = (math.nan, math.nan)
        means = np.array([PLACES.get(word, undefined) for word in names[part]])
        drawn = np.clip(np.round(rng.normal(means, 0.15), 4), -1, 1)
        moods = np.where(np.isnan(drawn), UNDEFINED, drawn).tolist()
        lines = [",".join(COLUMNS)] if header or part == "validation" else []
        own = job.out / ("train_set" if part == "train" else "val_set")
        for number, (label, word) in enumerate(zip(labels, names[part], strict=True)):
            digest = hashlib.blake2b(f"{job.seed} {part} {number}".encode(), digest_size=14).hexdigest()
            name = f"{number % 7 + 1}/{digest}.jpg" if layout == "lists" else f"{number}.jpg"
            values = tuple(moods[number])
            truths[f"{part}/{name}"] = {"class": word, "va": values if word in PLACES else None}
            landmarks = ""
            if job.media:
                studio.enter(7, place, number)
                face = studio.shoot(dict.fromkeys(expression_units(word), 1.0), float(rng.normal(0, 8)))
                folder = job.out / "Manually_Annotated_Images" if layout == "lists" else own / "images"
                write_image(folder / name, face.image)
                landmarks = ";".join(f"{value:.2f}" for value in face.landmarks.ravel().tolist())
            if layout == "lists":
                lines.append(f"{name},0,0,{pixels},{pixels},{landmarks},{label},{values[0]},{values[1]}")
                continue
            (own / "annotations").mkdir(parents=True, exist_ok=True)
            for kind, value in zip(("exp", "val", "aro"), (label, *values), strict=True):
                np.save(own / "annotations" / f"{number}_{kind}.npy", np.array(str(value)))
        if layout == "lists":
            file = "training.csv" if part == "train" else "validation.csv"
            write_text(job.out / "Manually_Annotated_file_lists" / file, lines)

    def count(words: list[str]) -> dict[str, Any]:
        words = [word for word in words if word in CLASSES.classes]
        return count_labels(words, CLASSES.classes, frames=len(words))

    return {
        **count(names["train"] + names["validation"]),
        "parts": {part: count(words) for part, words in names.items()},
        "labels": truths if not job.is_full else {},
    }
