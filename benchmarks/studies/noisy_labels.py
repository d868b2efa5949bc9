"""Gain of doubting labels, on simulated people in front of a screen: `python benchmarks/studies/noisy_labels.py`.

Each seed draws people who are engaged to a known degree (`affectkit.synth.engagement`), the labels of a biased
annotator, and the answers of a rater, a fifth of them arbitrary. Models read head pose, gaze, lids, mouth and smile of
the simulation with measurement noise, 50 frames of ten seconds, without any picture. All arms of a seed have the same
clips, the same initial weights and the same number of steps. Test labels are the true ones.

The arms use the functions of `affectkit.methods.engagement` that the task `NoisyLabels` uses. The script prints the
tables of the documentation: mean over seeds, and 95 % intervals of the paired difference to training on all labels as
given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.losses import MaskedCrossEntropy
from affectkit.methods.engagement import (
    Curriculum,
    Ratings,
    Reliability,
    assess,
    cross_fit,
    keep_if_skilled,
)
from affectkit.metrics import LevelMetrics, expected_calibration_error, log_loss
from affectkit.models import AffectModel
from affectkit.synth.engagement import ENGAGEMENT_LEVELS, Behaviour, give_level, sample_behaviour
from affectkit.synth.ratings import disturb

SPACE = f"levels:{','.join(ENGAGEMENT_LEVELS)}"
LEVELS = len(ENGAGEMENT_LEVELS)
FRAMES, FPS, CLIPS = 50, 5.0, 6
RATE = 0.25  # of wrong labels
SCALES = (10.0, 10.0, 10.0, 0.3, 0.3, 0.3, 0.3, 0.3)
NOISE = (0.15, 0.15, 0.15, 0.3, 0.3, 0.3, 0.3, 0.3)  # of measurements, in units of the scales
T_VALUES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True, eq=False)
class Clips:
    """N clips: signals [N, T, 8] with masks, true and given levels, people, and answers of the rater."""

    signals: Tensor
    known: Tensor
    truth: Tensor
    given: Tensor
    people: tuple[str, ...]
    ratings: Ratings


def measure(rng: np.random.Generator, behaviour: Behaviour) -> Tensor:
    """Signals [T, 8] with noise: yaw, pitch, roll, gaze, lids, jaw and smile."""
    parts = (behaviour.pose, behaviour.gaze, behaviour.lids, behaviour.jaw, behaviour.smile)
    values = np.concatenate([part.reshape(FRAMES, -1) for part in parts], axis=1) / SCALES
    return torch.from_numpy(values + NOISE * rng.standard_normal(values.shape)).float()


def draw(seed: int, people: int, noise: str = "none") -> Clips:
    """Draw clips of some people.

    Args:
        seed: Seed of everything.
        people: Number of people.
        noise: "none"; "border", a quarter wrong by `give_level`; or "any", a quarter replaced by any other level.
    """
    rng = np.random.default_rng(seed)
    signals, known, truth, given, answers = [], [], [], [], []
    for _ in range(people):
        bias = float(rng.standard_normal())
        for _ in range(CLIPS):
            degree = float(rng.uniform(0.0, LEVELS))
            behaviour = sample_behaviour(rng, degree, frames=FRAMES, fps=FPS)
            signals.append(measure(rng, behaviour))
            known.append(torch.from_numpy(behaviour.present))
            truth.append(int(degree))
            given.append(give_level(rng, degree, bias, RATE if noise == "border" else 0.0))
            step = int(rng.integers(1, LEVELS)) * (noise == "any" and rng.uniform() < RATE)
            given[-1] = (given[-1] + step) % LEVELS
            answers.append(disturb(rng, behaviour.cues()))
    table = torch.tensor([list(own.values()) for own in answers], dtype=torch.float64)
    names = tuple(str(number) for number in range(len(truth)))
    missing = torch.full((len(truth), LEVELS), torch.nan, dtype=torch.float64)
    ratings = Ratings(names, tuple(answers[0]), table, torch.ones_like(table), missing)
    subjects = tuple(str(number // CLIPS) for number in range(len(truth)))
    return Clips(
        torch.stack(signals), torch.stack(known), torch.tensor(truth), torch.tensor(given), subjects, ratings
    )


def rate(clips: Clips, ratings: Ratings) -> Reliability:
    """Reliability of the given levels by answers."""
    rated = cross_fit(ratings, clips.given, clips.people, ordered=True)
    return assess(clips.given, keep_if_skilled(rated, clips.given), ordered=True)


def by_chance(clips: Clips, seed: int) -> Reliability:
    """The reliabilities of the rater dealt to random clips; labels are smoothed, but not refined."""
    found = rate(clips, clips.ratings)
    order = torch.randperm(len(clips.given), generator=torch.Generator().manual_seed(seed))
    plain = assess(clips.given, F.one_hot(clips.given, LEVELS).double(), ordered=True)
    return replace(found, value=found.value[order], accepted=found.accepted[order], soft=plain.soft)


def by_oracle(clips: Clips, seed: int) -> Reliability:
    """Accept exactly the right labels, and refine the others by the true one."""
    found = assess(clips.given, F.one_hot(clips.truth, LEVELS).double(), ordered=True)
    right = clips.given == clips.truth
    return replace(found, accepted=right, value=right.double())


def arbitrary(clips: Clips, seed: int) -> Reliability:
    """Reliability by a rater whose answers are all arbitrary."""
    answers = torch.rand(
        clips.ratings.answers.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return rate(clips, replace(clips.ratings, answers=answers))


Rater = Callable[[Clips, int], Reliability]
ARMS: Mapping[str, tuple[Rater | None, Curriculum, bool]] = {
    "labels as given": (None, Curriculum("none"), False),
    "curriculum and soft labels": (lambda clips, _: rate(clips, clips.ratings), Curriculum(), True),
    "soft labels alone": (lambda clips, _: rate(clips, clips.ratings), Curriculum("none"), True),
    "curriculum alone": (lambda clips, _: rate(clips, clips.ratings), Curriculum(), False),
    "accepted alone": (lambda clips, _: rate(clips, clips.ratings), Curriculum("accepted"), False),
    "random split": (by_chance, Curriculum(), True),
    "oracle split": (by_oracle, Curriculum(), True),
    "arbitrary rater": (arbitrary, Curriculum(), True),
}
"""Source of the reliability, curriculum, and whether labels are refined."""


def train(clips: Clips, arm: str, seed: int, epochs: int, batch: int = 36) -> AffectModel:
    """Train a transformer over segments."""
    rater, curriculum, soft = ARMS[arm]
    found = None if rater is None else rater(clips, seed)
    torch.manual_seed(seed)
    model = AffectModel(
        {"type": "signal_segments", "signals": {"face": 8}, "segments": 10, "width": 48},
        {"engagement": {"type": "nominal_levels", "space": SPACE, "hidden": 64, "dropout": 0.3}},
        {"type": "transformer", "heads": 4, "dropout": 0.1},
    )
    loss, count = MaskedCrossEntropy(), len(clips.given)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    total = epochs * (count // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    target = found.soft.float() if found is not None and soft else clips.given
    for epoch in range(epochs):
        weights = torch.ones(count) if found is None else curriculum.weights(found, epoch, epochs).float()
        order = torch.randperm(count, generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for rows in order.split(batch)[: count // batch]:
            logits = _logits(model, clips, rows)
            known = torch.ones(len(rows), dtype=torch.bool)
            summed, share = loss(logits, target[rows], known, weights[rows])
            optimizer.zero_grad()
            (summed / share.clamp(min=1e-6)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _logits(model: AffectModel, clips: Clips, rows: Tensor) -> Tensor:
    frames = torch.zeros(len(rows), FRAMES, 3, 1, 1, dtype=torch.uint8)
    signals = {"face": clips.signals[rows]}
    logits: Tensor = model(frames, signals=signals, signals_mask=clips.known[rows])["engagement"]
    return logits


def evaluate(model: AffectModel, test: Clips) -> dict[str, float]:
    """Results on the true levels of the test clips."""
    with torch.inference_mode():
        logits = _logits(model, test, torch.arange(len(test.truth)))
    metric = LevelMetrics(ENGAGEMENT_LEVELS, len(set(test.people)))
    group = torch.tensor([int(person) for person in test.people])
    metric.update(logits, test.truth, torch.ones_like(test.truth, dtype=torch.bool), group)
    found = {
        name: metric.compute()[name].item() for name in ("f1_macro", "acc", "acc_adjacent", "qwk", "mae")
    }
    constants = {
        name: metric.compute()[name].item()
        for name in ("f1_macro_constant", "acc_constant", "acc_adjacent_constant", "mae_constant")
    }
    calibration = {
        "ece": expected_calibration_error(logits, test.truth),
        "nll": log_loss(logits, test.truth),
    }
    return {**found, **calibration, **constants}


def interval(values: Sequence[float]) -> str:
    """Mean with the half-width of its 95 % interval, by Student's t over seeds."""
    spread = float(np.std(values, ddof=1)) / sqrt(len(values)) * T_VALUES[len(values)]
    return f"{np.mean(values):+.3f} ± {spread:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all arms and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--people", type=int, default=60, help="training people, with six clips each")
    parser.add_argument("--test-people", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=40)
    kinds = ("border", "any", "none")
    parser.add_argument("--noise", nargs="+", choices=kinds, default=kinds, help="kinds of wrong labels")
    options = parser.parse_args(arguments)
    for noise in options.noise:
        flips: list[tuple[float, float, float]] = []
        results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for seed in range(options.seeds):
            clips, test = draw(2 * seed, options.people, noise), draw(2 * seed + 1, options.test_people)
            found, wrong = rate(clips, clips.ratings), (clips.given != clips.truth).double()
            shares = (wrong[~found.accepted].mean(), wrong[found.accepted].mean())
            flips.append((float(shares[0]), float(shares[1]), float(found.accepted.double().mean())))
            for arm, own in results.items():
                own.append(evaluate(train(clips, arm, seed, options.epochs), test))
        report(noise, flips, results)


