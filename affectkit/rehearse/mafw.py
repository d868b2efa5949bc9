"""A rendered corpus in MAFW's layout, with as many clips of each class and fold as the real one has, or a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.mafw import FIRST, NUMBERS, TESTS, TOTALS
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting.listed import ListedClip, deal, draw_numbers, film, rows_of, write_truths
from affectkit.rehearse.acting.macro import write_text
from affectkit.rehearse.registry import Size, register

__all__ = ["write_mafw"]

_CLASSES: Final = EXPRESSION_SETS["mafw11"].classes
_ANGER_FIRST: Final = (3, 5, 6, 0, 2, 1, 4, 7, 8, 9, 10)  # places in `_CLASSES`


@register("mafw")
def write_mafw(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    lists: Literal["official", "happiness_first", "anger_first"] = "official",
    clips: Literal["frames", "video"] = "video",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write acted expressions as MAFW is distributed.

    Args:
        out: The folder to make.
        size: "tiny" (55 clips), "small" (220) or "full".
        seed: Of every draw.
        media: Whether clips are rendered.
        lists: "official", which name classes, or rewritten by others: clip, frames and number of the class, in one
            of two orders.
        clips: Folders of images or videos.
        pixels: Side of the frames.
        quirks: Write the lists for compound expressions and those with captions, which are not for this task.

    Returns:
        The manifest, which is written as `rehearsal.json` too.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 73])
    dealt = deal(rng, size, _CLASSES, TOTALS, TESTS, FIRST)
    numbers = draw_numbers(rng, len(dealt), NUMBERS)
    every = [ListedClip(f"{n:05d}", *own) for n, own in zip(numbers, dealt, strict=True)]
    every.sort(key=lambda clip: clip.name)
    where = root / "data" / ("frames" if clips == "frames" else "clips")
    lengths = {} if not media else film(
        {where / clip.name: clip for clip in every},
        pixels=pixels,
        seed=seed,
        frame_name="{number:06d}.png",
        suffix=None if clips == "frames" else ".mp4",
    )  # fmt: skip
    order = _CLASSES if lists == "happiness_first" else [_CLASSES[place] for place in _ANGER_FIRST]
    for fold in range(1, len(TESTS) + 1):
        for split in ("train", "test"):
            rows = rows_of(every, fold, split)
            if lists != "official":
                lines = [f"{c.name} {lengths.get(c.name, 16)} {order.index(c.label)}" for c in rows]
                write_text(root / f"MAFW_set_{fold}_{split}.txt", lines)
                continue
            sets = root / "Train & Test Set"
            lines = [f"{clip.name}.mp4 {clip.label}" for clip in rows]
            write_text(sets / "single" / "no_caption" / f"set_{fold}" / f"{split}.txt", lines)
            if quirks and fold == 1:
                lines = [f"{clip.name}.mp4 {clip.label}_disgust" for clip in rows if clip.label == "anger"]
                write_text(sets / "compound" / "no_caption" / "set_1" / f"{split}.txt", lines)
                captions = [f"{clip.name}.mp4\t{clip.label}\t表情\tA face." for clip in rows]
                path = sets / "single" / "with_caption" / "set_1" / f"{split}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes("\n".join(captions).encode("gb18030"))
    return write_truths(
        root,
        "MAFW",
        every,
        _CLASSES,
        len(TESTS),
        size=size,
        seed=seed,
        media=media,
        lists=lists,
        lengths=lengths,
    )
