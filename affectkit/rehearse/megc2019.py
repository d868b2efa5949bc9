"""Rehearsal of MEGC 2019: SMIC, CASME II and SAMM side by side."""

from __future__ import annotations

from itertools import chain
from typing import Any

from affectkit.datasets.casme2 import NOT_IN_MEGC
from affectkit.facs.expressions import ExpressionSet, canonical_expression, crosswalk
from affectkit.rehearse.acting.studio import count_labels
from affectkit.rehearse.casme2 import write_casme2
from affectkit.rehearse.registry import Job, register
from affectkit.rehearse.samm import write_samm
from affectkit.rehearse.smic import write_smic

__all__ = ["write_megc2019"]


@register("megc2019")
def write_megc2019(job: Job) -> dict[str, Any]:
    """Write a rehearsal of each of the three corpora."""
    goal = ExpressionSet.parse("megc3")
    options = {"size": job.size, "seed": job.seed, "media": job.media}
    found: dict[str, list[tuple[str, str, str]]] = {}  # subject, clip and class by corpus
    for name, native, write in (
        ("smic", "megc3", write_smic),
        ("casme2", "casme2_7", write_casme2),
        ("samm", "samm_8", write_samm),
    ):
        source = ExpressionSet.parse(native)
        places = dict(zip(source.classes, crosswalk(source, goal), strict=True))
        found[name] = [
            (f"{name}/{clip['subject']}", f"{name}/{clip['clip']}", goal.classes[place])
            for clip in write(job.out / name.upper(), **options)["clips"]
            if (place := places[canonical_expression(clip["emotion"])]) is not None
            and clip["clip"] not in NOT_IN_MEGC
        ]

    def count(rows: list[tuple[str, str, str]]) -> dict[str, Any]:
        labels = [label for _, _, label in rows]
        return count_labels(labels, goal.classes, subjects=len({subject for subject, _, _ in rows}))

    every = list(chain(*found.values()))
    return {
        **count(every),
        "parts": {name: count(rows) for name, rows in found.items()},
        "labels": {clip: label for _, clip, label in every},
    }