def report(
    noise: str,
    flips: Sequence[tuple[float, float, float]],
    results: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Print the tables of one level of noise."""
    columns = [[one for one in own if np.isfinite(one)] for own in zip(*flips, strict=True)]
    rejected, accepted, share = (f"{np.mean(own):.3f}" if own else "–" for own in columns)
    print(f"\nwrong labels: {noise}, {len(flips)} seeds")
    print(f"share of accepted clips {share}; wrong among accepted {accepted}, among rejected {rejected}")
    names = ("f1_macro", "acc", "acc_adjacent", "qwk", "mae", "ece", "nll")
    print(f"| training | {' | '.join(names)} | difference of f1_macro | of ece |")
    print("|---|" + "---|" * (len(names) + 2))
    base = results["labels as given"]
    for arm, own in results.items():
        means = [f"{np.mean([one[name] for one in own]):.3f}" for name in names]
        gaps = [
            interval([one[name] - other[name] for one, other in zip(own, base, strict=True)])
            for name in ("f1_macro", "ece")
        ]
        print(f"| {arm} | {' | '.join([*means, *gaps])} |")
    constants = [f"{np.mean([one.get(f'{name}_constant', np.nan) for one in base]):.3f}" for name in names]
    print(f"| best constant | {' | '.join(constants).replace('nan', '–')} | – | – |")


if __name__ == "__main__":
    main()
