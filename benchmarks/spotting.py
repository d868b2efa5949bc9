"""How well brief movements are found in long rendered clips: `python benchmarks/spotting.py`.

Every clip shows a person and a scene as `affectkit data render` draws them. Movements of 0.2 to 0.5 s, of one to three
units out of CASME II's eight at micro intensity (0.15 to 0.45), come 1.5 to 4 s apart. Meanwhile the head sways by 1.5
degrees (standard deviation, periods of 3 to 8 s), and the eyes jump every two seconds and blink every four and a half,
unless that is switched off. A found interval is right if it and a movement that no other one was right about share half
of their union.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from affectkit.facs import AUSet
from affectkit.inference.spotting.spotter import Spotter
from affectkit.synth import Face, FaceRenderer
from affectkit.synth.sampling import sample_person, sample_scene

UNITS = AUSet.parse("casme2_8")
Event = tuple[int, int]


def plan(
    rng: np.random.Generator, seconds: float, fps: float, *, sway: float, eyes: bool
) -> tuple[list[Face], list[Event]]:
    """The faces of a clip, and the first and last frame of every movement in it."""
    t = np.arange(round(seconds * fps)) / fps
    levels = {unit.id: np.zeros_like(t) for unit in UNITS}
    events, start = [], rng.uniform(1.0, 2.0)
    while start < seconds - 1.5:
        length = rng.uniform(0.2, 0.5)
        rise, hold = rng.uniform(0.35, 0.5) * length, 0.1 * length
        course = np.minimum((t - start) / rise, (start + length - t) / (length - rise - hold)).clip(0, 1)
        for unit in rng.choice(list(levels), size=rng.integers(1, 4), replace=False).tolist():
            top = rng.uniform(0.15, 0.45)
            levels[unit] = np.maximum(levels[unit], top * course**2 * (3 - 2 * course))
        events.append((int(np.ceil(start * fps)), int((start + length) * fps)))
        start += length + rng.uniform(1.5, 4.0)
    lids, gaze = np.zeros_like(t), np.zeros((len(t), 2))
    if eyes:
        at = rng.uniform(0, 4)
        while at < seconds:
            lids = np.maximum(lids, (1.3 - np.abs(t - at) / 0.1).clip(0, 1))
            at += rng.exponential(4.0) + 0.5
        at = 0.0
        while at < seconds:
            gaze[int(at * fps) :] = (rng.standard_normal(2) * (0.25, 0.2)).clip(-0.9, 0.9)
            at += rng.exponential(2.0) + 0.2
    rest = rng.standard_normal(3) * (9, 5, 2.5)
    periods, phases = rng.uniform(3, 8, (3, 3)), rng.uniform(0, 2 * np.pi, (3, 3))
    waves = np.sin(2 * np.pi * t[:, None, None] / periods + phases) * rng.standard_normal((3, 3))
    pose = rest + sway * waves.sum(-1) / np.sqrt(3)
    faces = []
    for k in range(len(t)):
        units = {unit: float(level[k]) for unit, level in levels.items() if level[k] > 0}
        units |= {45: float(lids[k])} if lids[k] > 0 else {}
        faces.append(Face(units, *pose[k].tolist(), (float(gaze[k, 0]), float(gaze[k, 1]))))
    return faces, events


def film(renderer: FaceRenderer, faces: Sequence[Face]) -> Iterator[torch.Tensor]:
    """Render one frame after the other, uint8 [3, S, S]."""
    for face in faces:
        yield torch.from_numpy(renderer.render(face).image).permute(2, 0, 1)


def right(found: Sequence[Event], truth: Sequence[Event]) -> int:
    """How many of the found intervals are right."""
    left, hits = list(truth), 0
    for first, last in found:
        for event in left:
            both = min(last, event[1]) - max(first, event[0]) + 1
            union = last - first + event[1] - event[0] + 2 - both
            if both > 0 and both / union >= 0.5:
                left.remove(event)
                hits += 1
                break
    return hits


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    renderer, spotter = FaceRenderer(options.size), Spotter(tuple(UNITS))
    print("| what else moves | movements | found | precision | recall |\n|---|---|---|---|---|")
    for name, sway, eyes in (("nothing", 0.0, False), ("eyes", 0.0, True), ("eyes and head", 1.5, True)):
        hits = there = proposed = 0
        for seed in range(options.seed, options.seed + options.clips):
            rng = np.random.default_rng(seed)
            renderer.set(sample_person(rng), sample_scene(rng))
            faces, events = plan(rng, options.seconds, options.fps, sway=sway, eyes=eyes)
            found = [(i.onset, i.offset) for i in spotter.stream(film(renderer, faces), options.fps)]
            hits, there, proposed = hits + right(found, events), there + len(events), proposed + len(found)
        print(
            f"| {name} | {there} | {proposed} | {hits / max(1, proposed):.2f} | {hits / there:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
