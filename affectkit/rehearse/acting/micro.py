"""What the layouts of micro-expression corpora share: dealing out labels, rendering movements, the manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from affectkit.rehearse.registry import Size
from affectkit.synth.render import Face, FaceRenderer, Person
from affectkit.synth.rig import RIG_UNITS
from affectkit.synth.sampling import sample_person, sample_scene

__all__ = [
    "PIXELS", "Actors", "Clip", "Unit", "deal_units", "match_sets", "pick", "save_image",
    "write_manifest",
]  # fmt: skip

PIXELS: Final[Mapping[str, int]] = {"tiny": 64, "small": 128, "full": 280}
"""Side of the rendered frames."""


class Unit(NamedTuple):
    """An active unit: its number, and on which side (None: both)."""

    number: int
    side: Literal["L", "R"] | None = None

    def __str__(self) -> str:
        return f"AU{self.number}{self.side or ''}"


@dataclass(frozen=True)
class Clip:
    """A row of the annotation, and what is written about it.

    Attributes:
        person: number of the subject.
        name: name of the clip.
        onset: number of the first frame.
        apex: number of the strongest frame that is rendered.
        offset: number of the last frame.
        units: what moves, in the first reading; None where the coder wrote that it is unknown.
        cell: the action units as the table writes them.
        emotion: the word in the table.
        apex_cell: the apex as the table writes it.
    """

    person: int
    name: str
    onset: int
    apex: int
    offset: int
    units: tuple[Unit, ...] | None
    cell: str | int
    emotion: str
    apex_cell: str | int

    def truth(self, subject: str) -> dict[str, Any]:
        """The row in the manifest."""
        usable = isinstance(self.apex_cell, int) and self.onset <= self.apex_cell <= self.offset
        return {
            "subject": subject,
            "clip": f"{subject}/{self.name}",
            "onset": self.onset,
            "apex": self.apex_cell if usable else None,
            "offset": self.offset,
            "units": None if self.units is None else sorted(map(str, self.units)),
            "emotion": self.emotion,
        }


def deal_units(
    rng: np.random.Generator, sizes: Sequence[int], counts: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """Deal units out so that row k gets `sizes[k]` different ones, and unit u goes to `counts[u]` rows.

    Example:
        >>> rows = deal_units(np.random.default_rng(0), [2, 1, 1], {4: 3, 7: 1})
        >>> sorted(rows[0]), rows[1:]
        ([4, 7], [(4,), (4,)])
    """
    left = np.array(sizes)
    rows: list[list[int]] = [[] for _ in sizes]
    for unit, count in sorted(counts.items(), key=lambda item: -item[1]):
        # The rows with most room first: then the rest always fits (Gale and Ryser).
        order = np.lexsort((rng.uniform(size=len(left)), -left))[:count].tolist()
        for row in order:
            rows[row].append(unit)
        left[order] -= 1
    if left.any():
        raise ValueError("sizes and counts do not agree")
    return [tuple(sorted(row)) for row in rows]


def match_sets(
    rng: np.random.Generator,
    emotions: Sequence[str],
    sets: Sequence[Collection[int]],
    typical: Mapping[str, Collection[int]],
) -> list[int]:
    """For each row the index of a set of units that goes with its emotion; every set is used once.

    Args:
        rng: Source of every choice.
        emotions: One a row.
        sets: As many.
        typical: Units that go with an emotion; the emotions that choose first come first.
    """
    pool = rng.permutation(len(sets)).tolist()
    chosen = [0] * len(emotions)
    order = list(typical)
    for row in sorted(range(len(emotions)), key=lambda row: order.index(emotions[row])):
        units = set(typical[emotions[row]])
        best = max(pool, key=lambda k: len(units & set(sets[k])) - 0.5 * len(set(sets[k]) - units))
        pool.remove(best)
        chosen[row] = best
    return chosen


def pick(clips: Sequence[Clip], size: Size, people: Sequence[int], first: Collection[str]) -> list[Clip]:
    """The clips of a size: all, or a few of a few people, those named in `first` before others.

    Args:
        clips: All clips.
        size: Of the corpus.
        people: Who is taken: the first four in "tiny", the first eight in "small".
        first: Names of clips that show quirks.
    """
    if size == "full":
        return list(clips)
    count, each = (4, 3) if size == "tiny" else (8, 4)
    chosen: list[Clip] = []
    for person in sorted(people[:count]):
        own = [clip for clip in clips if clip.person == person]
        own.sort(key=lambda clip: clip.name not in first)
        chosen += own[:each]
    return [clip for clip in clips if clip in chosen]


class Actors:
    """People who perform movements before the camera.

    Args:
        pixels: Side of a frame.
        seed: Of every draw.
    """

    def __init__(self, pixels: int, seed: int) -> None:
        self._renderer = FaceRenderer(pixels)
        self._seed = seed
        self._person: tuple[int, Person] | None = None

    def perform(self, clip: Clip, place: int, numbers: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        """Render the frames with the given numbers.

        Args:
            clip: What happens, and when.
            place: Of the clip in the corpus.
            numbers: Frame numbers; before the onset and behind the offset the face rests.

        Yields:
            uint8 [S, S, 3], RGB.
        """
        if self._person is None or self._person[0] != clip.person:
            actor = sample_person(np.random.default_rng([self._seed, 1, clip.person]))
            self._person = clip.person, actor
        rng = np.random.default_rng([self._seed, 2, place])
        self._renderer.set(self._person[1], sample_scene(rng))
        strength = {unit: float(rng.uniform(0.25, 0.5)) for unit in clip.units or ()}
        pose = rng.standard_normal(3) * (6.0, 4.0, 2.0)
        drift = rng.standard_normal(3) * 0.01
        for step, number in enumerate(numbers):
            rise = min((number - clip.onset) / max(clip.apex - clip.onset, 1), 1.0)
            fall = min((clip.offset - number) / max(clip.offset - clip.apex, 1), 1.0)
            level = max(min(rise, fall), 0.0)
            sides: dict[int, float | tuple[float, float]] = {}
            for unit, top in strength.items():
                if unit.number in RIG_UNITS:
                    own = sides.get(unit.number, (0.0, 0.0))
                    left, right = own if isinstance(own, tuple) else (own, own)
                    value = top * level * level * (3 - 2 * level)
                    sides[unit.number] = (
                        left if unit.side == "R" else max(left, value),
                        right if unit.side == "L" else max(right, value),
                    )
            yaw, pitch, roll = (pose + drift * step).tolist()
            yield self._renderer.render(Face(sides, yaw, pitch, roll)).image


def save_image(path: Path, image: npt.NDArray[np.uint8], *, grey: bool = False) -> None:
    """Write an image in the format that the name says."""
    from PIL import Image

    picture = Image.fromarray(image)
    (picture.convert("L") if grey else picture).save(path, quality=95)


def write_manifest(out: Path, clips: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Write `rehearsal.json`.

    Args:
        out: Folder of the corpus.
        clips: The truth of each row, as `Clip.truth` gives it.
        **more: What else is true.

    Returns:
        The manifest. Its `counts` are what `affectkit data check` should find.
    """
    manifest = {"rendered": True, "format_version": 1, **more, "counts": _counts(clips), "clips": list(clips)}
    (out / "rehearsal.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _counts(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    subjects = sorted({clip["subject"] for clip in clips})
    parts = {subject: {"clips": sum(clip["subject"] == subject for clip in clips)} for subject in subjects}
    numbers = [{int(unit[2:].rstrip("LR")) for unit in clip.get("units") or ()} for clip in clips]
    emotions = [clip["emotion"].casefold() for clip in clips]
    frames = [clip["frames"] if "frames" in clip else clip["offset"] - clip["onset"] + 1 for clip in clips]
    return {
        "subjects": len(subjects),
        "clips": len(clips),
        "frames": None if None in frames else sum(frames),
        "positives": {
            f"AU{unit}": sum(unit in own for own in numbers) for unit in sorted(set().union(*numbers))
        },
        "classes": {emotion: emotions.count(emotion) for emotion in sorted(set(emotions))},
        "parts": parts,
    }
