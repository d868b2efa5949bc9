"""What the writers of DFEW, FERV39k and MAFW share: classes and folds drawn to published counts, and acted clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from affectkit.facs.rules import DU_2014
from affectkit.rehearse.acting.macro import Studio, write_image, write_manifest, write_video
from affectkit.rehearse.registry import Size

__all__ = ["ListedClip", "deal", "draw_numbers", "film", "rows_of", "write_truths"]

_EACH: Final = {"tiny": 1, "small": 4}  # tested clips of each class in each fold
# Classes that have no table of units: those that describe them in words name these.
_UNITS: Final[Mapping[str, Sequence[int]]] = {
    "contempt": (12, 14),
    "anxiety": (1, 4, 20, 25),
    "helplessness": (1, 4, 15, 26),
    "disappointment": (1, 4, 15, 25),
}


@dataclass(frozen=True)
class ListedClip:
    """A clip, its class, and the fold that tests it (from 1; 0 where none does)."""

    name: str
    label: str
    fold: int


def deal(
    rng: np.random.Generator,
    size: Size,
    classes: Sequence[str],
    totals: Sequence[int],
    tests: Sequence[int],
    first: Sequence[int],
) -> list[tuple[str, int]]:
    """Draw class and test fold of every clip.

    Args:
        rng: Source of every choice.
        size: "full" keeps to the counts; else each class is in each fold once ("tiny") or four times ("small").
        classes: The classes.
        totals: Clips of each class.
        tests: Clips tested in each fold; others are tested in none.
        first: Clips of each class tested in the first fold.
    """
    if size != "full":
        return [(label, fold) for fold in range(1, len(tests) + 1) for label in [*classes] * _EACH[size]]
    others = np.repeat(np.arange(len(classes)), np.subtract(totals, first))
    folds = np.repeat(np.arange(2, len(tests) + 1), tests[1:])
    folds = np.concatenate([folds, np.zeros(len(others) - len(folds), dtype=folds.dtype)])
    dealt = list(zip(rng.permutation(others).tolist(), folds.tolist(), strict=True))
    dealt += [(label, 1) for label, count in enumerate(first) for _ in range(count)]
    return [(classes[label], fold) for label, fold in dealt]


def draw_numbers(rng: np.random.Generator, count: int, highest: int) -> list[int]:
    """So many different numbers from 1 on, in disorder."""
    numbers: list[int] = (rng.permutation(highest)[:count] + 1).tolist()
    return numbers


def rows_of(clips: Iterable[ListedClip], fold: int, split: str) -> list[ListedClip]:
    """The clips of a list."""
    return [clip for clip in clips if (clip.fold == fold) == (split == "test")]


def film(
    clips: Mapping[Path, ListedClip],
    *,
    pixels: int,
    seed: int,
    frame_name: str,
    suffix: str | None,
) -> dict[str, int]:
    """Render people who show their expression and calm down again.

    Args:
        clips: The clips by folder, or by file without its suffix.
        pixels: Side of the frames.
        seed: Of every draw.
        frame_name: Form of the names of images, with `clip` and `number` from 1.
        suffix: Of video files; None for folders of images.

    Returns:
        Frames of each clip by its name.
    """
    studio = Studio(pixels, seed)
    lengths = {}
    for place, (path, clip) in enumerate(clips.items()):
        rng = np.random.default_rng([seed, 61, place])
        shown = DU_2014.get(clip.label)
        units = _UNITS.get(clip.label, () if shown is None else shown.prototypical)
        length = int(rng.integers(4, 8)) if place % 4 else int(rng.integers(16, 22))
        studio.enter(3, place)
        yaw = float(rng.normal(0, 8))
        course = np.sin(np.linspace(0.3, np.pi - 0.3, length)).tolist()
        images = [studio.shoot(dict.fromkeys(units, level), yaw).image for level in course]
        lengths[clip.name] = length
        if suffix is None:
            for number, image in enumerate(images, start=1):
                write_image(path / frame_name.format(clip=path.name, number=number), image)
        else:
            write_video(path.with_name(path.name + suffix), images, fps=25)
    return lengths


def write_truths(
    root: Path, corpus: str, clips: Sequence[ListedClip], classes: Sequence[str], tests: int, **more: Any
) -> dict[str, Any]:
    """Write the manifest.

    Args:
        root: Folder of the corpus.
        corpus: Its name.
        clips: All clips.
        classes: All classes.
        tests: Folds; one fold means an official split.
        **more: What else is true.
    """
    parts = {
        split if tests == 1 else f"set_{fold} {split}": _count(rows_of(clips, fold, split), classes)
        for fold in range(1, tests + 1)
        for split in ("train", "test")
    }
    return write_manifest(
        root,
        {
            "corpus": corpus,
            **more,
            **_count(clips, classes),
            "parts": parts,
            "labels": {clip.name: clip.label for clip in clips},
            "tested": {clip.name: clip.fold for clip in clips},
        },
    )


def _count(clips: Sequence[ListedClip], classes: Sequence[str]) -> dict[str, Any]:
    labels = [clip.label for clip in clips]
    return {"clips": len(clips), "classes": {name: n for name in classes if (n := labels.count(name))}}
