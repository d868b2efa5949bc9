"""How often 95 % intervals over subjects contain the true value: `python benchmarks/interval_coverage.py`.

Every simulation draws subjects, with 100 frames of four action units and 20 clips of three expressions each, and the
outputs of a fixed model for them. Log odds of a unit (-0.5, -1, -2 and -3 in a population) vary between subjects with
a standard deviation of 0.7, and so do the outputs: all those of a unit by a shift (the first setting), or how far they
separate its positives from its negatives (`--skill`). The true value is that of the same model on 20,000 subjects.
Intervals are those of `affectkit.metrics.estimate`, `mean_of_folds` and `pooled`; beside them, for one test set, those
of a percentile bootstrap of 1,000 resamples of the same subjects. In folds each has a model of its own.

The default takes less than a minute; `--full` makes the table of the documentation (about 5 minutes of one core).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from affectkit.metrics import AUMetrics, Estimate, ExpressionMetrics, Tally, estimate, mean_of_folds, pooled

UNITS, CLASSES = ("half", "common", "rarer", "rare"), ("a", "b", "c")
COLUMNS = {
    "F1": "f1_pos/common",
    "AUC": "auc/common",
    "accuracy": "acc/common",
    "F1, rare unit": "f1_pos/rare",
    "AUC, rare unit": "auc/rare",
    "mean F1": "f1_pos",
    "mean AUC": "auc",
    "UAR": "uar",
}
SPREAD, FRAMES, CLIPS = 0.7, 100, 20
POPULATION = 20_000
OFFSETS = (0.0, 0.4, -0.4)  # of the model of each fold
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def draw(rng: torch.Generator, subjects: int, skill: bool, offset: float = 0.0) -> Data:
    """Labels and outputs of a test set.

    Args:
        rng: Source of randomness.
        subjects: Their number, G.
        skill: Whether subjects differ by how well they are recognised, and not by a shift of the outputs.
        offset: Added to all outputs of units.

    Returns:
        Units shown and their logits, [G, 100, 4]; classes [G, 20] and their scores [G, 20, 3].
    """

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=rng)

    odds = torch.tensor([-0.5, -1.0, -2.0, -3.0]) + SPREAD * normal(subjects, 1, 4)
    shown = (torch.rand(subjects, FRAMES, 4, generator=rng) < odds.sigmoid()).float()
    logits = 2 * shown - 1 + normal(subjects, FRAMES, 4) + offset
    logits = logits + SPREAD * normal(subjects, 1, 4) * (shown if skill else 1.0)
    rates = (torch.tensor([0.5, 0.3, 0.2]).log() + SPREAD * normal(subjects, 3)).softmax(-1)
    truth = torch.multinomial(rates, CLIPS, replacement=True, generator=rng)
    is_true = torch.nn.functional.one_hot(truth, 3)
    scores = 1.5 * is_true + normal(subjects, CLIPS, 3)
    scores = scores + SPREAD * normal(subjects, 1, 3) * (is_true if skill else 1.0)
    return shown, logits, truth, scores


def count(data: Data) -> tuple[Tally, Tally]:
    """What the metrics count of a test set: units, and expressions."""
    shown, logits, truth, scores = data
    units, classes = AUMetrics(UNITS, len(shown)), ExpressionMetrics(CLASSES, len(shown))
    group = torch.arange(len(shown))
    units.update(logits, shown, torch.ones_like(shown, dtype=torch.bool), group)
    classes.update(scores, truth, torch.ones_like(truth, dtype=torch.bool), group)
    return units.tally(), classes.tally()


def true_values(skill: bool, folds: int, reduction: str) -> dict[str, float]:
    """The results on a large population, reduced as the folds are."""
    rng = torch.Generator().manual_seed(0)
    parts = [count(draw(rng, POPULATION // folds, skill, offset)) for offset in OFFSETS[:folds]]
    reduce = pooled if reduction == "pooled" else mean_of_folds
    values: dict[str, float] = {}
    for tallies in zip(*parts, strict=True):
        values |= {name: found.value for name, found in reduce(tallies).items()}
    return values


def percentiles(data: Data, tallies: Sequence[Tally], rng: torch.Generator) -> dict[str, tuple[float, float]]:
    """Intervals of a percentile bootstrap over subjects, each area that of the resampled scores themselves."""
    shown, logits, _, _ = data
    subjects = len(shown)
    draws = torch.randint(subjects, (1000, subjects), generator=rng)
    weights = torch.zeros(1000, subjects, dtype=torch.float64).scatter_add_(
        1, draws, torch.ones(1000, subjects, dtype=torch.float64)
    )
    group = torch.arange(subjects).repeat_interleave(FRAMES)
    areas = []
    for unit in range(len(UNITS)):
        order = logits[..., unit].flatten().argsort()
        label, one = shown[..., unit].flatten()[order].bool(), torch.eye(subjects)[group[order]]
        below = (one * ~label[:, None]).cumsum(0)
        pairs = (one[label].T @ below[label]).double()  # positives of one subject above negatives of another
        counts = shown[..., unit].sum(1).double()
        area = ((weights @ pairs) * weights).sum(1)
        areas.append(area / ((weights @ counts) * (weights @ (FRAMES - counts))))
    found: dict[str, tuple[float, float]] = {}
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    for tally in tallies:
        sums = (weights @ tally.sums.flatten(1)).reshape(1000, *tally.sums.shape[1:])
        for name, values in tally.results(sums, torch.stack(areas, -1)).items():
            low, high = values.nanquantile(tails).tolist()
            found[name] = low, high
    return found


def coverage(
    sizes: Sequence[int], reduction: str, skill: bool, simulations: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """Share of intervals with the true value, and their median width, by method and result.

    Args:
        sizes: Subjects of each fold.
        reduction: Of the folds.
        skill: See `draw`.
        simulations: Their number.
    """
    truth = true_values(skill, len(sizes), reduction)
    rng = torch.Generator().manual_seed(1)
    hits: dict[tuple[str, str], list[tuple[bool, float]]] = defaultdict(list)
    for _ in range(simulations):
        sets = [draw(rng, size, skill, offset) for size, offset in zip(sizes, OFFSETS, strict=False)]
        parts = [count(data) for data in sets]
        ends: dict[str, dict[str, tuple[float, float]]] = {"ours": {}}
        for tallies in zip(*parts, strict=True):
            found: dict[str, Estimate] = (
                estimate(tallies[0])
                if len(sizes) == 1
                else pooled(tallies)
                if reduction == "pooled"
                else mean_of_folds(tallies)
            )
            ends["ours"] |= {name: (each.low, each.high) for name, each in found.items()}
        if len(sizes) == 1:
            ends["percentile bootstrap"] = percentiles(sets[0], parts[0], rng)
        for method, intervals in ends.items():
            for name in COLUMNS.values():
                low, high = intervals[name]
                hits[method, name].append((low <= truth[name] <= high, high - low))
    found_by: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for (method, name), pairs in hits.items():
        inside, width = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
        found_by[method][name] = inside.mean().item(), width.nanmedian().item()
    return found_by


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="1,000 simulations of all sizes and of folds")
    parser.add_argument(
        "--skill", action="store_true", help="subjects differ by how well they are recognised"
    )
    options = parser.parse_args()
    cases: list[tuple[tuple[int, ...], str]] = [((8,), ""), ((14,), "")]
    if options.full:
        cases += [((27,), ""), ((41,), ""), ((9,) * 3, "mean"), ((9,) * 3, "pooled"), ((14, 14, 13), "mean")]
    simulations = 1000 if options.full else 150
    print(f"Coverage (median width), {simulations} simulations\n")
    print(f"| subjects | interval | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}")
    for sizes, reduction in cases:
        label = " + ".join(map(str, sizes)) + (f", {reduction}" if reduction else "")
        for method, found in coverage(sizes, reduction, options.skill, simulations).items():
            cells = " | ".join("{:.3f} ({:.2f})".format(*found[name]) for name in COLUMNS.values())
            print(f"| {label} | {method} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
