"""Shared parts of the rehearsals of micro-expression corpora."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from affectkit.rehearse.acting.studio import Studio
from affectkit.rehearse.registry import Job

__all__ = ["Cell", "Clip", "Unit", "act", "choose", "deal", "deal_units", "match_cells", "summarise"]

_PIXELS: Final = {"tiny": 64, "small": 128, "full": 280}  # side of the frames

T = TypeVar("T", int, str)


class Unit(NamedTuple):
    """An active unit and its side (None: both)."""

    number: int
    side: Literal["L", "R"] | None = None

    def __str__(self) -> str:
        return f"AU{self.number}{self.side or ''}"


class Cell(NamedTuple):
    """Action units as written in a table, and in their first reading (None: unknown)."""

    text: str | int = ""
    units: tuple[Unit, ...] | None = ()


@dataclass(frozen=True)
class Clip:
    """A row of the annotation: `apex` as written in the table, and `extra` entries of the manifest."""

    person: int
    name: str
    onset: int
    apex: int | str
    offset: int
    emotion: str
    cell: Cell
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def valid_apex(self) -> int | None:
        """The apex, unless it is missing or outside the clip."""
        return self.apex if isinstance(self.apex, int) and self.onset <= self.apex <= self.offset else None

    def truth(self, subject: str) -> dict[str, Any]:
        """The row in the manifest."""
        return {
            "subject": subject,
            "clip": f"{subject}/{self.name}",
            "onset": self.onset,
            "apex": self.valid_apex,
            "offset": self.offset,
            "units": None if self.cell.units is None else sorted(map(str, self.cell.units)),
            "emotion": self.emotion,
            **self.extra,
        }


def deal(rng: np.random.Generator, counts: Mapping[T, int], fixed: Mapping[int, T], rows: int) -> list[T]:
    """Deal values to rows in random order: value v to `counts[v]` rows, among them those that are `fixed`."""
    taken = Counter(fixed.values())
    deck = iter(rng.permutation([v for v, count in counts.items() for _ in range(count - taken[v])]).tolist())
    return [fixed[row] if row in fixed else next(deck) for row in range(rows)]


def deal_units(
    rng: np.random.Generator, sizes: Sequence[int], counts: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """Deal units so that row k gets `sizes[k]` different ones, and unit u goes to `counts[u]` rows.

    Example:
        >>> rows = deal_units(np.random.default_rng(0), [2, 1, 1], {4: 3, 7: 1})
        >>> sorted(rows[0]), rows[1:]
        ([4, 7], [(4,), (4,)])
    """
    left = np.array(sizes)
    rows: list[list[int]] = [[] for _ in sizes]
    for unit, count in sorted(counts.items(), key=lambda item: -item[1]):
        # Rows with most room first, so that the rest always fits (Gale and Ryser).
        order = np.lexsort((rng.uniform(size=len(left)), -left))[:count].tolist()
        for row in order:
            rows[row].append(unit)
        left[order] -= 1
    if left.any():
        raise ValueError("sizes and counts do not agree")
    return [tuple(sorted(row)) for row in rows]


def match_cells(
    rng: np.random.Generator,
    emotions: Mapping[int, str],
    cells: Sequence[Cell],
    typical: Mapping[str, Collection[int]],
) -> dict[int, Cell]:
    """Give each row of `emotions` one of as many cells, with units close to the typical ones of its emotion.

    Emotions choose in the order of `typical`.
    """
    sets = [{unit.number for unit in cell.units or ()} for cell in cells]
    pool = rng.permutation(len(cells)).tolist()
    order, chosen = list(typical), {}
    for row in sorted(emotions, key=lambda row: order.index(emotions[row])):
        units = set(typical[emotions[row]])
        best = max(pool, key=lambda k: len(units & sets[k]) - 0.5 * len(sets[k] - units))
        pool.remove(best)
        chosen[row] = cells[best]
    return chosen


def choose(
    clips: Sequence[Clip],
    size: str,
    people: Sequence[int],
    first: Collection[str],
    starts: Sequence[int] = (),
) -> list[Clip]:
    """Clips of a size: all, or a few short ones of a few people.

    Args:
        clips: All clips.
        size: Size of the corpus.
        people: Preferred people: the first four in "tiny", the first eight in "small".
        first: Names of preferred clips.
        starts: First frame numbers of the shortened clips in turn; by default their own.
    """
    if size == "full":
        return list(clips)
    count, each, length = (4, 3, 8) if size == "tiny" else (8, 4, 20)
    chosen: list[Clip] = []
    for person in people[:count]:
        own = [clip for clip in clips if clip.person == person]
        chosen += sorted(own, key=lambda clip: clip.name not in first)[:each]
    chosen = [clip for clip in clips if clip in chosen]
    return [
        _shorten(clip, starts[place % len(starts)] if starts else clip.onset, length + place % 3)
        for place, clip in enumerate(chosen)
    ]


def _shorten(clip: Clip, start: int, length: int) -> Clip:
    """The clip with few frames; a missing or wrong apex remains so."""
    offset, apex = start + length - 1, clip.apex
    if clip.valid_apex is not None:
        apex = start + round((clip.valid_apex - clip.onset) / (clip.offset - clip.onset) * (length - 1))
    elif isinstance(apex, int):
        apex = offset + 9
    return replace(clip, onset=start, apex=apex, offset=offset)


def act(
    job: Job, clips: Sequence[Clip], *, is_whole: bool = False
) -> Iterator[tuple[int, Clip, Iterator[tuple[int, npt.NDArray[np.uint8]]]]]:
    """Render clips from onset to offset, or `is_whole` recordings.

    Yields:
        Place of the clip, the clip, and its frame numbers with images, uint8 [S, S, 3].
    """
    studio = Studio(_PIXELS[job.size], job.seed)
    for place, clip in enumerate(clips if job.media else ()):
        rng = job.rng(2, place)
        studio.enter(1, clip.person, scene=rng)
        numbers = range(1, clip.offset + 6) if is_whole else range(clip.onset, clip.offset + 1)
        yield place, clip, _perform(studio, clip, rng, numbers)


def _perform(
    studio: Studio, clip: Clip, rng: np.random.Generator, numbers: Sequence[int]
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Rise from onset to apex and fall to offset."""
    strength = [(unit, float(rng.uniform(0.25, 0.5))) for unit in clip.cell.units or ()]
    pose = rng.standard_normal(3) * (6.0, 4.0, 2.0)
    drift = rng.standard_normal(3) * 0.01
    apex = clip.valid_apex
    apex = clip.onset + (clip.offset - clip.onset + 1) // 2 if apex is None else apex
    for step, number in enumerate(numbers):
        rise = min((number - clip.onset) / max(apex - clip.onset, 1), 1.0)
        fall = min((clip.offset - number) / max(clip.offset - apex, 1), 1.0)
        level = max(min(rise, fall), 0.0)
        sides: dict[int, tuple[float, float]] = {}
        for unit, top in strength:
            left, right = sides.get(unit.number, (0.0, 0.0))
            value = top * level * level * (3 - 2 * level)
            sides[unit.number] = (
                left if unit.side == "R" else max(left, value),
                right if unit.side == "L" else max(right, value),
            )
        yield number, studio.shoot(sides, *(pose + drift * step).tolist()).image


def summarise(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of rows as `Clip.truth` returns them, and the rows."""
    people = Counter(clip["subject"] for clip in clips)
    numbers = [{int(unit[2:].rstrip("LR")) for unit in clip.get("units") or ()} for clip in clips]
    frames = [clip["frames"] if "frames" in clip else clip["offset"] - clip["onset"] + 1 for clip in clips]
    counts = {
        "subjects": len(people),
        "clips": len(clips),
        "frames": None if None in frames else sum(frames),
        "positives": {f"AU{unit}": n for unit, n in sorted(Counter(chain(*numbers)).items())},
        "classes": dict(sorted(Counter(clip["emotion"].casefold() for clip in clips).items())),
        "parts": {subject: {"clips": n} for subject, n in sorted(people.items())},
    }
    return {"counts": counts, "clips": list(clips)}
