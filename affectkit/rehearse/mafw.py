"""Rehearsal of MAFW."""

from __future__ import annotations

from typing import Any, Final, Literal

from affectkit.datasets.mafw import FIRST, NUMBERS, TESTS, TOTALS
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting import listed
from affectkit.rehearse.acting.studio import write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_mafw"]

_CLASSES: Final = EXPRESSION_SETS["mafw11"].classes
_ANGER_FIRST: Final = (3, 5, 6, 0, 2, 1, 4, 7, 8, 9, 10)  # indices in `_CLASSES`


@register("mafw")
def write_mafw(
    job: Job,
    *,
    lists: Literal["official", "happiness_first", "anger_first"] = "official",
    clips: Literal["frames", "video"] = "video",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write a rehearsal of MAFW.

    Options:
        size: "full" has the published numbers of clips per class and fold, "small" 220 clips, "tiny" 55.
        lists: "official" with class names, or rewritten by other projects with numbers of frames and class, in one of
            two orders.
        clips: Folders of images, or videos.
        pixels: Side of the frames.
        quirks: Write also lists of compound expressions and lists with captions.
    """
    rng = job.rng(73)
    every = listed.name_clips(rng, listed.draw_folds(rng, job.size, _CLASSES, TOTALS, TESTS, FIRST), NUMBERS)
    where, suffix, frame_name = job.out / "data" / "clips", ".mp4", None
    if clips == "frames":
        where, suffix, frame_name = job.out / "data" / "frames", "", "{number:06d}.png"
    paths = {where / f"{clip.name}{suffix}": clip for clip in every}
    lengths = listed.film(job, paths, pixels, frame_name)
    order = _CLASSES if lists == "happiness_first" else [_CLASSES[place] for place in _ANGER_FIRST]
    for fold, split, rows in listed.iterate_lists(every, range(1, len(TESTS) + 1)):
        if lists != "official":
            lines = [f"{c.name} {lengths.get(c.name, 16)} {order.index(c.label)}" for c in rows]
            write_text(job.out / f"MAFW_set_{fold}_{split}.txt", lines)
            continue
        sets = job.out / "Train & Test Set"
        lines = [f"{clip.name}.mp4 {clip.label}" for clip in rows]
        write_text(sets / "single" / "no_caption" / f"set_{fold}" / f"{split}.txt", lines)
        if quirks and fold == 1:
            lines = [f"{clip.name}.mp4 {clip.label}_disgust" for clip in rows if clip.label == "anger"]
            write_text(sets / "compound" / "no_caption" / "set_1" / f"{split}.txt", lines)
            lines = [f"{clip.name}.mp4\t{clip.label}\t表情\tA face." for clip in rows]
            path = sets / "single" / "with_caption" / "set_1" / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines), encoding="gb18030")
    return listed.summarise(every, _CLASSES, len(TESTS), lengths)
