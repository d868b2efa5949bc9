"""Random people, scenes and clips.

A clip shows one expression. Its action units are drawn from a table P(AU | expression); each active unit
rises from onset to apex, holds, and fades, while head, gaze and lids move slightly. All random choices come
from the generator passed in, so a clip depends only on its seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from affectkit.synth.render import Face, Person, Scene
from affectkit.synth.skin import SkinLook

__all__ = [
    "CONTRADICTIONS",
    "ClipPlan",
    "Regime",
    "draw_units",
    "sample_clip",
    "sample_person",
    "sample_scene",
]

Regime = Literal["macro", "micro", "varied", "engagement"]
Colour = tuple[float, float, float]

CONTRADICTIONS: Final[tuple[tuple[int, int], ...]] = (
    (24, 25), (24, 26), (24, 16), (24, 18), (18, 20), (12, 15), (5, 7), (17, 16), (17, 26), (17, 25),
)  # fmt: skip
"""Pairs that a face cannot show together."""

# Skin tones from light to dark in linear RGB; a person's tone is a mixture of two neighbours.
_TONES: Final = (
    (0.80, 0.57, 0.46), (0.70, 0.46, 0.34), (0.55, 0.34, 0.23), (0.40, 0.23, 0.15), (0.25, 0.135, 0.085),
    (0.14, 0.073, 0.047),
)  # fmt: skip
_HAIR: Final = ((0.012, 0.010, 0.009), (0.035, 0.02, 0.013), (0.09, 0.05, 0.025), (0.16, 0.10, 0.05))
_IRIS: Final = (
    (0.045, 0.022, 0.012),
    (0.09, 0.05, 0.02),
    (0.10, 0.13, 0.07),
    (0.10, 0.17, 0.24),
    (0.16, 0.19, 0.2),
)


@dataclass(frozen=True, slots=True, eq=False)
class ClipPlan:
    """Faces and labels of a clip.

    Attributes:
        faces: One per frame.
        intensities: float32 [T, U], 0 to 1, in the order of the requested units.
        onset: First frame with a movement.
        apex: Frame of the highest total intensity; a planned frame in clips without movement.
        offset: Last frame with a movement, or the last frame.
        present: Whether the face is in the picture, one per frame; None if it always is.
        level: Level of engagement that an annotator gives; None in clips of other regimes.
        answers: Answers of a rater, by question.
    """

    faces: tuple[Face, ...]
    intensities: npt.NDArray[np.float32]
    onset: int
    apex: int
    offset: int
    present: tuple[bool, ...] | None = None
    level: int | None = None
    answers: Mapping[str, float] = field(default_factory=dict)


def _colour(rng: np.random.Generator, base: Colour, spread: float) -> Colour:
    r, g, b = (float(np.clip(c * np.exp(spread * rng.standard_normal()), 0.0, 1.0)) for c in base)
    return r, g, b


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person: shape, skin, brows, eyes."""
    place = rng.uniform(0, len(_TONES) - 1)
    low, part = int(place), float(place % 1)
    high = min(low + 1, len(_TONES) - 1)
    tone = tuple((1 - part) * a + part * b for a, b in zip(_TONES[low], _TONES[high], strict=True))
    # Dark hair goes with dark skin; the lighter the skin, the more hair and iris colours there are.
    hair = _HAIR[int(rng.integers(0, 4 if low < 2 else 2))]
    iris = _IRIS[int(rng.integers(0, 5 if low < 2 else 2))]
    lips = (rng.uniform(0.78, 0.95), rng.uniform(0.42, 0.66), rng.uniform(0.44, 0.68))
    skin = SkinLook(
        tone=_colour(rng, (tone[0], tone[1], tone[2]), 0.05),
        hair=_colour(rng, hair, 0.15),
        lips=lips,
        brow_thickness=float(rng.uniform(0.75, 1.35)),
        brow_density=float(rng.uniform(0.65, 0.95)),
        brow_shift=float(rng.normal(0.0, 0.8)),
        stubble=float(max(0.0, rng.uniform(-1.0, 0.8))),
        mottle=float(rng.uniform(0.2, 1.0)),
        seed=int(rng.integers(2**31)),
    )
    return Person(
        shape=tuple((0.9 * np.clip(rng.standard_normal(20), -2.2, 2.2)).tolist()),
        skin=skin,
        iris=_colour(rng, iris, 0.1),
        wrinkle=float(rng.uniform(0.75, 1.3)),
        expressivity=float(rng.uniform(0.92, 1.12)),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw lights, background, camera and framing."""
    warmth = rng.normal(0.0, 0.06)
    strength = rng.uniform(0.55, 1.0)
    key = (strength * (1 + warmth), strength, strength * (1 - warmth))
    ambient = rng.uniform(0.2, 0.42)
    kind = rng.integers(3)  # plain, gradient, noise
    first = _colour(rng, (0.2, 0.2, 0.2), 0.7)
    second = _colour(rng, (0.2, 0.2, 0.2), 0.7) if kind else first
    corners = (first, first, second, second) if rng.uniform() < 0.5 else (first, second, first, second)
    return Scene(
        key=(float(rng.uniform(-50, 50)), float(rng.uniform(0, 50))),
        key_colour=key,
        fill_colour=(0.2 * strength,) * 3,
        sky=(ambient, ambient, ambient * float(rng.uniform(0.95, 1.1))),
        ground=(ambient * 0.5, ambient * 0.47, ambient * 0.45),
        shine=float(rng.uniform(0.0, 0.15)),
        exposure=float(np.exp(rng.normal(0.0, 0.15))),
        noise=float(rng.uniform(0.5, 4.0)),
        background=corners,
        background_noise=0.7 if kind == 2 else 0.0,
        zoom=float(0.40 * np.exp(rng.normal(0.0, 0.035))),
        shift=(float(rng.normal(0.0, 0.012)), float(rng.normal(0.0, 0.012))),
        seed=int(rng.integers(2**31)),
    )


def draw_units(
    rng: np.random.Generator,
    probabilities: Sequence[float],
    units: Sequence[int],
    *,
    independent: float = 0.05,
) -> tuple[int, ...]:
    """Draw the active units of a clip, in the order of `units`.

    Args:
        rng: Random generator.
        probabilities: P(unit | expression) of each unit.
        units: AU numbers.
        independent: Highest probability of units outside the expression's table. Such a unit is dropped where
            it contradicts another active unit (`CONTRADICTIONS`).

    Example:
        >>> draw_units(np.random.default_rng(0), [1.0, 0.0], [6, 12])
        (6,)
    """
    draw = rng.uniform(size=len(units)) < np.asarray(probabilities)
    chance = dict(zip(units, probabilities, strict=True))
    active = [u for u, on in zip(units, draw.tolist(), strict=True) if on]
    for a, b in CONTRADICTIONS:
        if a in active and b in active:
            weaker = a if chance[a] <= chance[b] else b
            if chance[weaker] <= independent:
                active.remove(weaker)
    return tuple(active)


def envelope(frames: int, onset: float, apex: float, hold: float, offset: float) -> npt.NDArray[np.float64]:
    """0 before onset, smooth rise to 1 at apex, 1 until hold, smooth fall to 0 at offset."""
    t = np.arange(frames, dtype=np.float64)
    rise = np.clip((t - onset) / max(apex - onset, 1e-6), 0.0, 1.0)
    fall = np.clip((offset - t) / max(offset - hold, 1e-6), 0.0, 1.0)
    level = np.minimum(rise, fall)
    return level * level * (3.0 - 2.0 * level)


def _events(
    rng: np.random.Generator, frames: int, fps: float, regime: Regime
) -> tuple[float, float, float, float]:
    """Onset, apex, end of the apex, offset, in frames."""
    if regime == "macro":  # fills the clip, so that most frames show something
        onset = rng.uniform(-0.05, 0.08) * frames
        apex = onset + rng.uniform(0.12, 0.2) * frames
        hold = apex + rng.uniform(0.5, 0.7) * frames
        return onset, apex, hold, hold + rng.uniform(0.15, 0.3) * frames
    # A micro-expression lasts at most half a second, wherever it falls in the clip.
    length = min(rng.uniform(0.2, 0.5) * fps, frames - 2.0)
    onset = rng.uniform(0.0, frames - 1.0 - length)
    apex = onset + rng.uniform(0.35, 0.5) * length
    return onset, apex, apex + 0.1 * length, onset + length


def sample_clip(
    rng: np.random.Generator,
    active: Sequence[int],
    units: Sequence[int],
    *,
    frames: int,
    fps: float = 25.0,
    regime: Regime = "macro",
) -> ClipPlan:
    """Draw the course of a clip.

    Args:
        rng: Random generator.
        active: Active units.
        units: All labelled units, the columns of `intensities`.
        frames: Number of frames.
        fps: Frames per second.
        regime: "macro" reaches intensities of 0.5 to 1; "micro" reaches 0.15 to 0.45 and lasts at most half a
            second.

    Example:
        >>> plan = sample_clip(np.random.default_rng(0), (12,), (6, 12), frames=8)
        >>> plan.intensities.shape, bool(plan.intensities[plan.apex, 1] >= 0.5)
        ((8, 2), True)
    """
    events = _events(rng, frames, fps, regime)
    levels = np.zeros((frames, len(units)))
    skew = np.ones((len(units), 2))
    low, high = (0.5, 1.0) if regime == "macro" else (0.15, 0.45)
    lag = 0.03 * frames if regime == "macro" else 0.0
    for column, unit in enumerate(units):
        skew[column] = 1.0 + rng.uniform(-0.12, 0.12) * np.array([1.0, -1.0])  # nobody is symmetric
        top, shift = rng.uniform(low, high), rng.normal(0.0, 1.0) * lag
        if unit in active:
            levels[:, column] = top * envelope(frames, *(e + shift for e in events))
    pose = sway(rng, frames, (9.0, 5.0, 2.5), 1.5)
    gaze = np.clip(sway(rng, frames, (0.25, 0.2), 0.05), -0.9, 0.9)
    lids = blinks(rng, frames, fps)
    faces = []
    for t in range(frames):
        sides: dict[int, float | tuple[float, float]] = {}
        for k in np.flatnonzero(levels[t]).tolist():
            left, right = np.minimum(levels[t, k] * skew[k], 1.0).tolist()
            sides[units[k]] = left, right
        if lids[t] > 0.0:
            sides[45] = float(lids[t])
        across, up = gaze[t].tolist()
        yaw, pitch, roll = pose[t].tolist()
        faces.append(Face(sides, yaw, pitch, roll, (across, up)))
    total = levels.sum(axis=1)
    moving = np.flatnonzero(total > 0.0)
    apex = int(total.argmax()) if moving.size else round(events[1])
    onset, offset = (int(moving[0]), int(moving[-1])) if moving.size else (0, frames - 1)
    return ClipPlan(tuple(faces), levels.astype(np.float32), onset, min(apex, offset), offset)


def sway(
    rng: np.random.Generator, frames: int, spread: tuple[float, ...], drift: float
) -> npt.NDArray[np.float64]:
    """Random rest position with standard deviations `spread`, plus a slow wave of amplitude `drift`: [T, K]."""
    n = len(spread)
    rest = rng.standard_normal(n) * np.asarray(spread)
    amplitude = drift * rng.standard_normal(n)
    speed, phase = rng.uniform(0.3, 1.0, n), rng.uniform(0.0, 2 * np.pi, n)
    t = np.arange(frames)[:, None] / max(frames, 1)
    wave: npt.NDArray[np.float64] = rest + amplitude * np.sin(2 * np.pi * speed * t + phase)
    return wave


def blinks(
    rng: np.random.Generator, frames: int, fps: float, *, every: float = 4.0
) -> npt.NDArray[np.float64]:
    """Closure of the lids, 0 to 1: on average, a blink of about 0.2 s every 4 s."""
    lids = np.zeros(frames)
    start, chance = rng.integers(0, max(frames, 1)), rng.uniform()
    if chance < frames / (every * fps):
        width = max(0.1 * fps, 1.0)
        lids = np.clip(1.3 - np.abs(np.arange(frames) - start) / width, 0.0, 1.0)
    return lids
