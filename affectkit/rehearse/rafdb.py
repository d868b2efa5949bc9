"""A rendered corpus in RAF-DB's layout, with as many photographs of each class as the real one has, or a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.rafdb import SPACES, TOTALS
from affectkit.facs.rules import DU_2014
from affectkit.rehearse.acting.macro import Studio, write_image, write_manifest, write_text
from affectkit.rehearse.registry import Size, register

__all__ = ["write_rafdb"]

_DIGITS: Final = {"basic": {"train": 5, "test": 4}, "compound": {"train": 4, "test": 3}}
_SMALL: Final = {"tiny": {"train": 3, "test": 1}, "small": {"train": 12, "test": 4}}


@register("rafdb")
def write_rafdb(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    kind: Literal["basic", "compound"] = "basic",
    layout: Literal["official", "nested", "class_folders"] = "official",
    pixels: int = 64,
    quirks: bool = True,
) -> dict[str, Any]:
    """Write rendered faces and their expressions as RAF-DB is distributed.

    In size "full" every class has as many photographs in each split as the real corpus.

    Args:
        out: The folder to make, or one in which the other kind lies already.
        size: "tiny" (3 training and 1 test photograph a class), "small" (12 and 4) or "full".
        seed: Of every draw.
        media: Whether photographs are rendered.
        kind: Basic or compound expressions.
        layout: "official", "nested" (`Image/aligned/aligned`), or "class_folders" (`train/4/…`, without a list).
        pixels: Side of the aligned photographs; the original ones are larger.
        quirks: Line ends as in the real lists: none behind the last basic row, Windows ones in the compound list.

    Returns:
        The manifest, which is written as `rehearsal.json` too: counts, parts, and every label.
    """
    root = Path(out)
    rng = np.random.default_rng([seed, 47])
    classes = SPACES[kind].classes
    labels: dict[str, int] = {}
    for split, counts in TOTALS[kind].items():
        if size != "full":
            counts = (_SMALL[size][split],) * len(classes)
        drawn = rng.permutation(np.repeat(np.arange(1, len(classes) + 1), counts)).tolist()
        digits = _DIGITS[kind][split]
        labels |= {f"{split}_{number:0{digits}d}": label for number, label in enumerate(drawn, start=1)}
    lines = [f"{name}.jpg {label}" for name, label in labels.items()]
    if layout != "class_folders":
        compound = kind == "compound" and quirks
        path = root / kind / "EmoLabel" / "list_patition_label.txt"
        write_text(path, lines, crlf=compound, final_newline=compound or not quirks)
    for name, label in labels.items() if media else ():
        _shoot(root / kind, name, label, classes, layout, pixels, seed)
    parts = {
        split: _count([label for name, label in labels.items() if name.startswith(split)], classes)
        for split in ("train", "test")
    }
    return write_manifest(
        root,
        {
            "corpus": "RAFDB",
            "kind": kind,
            "size": size,
            "seed": seed,
            "layout": layout,
            "media": media,
            **_count(list(labels.values()), classes),
            "parts": parts,
            "labels": {name: classes[label - 1] for name, label in labels.items()},
        },
    )


def _aligned(base: Path, name: str, label: int, layout: str) -> Path:
    folders = {
        "official": "Image/aligned",
        "nested": "Image/aligned/aligned",
        "class_folders": f"{name.partition('_')[0]}/{label}",
    }
    return base / folders[layout] / f"{name}_aligned.jpg"


def _shoot(
    base: Path, name: str, label: int, classes: tuple[str, ...], layout: str, pixels: int, seed: int
) -> None:
    """Render one photograph and what lies beside it."""
    split, _, number = name.partition("_")
    rng = np.random.default_rng([seed, 53, split == "test", int(number)])
    shown = DU_2014.get(classes[label - 1])
    units = {} if shown is None else dict.fromkeys(shown.prototypical, 1.0)
    units |= {} if shown is None else {u: 0.7 for u, share in shown.variants.items() if rng.uniform() < share}
    studio = _studio(pixels, seed)
    studio.enter(int(number), split == "test")
    yaw = float(rng.normal(0, 8))
    aligned = studio.shoot(units, yaw)
    write_image(_aligned(base, name, label, layout), aligned.image)
    if layout == "class_folders":
        return
    margin = pixels // 4
    original = np.pad(aligned.image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    write_image(base / "Image" / "original" / f"{name}.jpg", original)
    points = aligned.landmarks + margin
    five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    rows = [f"{x:.2f}\t{y:.2f}" for x, y in five] + [str(rng.integers(n)) for n in (3, 3, 5)]
    write_text(base / "Annotation" / "manual" / f"{name}_manu_attri.txt", rows, crlf=True)
    box = [*points.min(0), *points.max(0)]
    path = base / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt"
    write_text(path, ["".join(f"{value:.1f} " for value in box)], final_newline=False)


_STUDIOS: dict[tuple[int, int], Studio] = {}


def _studio(pixels: int, seed: int) -> Studio:
    if (pixels, seed) not in _STUDIOS:
        _STUDIOS[pixels, seed] = Studio(pixels, seed)
    return _STUDIOS[pixels, seed]


def _count(labels: list[int], classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "clips": len(labels),
        "frames": len(labels),
        "classes": {name: labels.count(number) for number, name in enumerate(classes, start=1)},
    }
