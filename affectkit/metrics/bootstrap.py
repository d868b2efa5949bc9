"""Confidence intervals by resampling whole subjects, and the two ways to reduce cross-validation folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from affectkit.errors import LabelSpaceError

__all__ = ["Estimate", "Tally", "estimate", "mean_of_folds", "pooled"]

_RESAMPLES_AT_ONCE = 50  # bounds memory; part of what a seed means, so it never changes


class Estimate(NamedTuple):
    """A result with its confidence interval; the bounds are NaN where too few groups allow none.

    Example:
        >>> Estimate(0.8, 0.7, 0.9).high
        0.9
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Sums of every group, and the function that turns their total into named results.

    Every metric of this package is a function of sums over frames. Keeping them for each group makes a
    bootstrap over groups a product of two matrices: resample weights [S, G] times sums [G, ...].

    Args:
        labels: Label names, so that tallies of different label sets are never added.
        sums: Float64 [G, ...] on the CPU, one row a group.
        results: Maps sums [S, ...] and `fine` (or None) to named results, each [S].
        fine: Finer sums without groups, for the point estimate only; None where the metric needs none.
    """

    labels: tuple[str, ...]
    sums: Tensor
    results: Callable[[Tensor, Tensor | None], dict[str, Tensor]]
    fine: Tensor | None = None

    def point(self) -> dict[str, Tensor]:
        """The named results on all groups, float64 scalars."""
        return {name: value[0] for name, value in self.results(self.sums.sum(0)[None], self.fine).items()}

    def only(self, rows: Sequence[int]) -> Tally:
        """The sums of some groups alone; results that need `fine` are then as coarse as in a bootstrap.

        Args:
            rows: Places of the groups.
        """
        return Tally(self.labels, self.sums[list(rows)], self.results)


def estimate(tally: Tally, *, level: float = 0.95, samples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Every result with a percentile bootstrap interval over groups.

    Groups (subjects) are drawn with replacement, as many as there are with any annotation; frames of one
    subject are not independent, so resampling frames would give intervals that are far too narrow.
    Resamples in which a result is undefined are left out of its interval.

    Args:
        tally: From a metric's `tally()`.
        level: Coverage of the interval, in (0, 1).
        samples: Number of resamples.
        seed: Same seed, same intervals, on every machine and any number of processes.

    Returns:
        An `Estimate` for each result name. Bounds are NaN with fewer than two groups.

    Example:
        >>> from affectkit.metrics import ExpressionMetrics
        >>> metric = ExpressionMetrics(["happiness", "sadness"], num_groups=2)
        >>> scores, truth = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])
        >>> metric.update(scores, truth, torch.tensor([True, True]), group=torch.tensor([0, 1]))
        >>> estimate(metric.tally())["war"]
        Estimate(value=1.0, low=1.0, high=1.0)

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    return mean_of_folds([tally], level=level, samples=samples, seed=seed)


def pooled(
    folds: Sequence[Tally], *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Results on the predictions of all folds taken together, with intervals over all their groups.

    The reduction for leave-one-subject-out, where a fold is too small for a score of its own. Each fold keeps
    the thresholds its tally was made with. Groups of different folds count as different, so a subject must be
    tested in one fold only.

    Args:
        folds: One tally a fold, all of one metric class and label set.
        level: Coverage of the interval, in (0, 1).
        samples: Number of resamples.
        seed: Same seed, same intervals.

    Returns:
        An `Estimate` for each result name.

    Raises:
        LabelSpaceError: The folds have different labels.
    """
    first = _first(folds)
    fine = [fold.fine for fold in folds if fold.fine is not None]
    total = torch.stack(fine).sum(0) if fine else None
    merged = Tally(first.labels, torch.cat([fold.sums for fold in folds]), first.results, total)
    return estimate(merged, level=level, samples=samples, seed=seed)


def mean_of_folds(
    folds: Sequence[Tally], *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """The mean of the folds' results, with intervals from groups resampled within each fold.

    A fold where a result is undefined (a unit that nobody shows) is left out of that result's mean.

    Args:
        folds: One tally a fold, all of one metric class and label set.
        level: Coverage of the interval, in (0, 1).
        samples: Number of resamples.
        seed: Same seed, same intervals.

    Returns:
        An `Estimate` for each result name. Bounds are NaN where a fold has fewer than two groups.

    Raises:
        LabelSpaceError: The folds have different labels.
    """
    _first(folds)
    points = [fold.point() for fold in folds]
    values = {name: torch.stack([point[name] for point in points]).nanmean().item() for name in points[0]}
    observed = [fold.sums[fold.sums.flatten(1).any(1)] for fold in folds]
    if min(len(sums) for sums in observed) < 2:
        return {name: Estimate(value, nan, nan) for name, value in values.items()}

    rng = torch.Generator().manual_seed(seed)
    drawn: dict[str, list[Tensor]] = {name: [] for name in values}
    for size in _chunks(samples):
        parts = [
            fold.results(_resample(sums, size, rng), None) for fold, sums in zip(folds, observed, strict=True)
        ]
        for name, chunks in drawn.items():
            chunks.append(torch.stack([part[name] for part in parts]).nanmean(0))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    table = torch.stack([torch.cat(chunks) for chunks in drawn.values()])
    low, high = table.nanquantile(tails, dim=1).tolist()
    return {
        name: Estimate(value, *bounds)
        for (name, value), bounds in zip(values.items(), zip(low, high, strict=True), strict=True)
    }


def _first(folds: Sequence[Tally]) -> Tally:
    if not folds:
        raise ValueError("there are no folds to reduce")
    labels = {fold.labels for fold in folds}
    if len(labels) > 1:
        raise LabelSpaceError(f"Folds with different labels cannot be reduced: {sorted(labels)}.")
    return folds[0]


def _chunks(samples: int) -> Iterator[int]:
    for start in range(0, samples, _RESAMPLES_AT_ONCE):
        yield min(_RESAMPLES_AT_ONCE, samples - start)


def _resample(sums: Tensor, samples: int, rng: torch.Generator) -> Tensor:
    """Totals [S, ...] of S resamples of the rows of sums [G, ...]."""
    draws = torch.randint(len(sums), (samples, len(sums)), generator=rng)
    weights = torch.zeros(samples, len(sums), dtype=sums.dtype)
    weights.scatter_add_(1, draws, torch.ones_like(weights))
    return (weights @ sums.flatten(1)).reshape(samples, *sums.shape[1:])
