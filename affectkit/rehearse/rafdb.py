"""Rehearsal of RAF-DB."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.rafdb import SPACES, TOTALS
from affectkit.facs.rules import DU_2014
from affectkit.rehearse.acting.studio import Studio, count_labels, write_image, write_text
from affectkit.rehearse.registry import Job, register

__all__ = ["write_rafdb"]

_DIGITS: Final = {"basic": {"train": 5, "test": 4}, "compound": {"train": 4, "test": 3}}
_SMALL: Final = {"tiny": {"train": 3, "test": 1}, "small": {"train": 12, "test": 4}}


@register("rafdb")
def write_rafdb(
    job: Job,
    *,
    kind: Literal["basic", "compound"] = "basic",
    layout: Literal["official", "nested", "class_folders"] = "official",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write a rehearsal of RAF-DB; `out` may contain that of the other kind.

    Options:
        size: "full" has the published numbers of photographs per class and split, "small" 12 training and 4 test
            photographs per class, "tiny" 3 and 1.
        kind: Basic or compound expressions.
        layout: "official", "nested" (`Image/aligned/aligned`), or "class_folders" (`train/4/…`, without a list).
        pixels: Side of the aligned photographs; the original ones are larger.
        quirks: Write line ends as in the real lists: none after the last basic row, Windows ones in the compound list.
    """
    rng = job.rng(47)
    classes, base = SPACES[kind].classes, job.out / kind
    labels: dict[str, int] = {}
    for split, counts in TOTALS[kind].items():
        each = counts if job.is_full else [_SMALL[job.size][split]] * len(classes)
        drawn = rng.permutation(np.repeat(np.arange(1, len(classes) + 1), each)).tolist()
        digits = _DIGITS[kind][split]
        labels |= {f"{split}_{number:0{digits}d}": label for number, label in enumerate(drawn, start=1)}
    if layout != "class_folders":
        lines = [f"{name}.jpg {label}" for name, label in labels.items()]
        is_compound = kind == "compound" and quirks
        path = base / "EmoLabel" / "list_patition_label.txt"
        write_text(path, lines, crlf=is_compound, final_newline=is_compound or not quirks)
    studio = Studio(pixels, job.seed)
    for name, label in labels.items() if job.media else ():
        folder = {
            "official": base / "Image" / "aligned",
            "nested": base / "Image" / "aligned" / "aligned",
            "class_folders": base / name.partition("_")[0] / str(label),
        }[layout]
        path = folder / f"{name}_aligned.jpg"
        _shoot(studio, job, name, classes[label - 1], path, None if layout == "class_folders" else base)

    def count(split: str) -> dict[str, Any]:
        words = [classes[label - 1] for name, label in labels.items() if name.startswith(split)]
        return count_labels(words, classes, frames=len(words))

    return {
        **count(""),
        "parts": {split: count(split) for split in ("train", "test")},
        "labels": {name: classes[label - 1] for name, label in labels.items()},
    }


def _shoot(studio: Studio, job: Job, name: str, expression: str, path: Path, base: Path | None) -> None:
    """Render one photograph, and its original and annotations in `base`."""
    split, _, number = name.partition("_")
    rng = job.rng(53, split == "test", int(number))
    units: dict[int, float] = {}
    if expression in DU_2014:
        units = dict.fromkeys(DU_2014[expression].prototypical, 1.0)
        units |= {u: 0.7 for u, share in DU_2014[expression].variants.items() if rng.uniform() < share}
    studio.enter(7, int(number), split == "test")
    aligned = studio.shoot(units, float(rng.normal(0, 8)))
    write_image(path, aligned.image)
    if base is None:
        return
    margin = studio.size // 4
    original = np.pad(aligned.image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    write_image(base / "Image" / "original" / f"{name}.jpg", original)
    points = aligned.landmarks + margin
    five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    rows = [f"{x:.2f}\t{y:.2f}" for x, y in five] + [str(rng.integers(n)) for n in (3, 3, 5)]
    write_text(base / "Annotation" / "manual" / f"{name}_manu_attri.txt", rows, crlf=True)
    box = "".join(f"{value:.1f} " for value in (*points.min(0), *points.max(0)))
    path = base / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt"
    write_text(path, [box], final_newline=False)
