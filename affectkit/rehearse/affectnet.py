"""A rendered corpus in AffectNet's layout, with as many photographs of each class as the real one has, or a few."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from affectkit.datasets.affectnet import CLASSES, COLUMNS, TRAIN, UNDEFINED, VALIDATION
from affectkit.facs.rules import DU_2014
from affectkit.rehearse.acting.macro import Studio, write_image, write_manifest, write_text
from affectkit.rehearse.registry import Size, register

__all__ = ["write_affectnet"]

_EACH: Final = {"tiny": (2, 1), "small": (8, 4)}
_OTHERS: Final = {8: "none", 9: "uncertain", 10: "no face"}
_UNITS: Final = {"contempt": (12, 14), "neutral": ()}
_PLACES: Final = {  # usual valence and arousal
    "neutral": (0.0, 0.0), "happiness": (0.7, 0.1), "sadness": (-0.6, -0.3), "surprise": (0.2, 0.7),
    "fear": (-0.2, 0.8), "disgust": (-0.7, 0.5), "anger": (-0.5, 0.6), "contempt": (-0.5, 0.4),
}  # fmt: skip


@register("affectnet")
def write_affectnet(
    out: str | Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    media: bool = True,
    layout: Literal["lists", "folders"] = "lists",
    header: bool = True,
    pixels: int = 64,
) -> dict[str, Any]:
    """Write rendered faces with expressions, valence and arousal as AffectNet is distributed.

    Args:
        out: The folder to make.
        size: "tiny" (2 training and 1 validation photograph a class), "small" (8 and 4) or "full".
        seed: Of every draw.
        media: Whether photographs are rendered.
        layout: "lists" of all photographs, or the later "folders" with files of annotations for each; these are
            written with photographs only.
        header: Whether the training list has a header; some copies lack it.
        pixels: Side of the photographs.

    Returns:
        The manifest, which is written as `rehearsal.json` too.
    """
    root = Path(out)
    studio = Studio(pixels, seed)
    parts: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    for place, part in enumerate(("train", "validation")):
        rng = np.random.default_rng([seed, 83, place])
        each = (
            (TRAIN, (VALIDATION,) * len(TRAIN))[place]
            if size == "full"
            else (_EACH[size][place],) * len(TRAIN)
        )
        labels = rng.permutation([*np.repeat(np.arange(len(TRAIN)), each), *_OTHERS]).tolist()
        lines = []
        for number, label in enumerate(labels):
            word = (*CLASSES.classes, *_OTHERS.values())[label]
            digest = hashlib.blake2b(f"{seed} {part} {number}".encode(), digest_size=14).hexdigest()
            name = f"{number % 7 + 1}/{digest}.jpg" if layout == "lists" else f"{number}.jpg"
            middle = _PLACES.get(word)
            values = (
                (UNDEFINED, UNDEFINED)
                if middle is None
                else tuple(np.clip(np.round(rng.normal(middle, 0.15), 4), -1, 1).tolist())
            )
            truths[f"{part}/{name}"] = {"class": word, "va": None if middle is None else values}
            landmarks = ""
            if media:
                shown = DU_2014.get(word)
                units = _UNITS.get(word, () if shown is None else shown.prototypical)
                studio.enter(place, number)
                face = studio.shoot(dict.fromkeys(units, 1.0), float(rng.normal(0, 8)))
                folder = "Manually_Annotated_Images" if layout == "lists" else f"{_folder(part)}/images"
                write_image(root / folder / name, face.image)
                landmarks = ";".join(f"{value:.2f}" for value in face.landmarks.ravel().tolist())
            if layout == "lists":
                lines.append(f"{name},0,0,{pixels},{pixels},{landmarks},{label},{values[0]},{values[1]}")
            else:
                _save(root / _folder(part) / "annotations" / str(number), label, values)
        if layout == "lists":
            top = [",".join(COLUMNS)] if header or part == "validation" else []
            path = (
                root
                / "Manually_Annotated_file_lists"
                / ("training.csv" if part == "train" else "validation.csv")
            )
            write_text(path, [*top, *lines])
        words = [CLASSES.classes[label] for label in labels if label < len(CLASSES)]
        parts[part] = _count(words)
    whole = {
        name: parts["train"]["classes"][name] + parts["validation"]["classes"][name]
        for name in CLASSES.classes
    }
    clips = sum(whole.values())
    return write_manifest(
        root,
        {
            "corpus": "AffectNet",
            "size": size,
            "seed": seed,
            "media": media,
            "layout": layout,
            "clips": clips,
            "frames": clips,
            "classes": whole,
            "parts": parts,
            "labels": truths if size != "full" else {},
        },
    )


def _folder(part: str) -> str:
    return "train_set" if part == "train" else "val_set"


def _save(stem: Path, label: int, values: tuple[float, ...]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind, value in zip(("exp", "val", "aro"), (label, *values), strict=True):
        np.save(stem.with_name(f"{stem.name}_{kind}.npy"), np.array(str(value)))


def _count(words: list[str]) -> dict[str, Any]:
    return {
        "clips": len(words),
        "frames": len(words),
        "classes": {name: words.count(name) for name in CLASSES.classes},
    }
