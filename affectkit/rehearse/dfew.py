"""A rendered corpus in DFEW's layout, with as many clips of each class and fold as the real one has, or a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.dfew import FIRST, NUMBERS, TESTS, TOTALS
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting.listed import ListedClip, deal, draw_numbers, film, rows_of, write_truths
from affectkit.rehearse.acting.macro import write_text
from affectkit.rehearse.registry import Size, register

__all__ = ["write_dfew"]

_CLASSES: Final = EXPRESSION_SETS["dfew7"].classes

Lists = Literal["official", "single_set", "rewritten"]


@register("dfew")
def write_dfew(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    lists: Lists = "official",
    folds: Sequence[int] = (1, 2, 3, 4, 5),
    clips: Literal["frames", "video"] = "frames",
    pixels: int = 64,
) -> dict[str, Any]:
    """Write acted expressions as DFEW is distributed.

    Args:
        out: The folder to make.
        size: "tiny" (35 clips), "small" (140) or "full".
        seed: Of every draw.
        media: Whether clips are rendered.
        lists: "official" (`train(single-labeled)/set_1.csv`), "single_set" (`single_trainset_1.csv`), both with a
            header and classes from 1, or "rewritten" by others: clip, frames, and class from 0.
        folds: Whose lists are written.
        clips: Folders of images in `clip_224x224`, or videos in `original`.
        pixels: Side of the frames.

    Returns:
        The manifest, which is written as `rehearsal.json` too.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 71])
    dealt = deal(rng, size, _CLASSES, TOTALS, TESTS, FIRST)
    numbers = draw_numbers(rng, len(dealt), NUMBERS)
    every = [ListedClip(f"{n:05d}", *own) for n, own in zip(numbers, dealt, strict=True)]
    every.sort(key=lambda clip: clip.name)
    where = root / "Clip" / ("clip_224x224" if clips == "frames" else "original")
    names = [clip.name if clips == "frames" else str(int(clip.name)) for clip in every]
    lengths = {} if not media else film(
        dict(zip([where / name for name in names], every, strict=True)),
        pixels=pixels,
        seed=seed,
        frame_name="{clip}_{number:05d}.jpg",
        suffix=None if clips == "frames" else ".mp4",
    )  # fmt: skip
    for fold in folds:
        for split in ("train", "test"):
            rows = rows_of(every, fold, split)
            listed = [(clip.name, _CLASSES.index(clip.label)) for clip in rows]
            _write_list(root, lists, fold, split, listed, lengths)
    return write_truths(
        root,
        "DFEW",
        every,
        _CLASSES,
        len(TESTS),
        size=size,
        seed=seed,
        media=media,
        lists=lists,
        lengths=lengths,
    )


def _write_list(
    root: Path, lists: Lists, fold: int, split: str, rows: Sequence[tuple[str, int]], lengths: dict[str, int]
) -> None:
    if lists == "rewritten":
        path = root / f"DFEW_set_{fold}_{split}.txt"
        write_text(path, [f"/data/DFEW/{name} {lengths.get(name, 16)} {label}" for name, label in rows])
        return
    path = root / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / f"set_{fold}.csv"
    if lists == "single_set":
        path = root / "label" / f"single_{split}set_{fold}.csv"
    write_text(
        path, ["video_name,label", *(f"{int(name)},{label + 1}" for name, label in rows)], crlf=fold == 2
    )
