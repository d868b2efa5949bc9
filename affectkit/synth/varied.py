"""Sample clips of great variety: the training data of models for real faces.

Unlike the other regimes, units combine freely, heads turn by up to 40°, eyes look around and blink, mouths move as
in speech without any emotion, one side of the face may act alone, and pictures are small, blurred, compressed or
partly covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from affectkit.facs.sets import AUSet
from affectkit.synth.render import Face
from affectkit.synth.rig import RIG_UNITS
from affectkit.synth.sampling import CONTRADICTIONS, ClipPlan, blinks, envelope, sway

__all__ = ["VARIED_UNITS", "degrade", "sample_varied_clip", "sample_varied_units"]

_SIDED: Final = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 20)
_ONE_SIDED: Final = (2, 12, 14)  # labelled by side as well
_SPEECH: Final = (10, 16, 17, 18, 20, 22, 23, 24, 25, 26, 28)
_CONTRADICTIONS: Final = (*CONTRADICTIONS, (25, 28), (26, 28), (24, 28), (22, 28))

VARIED_UNITS: Final = AUSet.parse(
    ",".join(
        [f"AU{unit}" for unit in RIG_UNITS] + [f"AU{unit}{side}" for unit in _ONE_SIDED for side in "LR"]
    )
)
"""Labelled units: all units of the rig, and those that often act on one side, by side."""


def sample_varied_units(rng: np.random.Generator) -> tuple[int, ...]:
    """Draw the active units of a clip without an expression: speech-like mouth movements, or any units."""
    pool = _SPEECH if rng.uniform() < 0.4 else RIG_UNITS[:-1]  # AU45 comes from blinks
    count = int(rng.integers(1, 5 if pool is _SPEECH else 9))
    active = rng.choice(pool, count, replace=False).tolist()
    for pair in _CONTRADICTIONS:
        if set(pair) <= set(active):
            active.remove(pair[int(rng.integers(2))])
    return tuple(sorted(active))


def sample_varied_clip(
    rng: np.random.Generator, active: Sequence[int], *, frames: int, fps: float
) -> ClipPlan:
    """Draw the course of a clip: every unit has a time, a strength and, often, a side of its own.

    Args:
        rng: Random generator.
        active: Active units.
        frames: Number of frames.
        fps: Frames per second.

    Returns:
        The plan; the columns of `intensities` are `VARIED_UNITS`. The intensity of a unit is that of its stronger
        side; that of a one-sided unit (AU12L) is by how much its side exceeds the other one.

    Example:
        >>> plan = sample_varied_clip(np.random.default_rng(0), (12,), frames=8, fps=8.0)
        >>> plan.intensities.shape
        (8, 28)
    """
    levels = {unit: np.zeros((frames, 2)) for unit in RIG_UNITS}
    for unit in active:
        onset = rng.uniform(-0.8, 0.5) * frames
        apex = onset + rng.uniform(0.1, 0.5) * frames
        hold = apex + rng.uniform(0.1, 0.9) * frames
        offset = hold + rng.uniform(0.1, 0.5) * frames
        course = rng.uniform(0.2, 1.0) * envelope(frames, onset, apex, hold, offset)
        share = 1.0 + rng.uniform(-0.12, 0.12) * np.array([1.0, -1.0]) * (unit in _SIDED)
        if unit in _SIDED and rng.uniform() < (0.5 if unit in _ONE_SIDED else 0.15):
            share[int(rng.integers(2))] *= rng.uniform(0.0, 0.25)
        levels[unit] = np.minimum(course[:, None] * share, 1.0)
    if rng.uniform() < 0.5:
        levels[45] = np.maximum(levels[45], blinks(rng, frames, fps, every=0.5)[:, None])
    pose = np.clip(sway(rng, frames, (13.0, 9.0, 6.0), 7.0), (-40, -32, -28), (40, 32, 28))
    gaze = np.clip(sway(rng, frames, (0.4, 0.3), 0.2), -0.95, 0.95)
    faces = []
    for t in range(frames):
        sides = {u: (float(v[t, 0]), float(v[t, 1])) for u, v in levels.items() if v[t].any()}
        yaw, pitch, roll = pose[t].tolist()
        across, up = gaze[t].tolist()
        faces.append(Face(sides, yaw, pitch, roll, (across, up)))
    columns = [levels[u].max(axis=1) for u in RIG_UNITS]
    for unit in _ONE_SIDED:
        left, right = levels[unit].T
        columns += [np.maximum(left - right, 0.0), np.maximum(right - left, 0.0)]
    intensities = np.stack(columns, axis=1).astype(np.float32)
    strength = intensities[:, : len(RIG_UNITS)].sum(axis=1)
    moving = np.flatnonzero(strength > 0.0)
    apex = int(strength.argmax())
    onset, offset = (int(moving[0]), int(moving[-1])) if moving.size else (0, frames - 1)
    return ClipPlan(tuple(faces), intensities, onset, apex, offset)


def degrade(
    rng: np.random.Generator, images: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Cover part of the face in one clip out of ten, and lower the resolution in two out of five.

    Args:
        rng: Random generator.
        images: uint8 [T, H, W, 3].
        landmarks: float32 [T, 68, 2].

    Returns:
        uint8 [T, H, W, 3].
    """
    import cv2

    images = images.copy()
    size = images.shape[1]
    if rng.uniform() < 0.1:
        place, angle = int(rng.integers(68)), float(rng.uniform(0, 180))
        radius = rng.uniform(0.04, 0.12) * size
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.4, 1.0))))
        colour = rng.integers(20, 230, 3).tolist()
        for image, (x, y) in zip(images, landmarks[:, place], strict=True):
            cv2.ellipse(image, (int(x), int(y)), axes, angle, 0, 360, colour, -1)
    if rng.uniform() < 0.4:
        factor = rng.uniform(0.3, 0.8)
        small = max(16, round(size * factor))
        for t, image in enumerate(images):
            low = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
            images[t] = cv2.resize(low, (size, size), interpolation=cv2.INTER_LINEAR)
    return images
