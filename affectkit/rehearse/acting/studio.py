"""Rendered people, files, and counts."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.facs.rules import DU_2014
from affectkit.synth.render import Face, FaceRenderer, Rendered
from affectkit.synth.rig import RIG_UNITS
from affectkit.synth.sampling import sample_person, sample_scene

__all__ = ["PLACES", "Studio", "count_labels", "expression_units", "write_image", "write_sheet", "write_text"]

# Units of classes without a table, from their verbal definitions.
_UNITS: Final[Mapping[str, Sequence[int]]] = {
    "contempt": (12, 14),
    "anxiety": (1, 4, 20, 25),
    "helplessness": (1, 4, 15, 26),
    "disappointment": (1, 4, 15, 25),
}

PLACES: Final[Mapping[str, tuple[float, float]]] = {
    "neutral": (0.0, 0.0), "happiness": (0.7, 0.1), "sadness": (-0.6, -0.3), "surprise": (0.2, 0.7),
    "fear": (-0.2, 0.8), "disgust": (-0.7, 0.5), "anger": (-0.5, 0.6), "contempt": (-0.5, 0.4),
}  # fmt: skip
"""Usual valence and arousal of expressions."""


def expression_units(label: str) -> Sequence[int]:
    """Units that show an expression."""
    return DU_2014[label].prototypical if label in DU_2014 else _UNITS.get(label, ())


class Studio:
    """Renderer of people with given intensities.

    Args:
        size: Side of the square frames in pixels.
        seed: Seed of people and scenes.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._seed = seed

    @functools.cached_property
    def _renderer(self) -> FaceRenderer:
        return FaceRenderer(self.size)

    def enter(self, *person: int, scene: np.random.Generator | None = None) -> None:
        """Choose the person by a key of numbers, and draw a scene (from `scene`, if given)."""
        rng = np.random.default_rng([self._seed, *person])
        self._renderer.set(sample_person(rng), sample_scene(scene or rng))

    def shoot(
        self, units: Mapping[int, Any], yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
    ) -> Rendered:
        """Render a frame with intensities, or (left, right) intensities, of those units that the rig can show."""
        return self._renderer.render(
            Face({u: v for u, v in units.items() if u in RIG_UNITS}, yaw, pitch, roll)
        )


def write_image(path: Path, image: npt.NDArray[np.uint8], *, is_grey: bool = False) -> None:
    """Write a picture, uint8 [H, W, 3], in the format of the suffix."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    (picture.convert("L") if is_grey else picture).save(path, quality=92)


def write_text(
    path: Path, lines: Sequence[str], *, bom: bool = False, crlf: bool = False, final_newline: bool = True
) -> None:
    """Write lines with the given byte-order mark and line ends."""
    end = "\r\n" if crlf else "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = end.join(lines) + (end if final_newline else "")
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))


def write_sheet(path: Path, title: str, rows: Iterable[Sequence[Any]], *more: str) -> None:
    """Write a workbook with a sheet of rows, and empty sheets named `more`."""
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    for name in more:
        book.create_sheet(name)
    book.save(path)


def count_labels(labels: Sequence[str], classes: Iterable[str], **more: int) -> dict[str, Any]:
    """Count clips, and clips of each class."""
    return {"clips": len(labels), **more, "classes": {name: labels.count(name) for name in classes}}
