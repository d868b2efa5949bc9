"""Rendered clips for the claims of FG-SGL: classes that differ in one part of the course of a movement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from affectkit.facs import Process
from affectkit.synth.render import Face, FaceRenderer
from affectkit.synth.sampling import sample_person, sample_scene

SIZE, RENDERED = 24, 48  # of the clips and of the rendered frames, in pixels
COURSES = {"quick": (0.0, 1.0, 0.4, 0.0, 0.0), "slow": (0.0, 0.25, 0.5, 0.75, 1.0)}  # level of each frame
LEVELS = {"slight": (0.4, 0.5), "strong": (0.85, 1.0)}
UNITS = {("brows", "up"): 2, ("brows", "down"): 4, ("lip corners", "up"): 12, ("lip corners", "down"): 15}


@dataclass(frozen=True)
class Movement:
    """A class: a region with its side, a direction, an amplitude and a course.

    Args:
        region: "brows" or "lip corners".
        side: "left" or "right", of the person.
        direction: "up" or "down".
        amplitude: "slight" or "strong".
        course: "quick" or "slow".
    """

    region: str
    side: str
    direction: str
    amplitude: str
    course: str

    @property
    def name(self) -> str:
        """Name of the class, which says as much as its sentences."""
        return f"{self.side} {self.region} {self.direction} {self.amplitude} {self.course}"

    @property
    def process(self) -> Process:
        """Four sentences; what two classes share has equal words."""
        return Process(
            part=f"{self.region} on the {self.side}",
            motion=f"pulled {self.direction}wards",
            target=f"a {self.amplitude} movement",
            dynamics={"quick": "a quick rise that fades at once", "slow": "a slow rise to the end"}[
                self.course
            ],
        )


def _variants(base: Movement) -> list[Movement]:
    """A movement, and those with another side, direction, amplitude or course."""
    other = {"left": "right", "right": "left", "up": "down", "down": "up", "slight": "strong", "strong": "slight",
             "quick": "slow", "slow": "quick"}  # fmt: skip
    fields = ("side", "direction", "amplitude", "course")
    return [base, *(replace(base, **{name: other[getattr(base, name)]}) for name in fields)]


BASES = (
    Movement("brows", "left", "up", "strong", "quick"),
    Movement("lip corners", "right", "up", "slight", "slow"),
    Movement("lip corners", "left", "down", "strong", "slow"),
)
SEEN = tuple(one for base in BASES for one in _variants(base))
PAIRS = tuple((5 * k, 5 * k + d + 1, d) for k in range(len(BASES)) for d in range(4))
"""Pairs of classes (by their places in `SEEN`) that differ in one part: 0 part, 1 motion, 2 target, 3 dynamics."""

UNSEEN = tuple(
    one
    for one in (
        Movement(*values)
        for values in product(("brows", "lip corners"), ("left", "right"), ("up", "down"), LEVELS, COURSES)
    )
    if one not in SEEN
)


@dataclass(frozen=True)
class Clips:
    """Clips of some people.

    Args:
        frames: uint8 [N, 4, 3, 24, 24]: change of the brightness since the first frame, with 128 for none, column and
            row, as a network without positions cannot tell sides apart.
        classes: int64 [N], place of the movement in the list.
        people: int64 [N].
    """

    frames: Tensor
    classes: Tensor
    people: Tensor


def film(renderer: FaceRenderer, movement: Movement, seed: list[int]) -> Tensor:
    """Changes of a clip and places, uint8 [4, 3, 24, 24], see `Clips`; equal seeds give equal people and scenes."""
    person, scene = (np.random.default_rng([*seed, k]) for k in range(2))
    setting = sample_scene(scene)
    renderer.set(sample_person(person), replace(setting, noise=0.5 * setting.noise))
    yaw, pitch, roll = scene.normal(0.0, (6.0, 4.0, 2.0)).tolist()
    drift = scene.normal(0.0, 0.06, 3)
    top = float(scene.uniform(*LEVELS[movement.amplitude]))
    unit = UNITS[movement.region, movement.direction]
    frames = []
    for t, level in enumerate(COURSES[movement.course]):
        sides = (top * level, 0.0) if movement.side == "left" else (0.0, top * level)
        turn = (drift * t).tolist()
        frames.append(
            renderer.render(Face({unit: sides}, yaw + turn[0], pitch + turn[1], roll + turn[2])).image
        )
    grey = torch.from_numpy(np.stack(frames)).float().mean(dim=3)[:, None]
    changes = avg_pool2d(grey[1:] - grey[:1], RENDERED // SIZE)
    ramp = torch.linspace(0, 255, SIZE).expand(len(changes), 1, SIZE, SIZE)
    return torch.cat([128 + 4 * changes, ramp, ramp.mT], dim=1).clamp(0, 255).to(torch.uint8)


def make_clips(seed: int, movements: tuple[Movement, ...], people: range) -> Clips:
    """One clip of every movement for every person, in an order of people."""
    renderer = FaceRenderer(RENDERED)
    cells = [(person, place) for person in people for place in range(len(movements))]
    frames = [film(renderer, movements[place], [seed, person, place]) for person, place in cells]
    who, what = torch.tensor(cells).T
    return Clips(torch.stack(frames), what, who)
