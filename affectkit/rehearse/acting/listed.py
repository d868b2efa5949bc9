"""Shared parts of the rehearsals of corpora whose clips are named in lists: DFEW, FERV39k and MAFW."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from affectkit.rehearse.acting.studio import Studio, count_labels, expression_units, write_image
from affectkit.rehearse.registry import Job
from affectkit.synth.writers import write_video

__all__ = ["ListedClip", "draw_folds", "film", "iterate_lists", "name_clips", "summarise"]

_EACH: Final = {"tiny": 1, "small": 4}  # tested clips of each class in each fold


@dataclass(frozen=True)
class ListedClip:
    """A clip, its class, and the fold that tests it (from 1; 0 for none)."""

    name: str
    label: str
    fold: int


def draw_folds(
    rng: np.random.Generator,
    size: str,
    classes: Sequence[str],
    totals: Sequence[int],
    tests: Sequence[int],
    first: Sequence[int],
) -> list[tuple[str, int]]:
    """Draw class and test fold of every clip.

    Args:
        rng: Random generator.
        size: "full" has the given counts; otherwise each fold tests each class once ("tiny") or four times ("small").
        classes: Names of the classes.
        totals: Clips of each class.
        tests: Clips tested in each fold; others are tested in none.
        first: Clips of each class tested in the first fold.
    """
    if size != "full":
        return [(label, fold) for fold in range(1, len(tests) + 1) for label in [*classes] * _EACH[size]]
    others = np.repeat(np.arange(len(classes)), np.subtract(totals, first))
    folds = np.zeros(len(others), dtype=int)
    folds[: sum(tests[1:])] = np.repeat(np.arange(2, len(tests) + 1), tests[1:])
    dealt = list(zip(rng.permutation(others).tolist(), folds.tolist(), strict=True))
    dealt += [(label, 1) for label, count in enumerate(first) for _ in range(count)]
    return [(classes[label], fold) for label, fold in dealt]


def name_clips(rng: np.random.Generator, dealt: Sequence[tuple[str, int]], highest: int) -> list[ListedClip]:
    """Give clips different five-digit numbers up to `highest`, and sort them."""
    numbers = (rng.permutation(highest)[: len(dealt)] + 1).tolist()
    clips = [ListedClip(f"{number:05d}", *own) for number, own in zip(numbers, dealt, strict=True)]
    return sorted(clips, key=lambda clip: clip.name)


def iterate_lists(
    clips: Sequence[ListedClip], folds: Iterable[int]
) -> Iterator[tuple[int, str, list[ListedClip]]]:
    """Yield fold, split and clips of each list."""
    for fold in folds:
        for split in ("train", "test"):
            yield fold, split, [clip for clip in clips if (clip.fold == fold) == (split == "test")]


def film(
    job: Job, clips: Mapping[Path, ListedClip], pixels: int, frame_name: str | None = None
) -> dict[str, int]:
    """Render people who show their expression and relax again.

    Args:
        job: The rehearsal; nothing is rendered without media.
        clips: Clips by folder, or by video file.
        pixels: Side of the frames.
        frame_name: Format of image names with `clip` and `number` from 1; None for videos.

    Returns:
        Number of frames of each clip.
    """
    studio, lengths = Studio(pixels, job.seed), {}
    for place, (path, clip) in enumerate(clips.items() if job.media else ()):
        rng = job.rng(61, place)
        length = int(rng.integers(4, 8)) if place % 4 else int(rng.integers(16, 22))
        studio.enter(7, 3, place)
        yaw, units = float(rng.normal(0, 8)), expression_units(clip.label)
        course = np.sin(np.linspace(0.3, np.pi - 0.3, length)).tolist()
        images = [studio.shoot(dict.fromkeys(units, level), yaw).image for level in course]
        lengths[clip.name] = length
        if frame_name is None:
            write_video(path, images, fps=25, codec="mpeg4")
        else:
            for number, image in enumerate(images, start=1):
                write_image(path / frame_name.format(clip=path.name, number=number), image)
    return lengths


def summarise(
    clips: Sequence[ListedClip], classes: Sequence[str], folds: int, lengths: Mapping[str, int]
) -> dict[str, Any]:
    """Counts in total and in each list (one fold is an official split), and labels, folds and lengths of clips."""

    def count(rows: Sequence[ListedClip]) -> dict[str, Any]:
        return count_labels([clip.label for clip in rows], classes)

    return {
        **count(clips),
        "parts": {
            split if folds == 1 else f"set_{fold} {split}": count(rows)
            for fold, split, rows in iterate_lists(clips, range(1, folds + 1))
        },
        "labels": {clip.name: clip.label for clip in clips},
        "tested": {clip.name: clip.fold for clip in clips},
        "lengths": dict(lengths),
    }
