"""Rehearsal of EngageNet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from affectkit.datasets.engagenet import LEVELS, PUBLISHED
from affectkit.rehearse.acting.engaged import PARTS, EngagedClip, count_clips, deal_clips, film
from affectkit.rehearse.acting.studio import write_sheet, write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_engagenet"]

_LABELS: Final = ("Not-Engaged", "Barely-engaged", "Engaged", "Highly-Engaged", "SNP(Subject Not Present)")


@register("engagenet")
def write_engagenet(job: Job, *, pixels: int = 64, openface: bool = True) -> dict[str, Any]:
    """Write a rehearsal of EngageNet: two lists are workbooks, one is text; the last clip of a person may show nobody.

    Options:
        size: "full" has the published numbers of people and clips, "small" 16 people with 8 clips, "tiny" 7 with 4.
        pixels: Side of the frames.
        openface: Write tables of OpenFace to the folder `OpenFace`.
    """
    people, clips = zip(*PUBLISHED.values(), strict=True)
    dealt = deal_clips(job.rng(101), job.size, people, clips)
    dealt = [replace(clip, level=-1) if clip.person % 3 == 1 and clip.number == 3 else clip for clip in dealt]
    names = {_name(clip): clip for clip in dealt}
    paths = {job.out / clip.part.capitalize() / f"{name}.mp4": clip for name, clip in names.items()}
    film(job, paths, pixels, job.out / "OpenFace" if openface else None)
    for part in PARTS:
        rows = [(f"{name}.mp4", _LABELS[clip.level]) for name, clip in names.items() if clip.part == part]
        path = job.out / f"{part}_engagement_labels"
        if part == "test":
            lines = [f"{number},{name},{label}" for number, (name, label) in enumerate(rows)]
            write_text(path.with_suffix(".csv"), [",chunk,label", *lines])
        else:
            write_sheet(path.with_suffix(".xlsx"), "Sheet1", [("chunk", "label"), *rows])
    return count_clips(dealt, LEVELS.levels, labels={name: clip.level for name, clip in names.items()})


def _name(clip: EngagedClip) -> str:
    return f"subject_{clip.person + 1}_r{clip.person * 7919 % 9973:04d}_vid_0_{clip.number}"
