"""Sample clips of people in front of a screen, who are engaged to a known degree.

The degree e is continuous, from 0 to 4; its whole part is the level. The higher it is, the longer a person looks at the
screen; the lower, the more often the head turns away, eyes fall shut, and the person yawns or leaves the picture.
Smiles and speech occur at every level. Labels and answers of a rater are drawn with known errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from affectkit.synth.ratings import disturb
from affectkit.synth.render import Face
from affectkit.synth.sampling import ClipPlan, envelope, sway

__all__ = [
    "ENGAGEMENT_LEVELS",
    "FLIP_RATE",
    "Behaviour",
    "give_level",
    "sample_behaviour",
    "sample_engaged_clip",
]

ENGAGEMENT_LEVELS: Final = ("not engaged", "barely engaged", "engaged", "highly engaged")
FLIP_RATE: Final = 0.25
"""Share of wrong labels in training and validation clips of a rendered corpus."""

Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Behaviour:
    """Course of a clip of T frames.

    Attributes:
        pose: float64 [T, 3], yaw, pitch and roll in degrees.
        gaze: float64 [T, 2], to the subject's left and up, relative to the head, see `Face`.
        lids: float64 [T], closure of the eyes, 0 to 1.
        jaw: float64 [T], opening of the mouth, 0 to 1.
        smile: float64 [T], 0 to 1.
        present: bool [T], False while the face is out of the picture.
        away: bool [T], True while the person does not look at the screen.
        down: bool [T], True while the person looks down instead, as at a phone.
        yawns, talks, nods: Whether the person does so in the clip.
        unrest: Standard deviation of quick movements, in degrees.
    """

    pose: Series
    gaze: Series
    lids: Series
    jaw: Series
    smile: Series
    present: npt.NDArray[np.bool_]
    away: npt.NDArray[np.bool_]
    down: npt.NDArray[np.bool_]
    yawns: bool
    talks: bool
    nods: bool
    unrest: float

    def faces(self) -> tuple[Face, ...]:
        """Faces of the frames, also of those that do not show them."""
        faces = []
        for t, (yaw, pitch, roll) in enumerate(self.pose.tolist()):
            lids, jaw, smile = (float(values[t]) for values in (self.lids, self.jaw, self.smile))
            units = {45: lids, 26: jaw, 25: min(2 * jaw, 1.0), 12: smile, 6: 0.6 * smile}
            across, up = self.gaze[t].tolist()
            faces.append(Face(units, yaw, pitch, roll, (across, up)))
        return tuple(faces)

    def cues(self) -> dict[str, float]:
        """True answers, 0 to 1, to the questions about engagement that the clip can answer."""
        return {
            "looks_at_screen": float((self.present & ~self.away).mean()),
            "head_turned_away": float((self.away & ~self.down).mean()),
            "eyes_closed": float((self.lids > 0.7).mean()),
            "yawns": float(self.yawns),
            "leaves_picture": float(not self.present.all()),
            "uses_object": float(self.down.mean()),
            "talks": float(self.talks),
            "follows_actively": float(self.nods),
            "restless": min(self.unrest / 3.0, 1.0),
        }


def _episodes(
    rng: np.random.Generator, frames: int, fps: float, share: float, seconds: float
) -> npt.NDArray[np.bool_]:
    """Random episodes of `seconds` on average that cover a `share` of the frames on average, bool [T]."""
    leave = min(1.0, 1.0 / (seconds * fps))
    enter = min(1.0, leave * share / max(1.0 - share, 1e-6))
    inside = rng.uniform() < share
    states = np.zeros(frames, dtype=bool)
    for t, draw in enumerate(rng.uniform(size=frames)):
        states[t] = inside
        inside = draw >= leave if inside else draw < enter
    return states


def _smooth(values: Series, fps: float) -> Series:
    """Follow targets [T, K] with a delay of a quarter of a second."""
    keep = np.exp(-1.0 / (0.25 * fps))
    result = values.copy()
    for t in range(1, len(values)):
        result[t] = keep * result[t - 1] + (1.0 - keep) * values[t]
    return result


def _event(rng: np.random.Generator, frames: int, fps: float, seconds: float) -> Series:
    """A movement of some duration at any time, 0 to 1."""
    length = min(seconds * fps, float(frames))
    start = rng.uniform(0.0, frames - length)
    return envelope(frames, start, start + 0.3 * length, start + 0.7 * length, start + length)


def sample_behaviour(rng: np.random.Generator, degree: float, *, frames: int, fps: float) -> Behaviour:
    """Draw the course of a clip.

    Args:
        rng: Random generator.
        degree: Degree of engagement, from 0 to 4.
        frames: Number of frames.
        fps: Frames per second.

    Example:
        >>> behaviour = sample_behaviour(np.random.default_rng(0), 3.5, frames=50, fps=5.0)
        >>> behaviour.pose.shape, behaviour.cues()["looks_at_screen"] > 0.5
        ((50, 3), True)
    """
    drive = degree / 4.0
    share = float(np.clip(0.75 - 0.7 * drive + 0.08 * rng.standard_normal(), 0.02, 0.95))
    away = _episodes(rng, frames, fps, share, 1.2)
    goals = np.zeros((frames, 4))  # yaw, pitch, gaze across, gaze up
    down = np.zeros(frames, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], away, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2).tolist():
        side = float(rng.choice([-1.0, 1.0]))
        if rng.uniform() < 0.35:
            goals[start:stop] = 0.0, -rng.uniform(12.0, 24.0), 0.0, -0.6
            down[start:stop] = True
        else:
            goals[start:stop] = side * rng.uniform(14.0, 32.0), 0.0, 0.5 * side, 0.0
    goals = _smooth(goals, fps)
    unrest = float(rng.uniform(0.5, 1.0) * (0.5 + 2.5 * (1.0 - drive)))
    pose = sway(rng, frames, (4.0, 3.0, 2.0), 1.0) + unrest * 0.4 * rng.standard_normal((frames, 3))
    pose[:, :2] += goals[:, :2]
    seconds = np.arange(frames) / fps
    nods, talks, yawns = rng.uniform(size=3) < (0.7 * drive, 0.3, 0.55 * (1.0 - drive))
    if nods:
        pose[:, 1] += 5.0 * np.sin(2 * np.pi * 1.1 * seconds) * _event(rng, frames, fps, 2.5)
    lids = 1.0 * _episodes(rng, frames, fps, 0.35 * (1.0 - drive) ** 2, 0.8)
    lids = np.maximum(lids, rng.uniform(size=frames) < 0.25 / fps)
    jaw = np.zeros(frames)
    if talks:
        jaw = 0.5 * rng.uniform(size=frames) * _event(rng, frames, fps, 4.0)
    if yawns:
        yawn = _event(rng, frames, fps, 3.0)
        jaw, lids = np.maximum(jaw, 0.95 * yawn), np.maximum(lids, 0.6 * yawn)
    smile = rng.uniform(0.3, 0.9) * _event(rng, frames, fps, 4.0) * (rng.uniform() < 0.3)
    present = np.ones(frames, dtype=bool)
    if rng.uniform() < 0.35 * (1.0 - drive):
        present = _event(rng, frames, fps, rng.uniform(0.8, 2.5)) < 0.5
    gaze = np.clip(goals[:, 2:] + sway(rng, frames, (0.1, 0.1), 0.05), -0.95, 0.95)
    return Behaviour(
        pose, gaze, lids, jaw, smile, present, away, down, bool(yawns), bool(talks), bool(nods), unrest
    )


def give_level(rng: np.random.Generator, degree: float, bias: float, rate: float = FLIP_RATE) -> int:
    """Draw the level, 0 to 3, that an annotator gives.

    The annotator sees the degree with a normal error, half of whose variance is the bias, the same for all clips of a
    person. Errors are therefore frequent near the borders of levels.

    Args:
        rng: Random generator.
        degree: True degree of engagement, from 0 to 4.
        bias: Standard normal number of the person.
        rate: Share of wrong levels on average over degrees, up to 0.3.

    Example:
        >>> give_level(np.random.default_rng(0), 2.5, 0.0, rate=0.0)
        2
    """
    # A level is wrong with the probability E|error|, and only inwards at the lowest and the highest one.
    spread = rate / 0.75 / np.sqrt(2.0 / np.pi)
    error = spread * (bias + rng.standard_normal()) / np.sqrt(2.0)
    return int(np.clip(np.floor(degree + error), 0, len(ENGAGEMENT_LEVELS) - 1))


def sample_engaged_clip(
    rng: np.random.Generator,
    level: int,
    units: Sequence[int],
    *,
    frames: int,
    fps: float,
    bias: float,
    flip_rate: float = FLIP_RATE,
) -> ClipPlan:
    """Draw a clip of a level of engagement with the label of an annotator and the answers of a rater.

    Args:
        rng: Random generator.
        level: True level, 0 to 3.
        units: AU numbers, the columns of `intensities`.
        frames: Number of frames.
        fps: Frames per second.
        bias: See `give_level`.
        flip_rate: See `give_level`.

    Example:
        >>> plan = sample_engaged_clip(np.random.default_rng(0), 2, (6, 12), frames=8, fps=5.0, bias=0.0)
        >>> plan.intensities.shape, plan.level
        ((8, 2), 2)
    """
    degree = level + float(rng.uniform())
    behaviour = sample_behaviour(rng, degree, frames=frames, fps=fps)
    faces = behaviour.faces()
    intensities = np.array([[face.units.get(unit, 0.0) for unit in units] for face in faces], np.float32)
    intensities[~behaviour.present] = np.nan
    return ClipPlan(
        faces,
        intensities,
        onset=0,
        apex=int(np.nansum(intensities, axis=1).argmax()),
        offset=frames - 1,
        present=tuple(behaviour.present.tolist()),
        level=give_level(rng, degree, bias, flip_rate),
        answers=disturb(rng, behaviour.cues()),
    )
