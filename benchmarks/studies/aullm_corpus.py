"""Rendered clips for the claims of AULLM++: a planted table, a planted confounder, pairs that differ by one unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from affectkit.facs import AU_SETS
from affectkit.synth.render import FaceRenderer
from affectkit.synth.sampling import CONTRADICTIONS, Regime, sample_clip, sample_person, sample_scene

UNITS = AU_SETS["casme2_8"]
IDS = [unit.id for unit in UNITS]
PLANTED = IDS.index(12)
BLURS = (0.0, 0.75, 1.5)
FRAMES, SIZE, CLASSES = 6, 64, 6


@dataclass(frozen=True)
class Corpus:
    """Clips of a seed; frames are uint8 [..., 6, 3, 64, 64], labels float [N, A].

    Args:
        train: Training frames, blurred, with the strip.
        train_labels: Their labels.
        test_labels: Labels of all test clips.
        test: By name, sharp test frames without the strip and with three blurs, and with the strip as in
            training (`planted`) or reversed.
        pairs: By regime, pairs of test clips with and without each unit, [M, A, 2, ...].
    """

    train: Tensor
    train_labels: Tensor
    test_labels: Tensor
    test: dict[str, Tensor]
    pairs: dict[str, Tensor]


def planted_table(rng: np.random.Generator) -> np.ndarray:
    """P(unit | class) of random classes with three typical units each, [6, A]."""
    table = np.full((CLASSES, len(IDS)), 0.1)
    for row in table:
        row[rng.permutation(len(IDS))[:3]] = 0.75
    return table


def draw(rng: np.random.Generator, table: np.ndarray) -> np.ndarray:
    """Units of a clip, bool [A], none of which contradict each other."""
    active = rng.uniform(size=len(IDS)) < table[rng.integers(len(table))]
    return without_contradictions(active, rng)


def without_contradictions(active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Remove one of every two units that a face cannot show together."""
    for pair in CONTRADICTIONS:
        if all(unit in IDS and active[IDS.index(unit)] for unit in pair):
            active[IDS.index(pair[rng.integers(2)])] = False
    return active


def render(renderer: FaceRenderer, active: np.ndarray, seed: list[int], regime: Regime) -> Tensor:
    """Six frames of a clip; equal seeds give equal people, scenes, poses, intensities and camera noise."""
    rng = np.random.default_rng(seed)
    renderer.set(sample_person(rng), sample_scene(rng))  # also starts the noise again
    units = tuple(unit for unit, on in zip(IDS, active, strict=True) if on)
    plan = sample_clip(rng, units, IDS, frames=2 * FRAMES, fps=40.0, regime=regime)
    chosen = np.linspace(0, 2 * FRAMES - 1, FRAMES).round().astype(int)
    return torch.from_numpy(
        np.stack([renderer.render(plan.faces[k]).image.transpose(2, 0, 1) for k in chosen])
    )


def make_pairs(renderer: FaceRenderer, table: np.ndarray, seed: int, number: int, regime: Regime) -> Tensor:
    """Clips with and without each unit, [M, A, 2, 6, 3, 64, 64]; all else is equal."""
    clips = []
    for index in range(number):
        base = draw(np.random.default_rng([seed, 3, index]), table)
        for unit in range(len(IDS)):
            kept = base.copy()
            for pair in CONTRADICTIONS:  # its opposite is absent in both
                if IDS[unit] in pair and (other := pair[pair[0] == IDS[unit]]) in IDS:
                    kept[IDS.index(other)] = False
            for state in (True, False):
                kept[unit] = state
                clips.append(render(renderer, kept, [seed, 4, index], regime))
    return torch.stack(clips).unflatten(0, (number, len(IDS), 2))


def make_corpus(seed: int, *, train: int, test: int, pairs: int) -> Corpus:
    """Render the corpus of a seed."""
    rng, renderer = np.random.default_rng([seed, 0]), FaceRenderer(SIZE)
    table = planted_table(rng)
    labels = np.stack([draw(rng, table) for _ in range(train + test)])
    frames = torch.stack([render(renderer, active, [seed, 1, k], "macro") for k, active in enumerate(labels)])
    known = torch.from_numpy(labels).float()
    generator = torch.Generator().manual_seed(seed)
    blurs = torch.randint(len(BLURS), (train,), generator=generator)
    shown = with_strip(frames[:train], strips(known[:train], generator))
    for level, sigma in enumerate(BLURS):
        shown[blurs == level] = blurred(shown[blurs == level], sigma)
    clean, answers = frames[train:], known[train:]
    views = {
        "planted": with_strip(clean, strips(answers, generator)),
        "reversed": with_strip(clean, strips(answers, generator, reverse=True)),
        **{f"blur {sigma}": blurred(clean, sigma) for sigma in BLURS},
    }
    regimes = {
        "macro": make_pairs(renderer, table, seed, pairs, "macro"),
        "micro": make_pairs(renderer, table, seed, pairs, "micro"),
    }
    return Corpus(shown, known[:train], answers, views, regimes)


def strips(labels: Tensor, generator: torch.Generator, *, reverse: bool = False) -> Tensor:
    """Which clips have the strip, bool [N]: those with AU12 in nine of ten, or those without it."""
    agrees = torch.rand(len(labels), generator=generator) < (0.1 if reverse else 0.9)
    return (labels[:, PLANTED] >= 0.5) == agrees


def with_strip(frames: Tensor, chosen: Tensor) -> Tensor:
    """Clips of which the chosen ones have a strip along the upper border that brightens by 60 of 255."""
    frames = frames.clone()
    ramp = torch.linspace(0, 60, FRAMES)[:, None, None, None]
    frames[chosen, ..., :5, :] = (frames[chosen, ..., :5, :] + ramp).clamp(max=255).to(torch.uint8)
    return frames


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Frames [N, T, 3, H, W] blurred by `sigma` pixels."""
    return frames if sigma == 0 or not len(frames) else gaussian_blur(frames, [7, 7], [sigma, sigma])
