"""A rendered corpus in DFEW's layout, with as many clips of each class and fold as the real one has, or a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting.listed import ListedClip, deal, draw_numbers, film, rows_of, write_truths
from affectkit.rehearse.acting.macro import Size, write_text

__all__ = ["write_dfew"]

_CLASSES: Final = EXPRESSION_SETS["dfew7"].classes
_TOTALS: Final = (2445, 1894, 2669, 2173, 1469, 145, 902)
_TESTS: Final = (2341, 2341, 2340, 2339, 2336)
_FIRST: Final = (489, 379, 534, 435, 294, 29, 181)
_NUMBERS: Final = 16372

Lists = Literal["official", "single_set", "rewritten"]


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
    missing_clips: int = 0,
    truncated_clip: bool = False,
    conflict: bool = False,
    leak: bool = False,
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
        missing_clips: Leave out so many of the last clips.
        truncated_clip: Cut off the first clip.
        conflict: Change a class in the last list.
        leak: Name a tested clip in the training list of the first fold as well.

    Returns:
        The manifest, which is written as `rehearsal.json` too.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 71])
    dealt = deal(rng, size, _CLASSES, _TOTALS, _TESTS, _FIRST)
    numbers = draw_numbers(rng, len(dealt), _NUMBERS)
    every = [ListedClip(f"{n:05d}", *own) for n, own in zip(numbers, dealt, strict=True)]
    every.sort(key=lambda clip: clip.name)
    where = root / "Clip" / ("clip_224x224" if clips == "frames" else "original")
    names = [clip.name if clips == "frames" else str(int(clip.name)) for clip in every]
    made = {"lengths": {}, "missing_clips": [], "truncated_clips": []} if not media else film(
        dict(zip([where / name for name in names], every, strict=True)),
        pixels=pixels,
        seed=seed,
        frame_name="{clip}_{number:05d}.jpg",
        suffix=None if clips == "frames" else ".mp4",
        missing=missing_clips,
        truncated=truncated_clip,
    )  # fmt: skip
    for fold in folds:
        for split in ("train", "test"):
            rows = rows_of(every, fold, split)
            if leak and split == "train" and fold == folds[0]:
                rows.append(rows_of(every, fold, "test")[0])
            listed = [(clip.name, _CLASSES.index(clip.label)) for clip in rows]
            if conflict and split == "test" and fold == folds[-1]:
                listed[0] = listed[0][0], (listed[0][1] + 1) % len(_CLASSES)
            _write_list(root, lists, fold, split, listed, made["lengths"])
    return write_truths(
        root, "DFEW", every, _CLASSES, len(_TESTS), size=size, seed=seed, media=media, lists=lists, **made
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
