"""Rehearsal of FERV39k."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.ferv39k import SPLIT
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting import listed
from affectkit.rehearse.acting.studio import write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_ferv39k"]

_CLASSES: Final = EXPRESSION_SETS["dfew7"].classes
_WORDS: Final = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
_SCENES: Final = (
    "Action", "Argue", "Business", "Conflict", "Contest", "Crime", "Crisis", "DailyLife", "ElegantArt", "Experiment",
    "History", "Interview", "Liveshow", "Medicine", "OfficialEvent", "ScholarReport", "School", "Social", "Speech",
    "Talkshow", "Terror", "War",
)  # fmt: skip


@register("ferv39k")
def write_ferv39k(
    job: Job,
    *,
    lists: Literal["official", "rewritten"] = "official",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write a rehearsal of FERV39k.

    Options:
        size: "full" has the published numbers of clips per class and split, "small" 112 clips, "tiny" 28.
        lists: "official" with class names, or "rewritten" by other projects with numbers of frames and class.
        pixels: Side of the frames.
        quirks: Write also the lists of a single scene.
    """
    rng = job.rng(79)
    # Fold 1 tests the official test split; "fold 0" is the training split.
    totals, test = np.add(SPLIT["train"], SPLIT["test"]).tolist(), SPLIT["test"]
    dealt = listed.draw_folds(rng, job.size, _CLASSES, totals, (sum(test),), test)
    if not job.is_full:
        dealt += [(label, 0) for label, _ in dealt for _ in range(3)]
    numbers: Counter[tuple[int, str]] = Counter()
    every, places = [], {}
    for scene, (label, fold) in zip(
        rng.permutation(np.arange(len(dealt)) % len(_SCENES)).tolist(), dealt, strict=True
    ):
        numbers[scene, label] += 1
        number, word = numbers[scene, label], _WORDS[_CLASSES.index(label)]
        clip = listed.ListedClip(f"{_SCENES[scene].lower()}/{label}/{number:04d}", label, fold)
        every.append(clip)
        places[clip.name] = f"{_SCENES[scene]}/{word}/{number:04d}"
    every.sort(key=lambda clip: clip.name)
    paths = {job.out / "2_ClipsforFaceCrop" / places[clip.name]: clip for clip in every}
    lengths = listed.film(job, paths, pixels, "{number:04d}.jpg")
    for _, split, rows in listed.iterate_lists(every, [1]):
        labels = [_CLASSES.index(clip.label) for clip in rows]
        if lists == "rewritten":
            frames = [f"{places[clip.name]} {lengths.get(clip.name, 16)}" for clip in rows]
            lines = [f"{clip} {label}" for clip, label in zip(frames, labels, strict=True)]
            write_text(job.out / f"FERV39K_{split}.txt", lines)
            continue
        lines = [f"{places[clip.name]} {_WORDS[label]}" for clip, label in zip(rows, labels, strict=True)]
        write_text(job.out / "4_setups" / "All_scenes" / f"{split}_All.csv", lines)
        if quirks:
            write_text(job.out / "4_setups" / "22_scenes" / "Action" / f"{split}.csv", lines[:1])
    return listed.summarise(every, _CLASSES, 1, lengths)
