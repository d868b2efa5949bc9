"""Rehearsal of DFEW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from affectkit.datasets.dfew import FIRST, NUMBERS, TESTS, TOTALS
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting import listed
from affectkit.rehearse.acting.studio import write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_dfew"]

_CLASSES: Final = EXPRESSION_SETS["dfew7"].classes


@register("dfew")
def write_dfew(
    job: Job,
    *,
    lists: Literal["official", "single_set", "rewritten"] = "official",
    folds: Sequence[int] = (1, 2, 3, 4, 5),
    clips: Literal["frames", "video"] = "frames",
    pixels: int = 64,
) -> dict[str, Any]:
    """Write a rehearsal of DFEW.

    Options:
        size: "full" has the published numbers of clips per class and fold, "small" 140 clips, "tiny" 35.
        lists: "official" (`train(single-labeled)/set_1.csv`) or "single_set" (`single_trainset_1.csv`), both with a
            header and classes from 1, or "rewritten" by other projects: clip, frames, and class from 0.
        folds: Folds whose lists are written.
        clips: Folders of images in `clip_224x224`, or videos in `original`.
        pixels: Side of the frames.
    """
    rng = job.rng(71)
    every = listed.name_clips(rng, listed.draw_folds(rng, job.size, _CLASSES, TOTALS, TESTS, FIRST), NUMBERS)
    where, form = job.out / "Clip" / "clip_224x224", "{clip}_{number:05d}.jpg"
    paths = {where / clip.name: clip for clip in every}
    if clips == "video":
        paths = {where.with_name("original") / f"{int(clip.name)}.mp4": clip for clip in every}
    frame_name = None if clips == "video" else form
    lengths = listed.film(job, paths, pixels, frame_name)
    for fold, split, rows in listed.iterate_lists(every, folds):
        lines = ["video_name,label", *(f"{int(clip.name)},{_CLASSES.index(clip.label) + 1}" for clip in rows)]
        path = job.out / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / f"set_{fold}.csv"
        if lists == "single_set":
            path = job.out / "label" / f"single_{split}set_{fold}.csv"
        elif lists == "rewritten":
            path = job.out / f"DFEW_set_{fold}_{split}.txt"
            numbers = [(clip.name, lengths.get(clip.name, 16), _CLASSES.index(clip.label)) for clip in rows]
            lines = [f"/data/DFEW/{name} {length} {label}" for name, length, label in numbers]
        write_text(path, lines, crlf=fold == 2 and lists != "rewritten")
    return listed.summarise(every, _CLASSES, len(TESTS), lengths)
