"""A rendered corpus in FERV39k's layout, with as many clips of each class as the real one has, or a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.ferv39k import SPLIT
from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.rehearse.acting.listed import ListedClip, deal, film, rows_of, write_truths
from affectkit.rehearse.acting.macro import write_text
from affectkit.rehearse.registry import Size, register

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
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    lists: Literal["official", "rewritten"] = "official",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write acted expressions as FERV39k is distributed.

    Args:
        out: The folder to make.
        size: "tiny" (28 clips), "small" (112) or "full".
        seed: Of every draw.
        media: Whether clips are rendered.
        lists: "official", which name classes, or "rewritten" by others: clip, frames and number of the class.
        pixels: Side of the frames.
        quirks: Write the list of one scene, which is not for this task.

    Returns:
        The manifest, which is written as `rehearsal.json` too.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 79])
    # Fold 1 tests what the official split tests; "fold 0" is the training part.
    totals, test = np.add(SPLIT["train"], SPLIT["test"]).tolist(), SPLIT["test"]
    dealt = deal(rng, size, _CLASSES, totals, (sum(test),), test)
    if size != "full":
        dealt += [(label, 0) for label, _ in dealt for _ in range(3)]
    scenes = rng.permutation(np.arange(len(dealt)) % len(_SCENES)).tolist()
    numbers: dict[tuple[int, str], int] = {}
    every, places = [], {}
    for scene, (label, fold) in zip(scenes, dealt, strict=True):
        numbers[scene, label] = number = numbers.get((scene, label), 0) + 1
        clip = ListedClip(f"{_SCENES[scene].lower()}/{label}/{number:04d}", label, fold)
        every.append(clip)
        places[clip.name] = f"{_SCENES[scene]}/{_WORDS[_CLASSES.index(label)]}/{number:04d}"
    every.sort(key=lambda clip: clip.name)
    where = root / "2_ClipsforFaceCrop"
    lengths = {} if not media else film(
        {where / places[clip.name]: clip for clip in every},
        pixels=pixels,
        seed=seed,
        frame_name="{number:04d}.jpg",
        suffix=None,
    )  # fmt: skip
    for split in ("train", "test"):
        rows = rows_of(every, 1, split)
        words = [_WORDS[_CLASSES.index(clip.label)] for clip in rows]
        if lists == "official":
            setups = root / "4_setups"
            lines = [f"{places[clip.name]} {word}" for clip, word in zip(rows, words, strict=True)]
            write_text(setups / "All_scenes" / f"{split}_All.csv", lines)
            if quirks:
                write_text(setups / "22_scenes" / "Action" / f"{split}.csv", lines[:1])
        else:
            lines = [
                f"{places[clip.name]} {lengths.get(clip.name, 16)} {_WORDS.index(word)}"
                for clip, word in zip(rows, words, strict=True)
            ]
            write_text(root / f"FERV39K_{split}.txt", lines)
    return write_truths(
        root, "FERV39k", every, _CLASSES, 1, size=size, seed=seed, media=media, lists=lists, lengths=lengths
    )
