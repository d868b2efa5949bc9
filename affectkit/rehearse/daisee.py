"""Rehearsal of DAiSEE."""

from __future__ import annotations

from typing import Any

from affectkit.datasets.daisee import LEVELS, STATES
from affectkit.rehearse.acting.engaged import PARTS, EngagedClip, count_clips, deal_clips, film
from affectkit.rehearse.acting.studio import write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_daisee"]

_PEOPLE = (70, 22, 20)  # 112 together; their division is not published
_CLIPS = (5500, 1700, 1868)  # 9,068 together


@register("daisee")
def write_daisee(job: Job, *, pixels: int = 64, openface: bool = True) -> dict[str, Any]:
    """Write a rehearsal of DAiSEE: lists with a blank after the last name of a column, videos in a folder each.

    Options:
        size: "full" has the published numbers of people and clips (and a made-up division of them), "small" 16 people
            with 8 clips, "tiny" 7 with 4.
        pixels: Side of the frames.
        openface: Write tables of OpenFace to the folder `OpenFace`.
    """
    rng = job.rng(103)
    dealt = deal_clips(rng, job.size, _PEOPLE, _CLIPS)
    names = {_name(clip): clip for clip in dealt}
    folder = job.out / "DataSet"
    paths = {
        folder
        / clip.part.capitalize()
        / name[:6]
        / name
        / f"{name}.{'mp4' if clip.person % 5 == 4 else 'avi'}": clip
        for name, clip in names.items()
    }
    film(job, paths, pixels, job.out / "OpenFace" if openface else None)
    others = {name: rng.integers(0, 4, 3).tolist() for name in names}
    for part in PARTS:
        own = {path.name: path.stem for path, clip in paths.items() if clip.part == part}
        rows = [
            ",".join(map(str, (file, others[name][0], names[name].level, *others[name][1:])))
            for file, name in own.items()
        ]
        header = "ClipID,Boredom,Engagement,Confusion,Frustration "
        write_text(job.out / "Labels" / f"{part.capitalize()}Labels.csv", [header, *rows])
    labels = {
        name: dict(zip(STATES, [clip.level, *others[name]], strict=True)) for name, clip in names.items()
    }
    return count_clips(dealt, LEVELS.levels, labels=labels)


def _name(clip: EngagedClip) -> str:
    return f"{110001 + clip.person}{clip.number + 1002:04d}"
