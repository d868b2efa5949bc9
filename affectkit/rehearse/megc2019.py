"""The three corpora of MEGC 2019 side by side, with rendered faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectkit.datasets.casme2 import NOT_IN_MEGC
from affectkit.facs.expressions import ExpressionSet, canonical_expression, crosswalk
from affectkit.rehearse.acting.macro import write_manifest
from affectkit.rehearse.casme2 import write_casme2
from affectkit.rehearse.registry import Size, register
from affectkit.rehearse.samm import write_samm
from affectkit.rehearse.smic import write_smic

__all__ = ["write_megc2019"]


@register("megc2019")
def write_megc2019(
    out: str | Path, *, size: Size = "tiny", seed: int = 0, media: bool = True
) -> dict[str, Any]:
    """Write a rehearsal of each of the three corpora.

    Args:
        out: The folder to make.
        size: See the rehearsals of the corpora.
        seed: Of every draw.
        media: Whether faces are rendered.

    Returns:
        The manifest.
    """
    root = Path(out)
    found: list[tuple[str, str, str]] = []  # subject, clip and class
    for name, native, write in (
        ("smic", "megc3", write_smic),
        ("casme2", "casme2_7", write_casme2),
        ("samm", "samm_8", write_samm),
    ):
        source, goal = ExpressionSet.parse(native), ExpressionSet.parse("megc3")
        places = dict(zip(source.classes, crosswalk(source, goal), strict=True))
        for clip in write(root / name.upper(), size=size, seed=seed, media=media)["clips"]:
            place = places[canonical_expression(clip["emotion"])]
            if place is not None and clip["clip"] not in NOT_IN_MEGC:
                row = f"{name}/{clip['subject']}", f"{name}/{clip['clip']}", goal.classes[place]
                found.append(row)
    parts = {
        name: _count([row for row in found if row[0].startswith(name)]) for name in ("smic", "casme2", "samm")
    }
    labels = {clip: label for _, clip, label in found}
    return write_manifest(
        root,
        {"corpus": "MEGC2019", "size": size, "seed": seed, **_count(found), "parts": parts, "labels": labels},
    )


def _count(rows: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "subjects": len({subject for subject, _, _ in rows}),
        "clips": len(rows),
        "classes": dict(Counter(label for _, _, label in rows)),
    }
