"""Paired comparison of two models that were tested on the same subjects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan, nan
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from affectkit.errors import LabelSpaceError
from affectkit.metrics.intervals import Tally

__all__ = ["Comparison", "compare"]

_CHUNK = 1000  # draws at a time, so that thousands of groups fit in memory


class Comparison(NamedTuple):
    """Results of two models with the interval and the p-value of their difference.

    Args:
        first: Result of the first model.
        second: Result of the second model.
        difference: `second` minus `first`.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p: Two-sided p-value of "the models are interchangeable".

    Example:
        >>> Comparison(0.5, 0.6, 0.1, 0.02, 0.18, 0.01).difference
        0.1
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


def compare(
    folds: Sequence[tuple[Tally, Tally]],
    *,
    pooled: bool = False,
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Comparison]:
    r"""Compare two models result by result, paired over groups (subjects).

    - The interval is that of a paired bootstrap: groups are drawn with replacement, the same ones for both models and
      within their fold, and the bounds are percentiles of the difference. It is too narrow with fewer than about 20
      groups.
    - The p-value is that of a sign-flip test: if the models are interchangeable, exchanging all predictions of a group
      leaves the distribution of the difference d the same. With :math:`m` random exchanges d*, it is
      :math:`(1 + \#\{|d^*| \ge |d|\}) / (1 + m)`; if there are at most `draws` exchanges, all of them are counted, and
      the p-value is exact.

    Draws in which a result is undefined are left out of it. Areas under the ROC curve are left out, because they do not
    follow from sums per group.

    Args:
        folds: Tallies of the first and the second model on the same groups, in the same order, for each fold.
        pooled: Whether results are those of all folds' predictions together, not the mean of the folds' results.
        draws: Number of bootstrap samples, and of exchanges.
        level: Coverage of the interval, in (0, 1).
        seed: Seed of the draws.

    Returns:
        By result; results that are undefined for either model are left out. Bounds and p are NaN with fewer than two
        groups.

    Raises:
        LabelSpaceError: The models have different labels or numbers of groups.

    Example:
        >>> from affectkit.metrics import ExpressionMetrics
        >>> def tally(predicted):
        ...     metric = ExpressionMetrics(["happiness", "sadness"], num_groups=4)
        ...     truth, mask = torch.tensor([0, 1, 0, 1]), torch.ones(4, dtype=torch.bool)
        ...     metric.update(torch.eye(2)[predicted], truth, mask, group=torch.arange(4))
        ...     return metric.tally()
        >>> compare([(tally([1, 0, 0, 1]), tally([0, 1, 0, 1]))])["war"]
        Comparison(first=0.5, second=1.0, difference=0.5, low=0.0, high=1.0, p=0.5)

    References:
        B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993. P. Good, Permutation, Parametric and Bootstrap
        Tests of Hypotheses, 2005.
    """
    for first, second in folds:
        if first.labels != second.labels or first.sums.shape != second.sums.shape:
            raise LabelSpaceError(f"The models have different labels: {first.labels} and {second.labels}.")
    pairs = [_join(folds)] if pooled else [_observed(*fold) for fold in folds]
    like = [first for first, _ in pairs]
    ours, theirs = ([tally.sums.flatten(1) for tally in side] for side in zip(*pairs, strict=True))
    sizes = [len(sums) for sums in ours]
    rng = np.random.default_rng(seed)
    before, after = (_means(like, [sums.sum(0)[None] for sums in side]) for side in (ours, theirs))
    parts = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        drawn = [torch.from_numpy(rng.multinomial(n, [1 / n] * n, size)).double() for n in sizes]
        both = ([w @ sums for w, sums in zip(drawn, side, strict=True)] for side in (ours, theirs))
        parts.append(_differences(like, *both))
    resampled = _concatenate(parts)
    parts = []
    for exchanges in _exchanges(rng, sum(sizes), draws):
        kept = list(zip(torch.split(exchanges, sizes, dim=1), ours, theirs, strict=True))
        one_side = [w @ x + (1 - w) @ y for w, x, y in kept]
        parts.append(_differences(like, one_side, [(1 - w) @ x + w @ y for w, x, y in kept]))
    exchanged = _concatenate(parts)
    added = int(2 ** sum(sizes) > draws)  # random exchanges lack the data as they are
    comparisons = {}
    for name, value in before.items():
        one, two = value.item(), after[name].item()
        if isnan(one) or isnan(two):
            continue
        low = high = p = nan
        if min(sizes) > 1:
            low, high = np.nanquantile(resampled[name], [(1 - level) / 2, (1 + level) / 2]).tolist()
            null = exchanged[name][~exchanged[name].isnan()].abs()
            p = float(added + (null >= abs(two - one) - 1e-12).sum()) / (added + len(null))
        comparisons[name] = Comparison(one, two, two - one, low, high, p)
    return comparisons


def _join(folds: Sequence[tuple[Tally, Tally]]) -> tuple[Tally, Tally]:
    """Both tallies of all folds as one fold."""
    first, second = (
        Tally(side[0].labels, torch.cat([tally.sums for tally in side]), side[0].results)
        for side in zip(*folds, strict=True)
    )
    return _observed(first, second)


def _observed(first: Tally, second: Tally) -> tuple[Tally, Tally]:
    """Both tallies on the groups with data."""
    rows = (first.sums.flatten(1).any(1) | second.sums.flatten(1).any(1)).nonzero()[:, 0]
    one, two = (Tally(tally.labels, tally.sums[rows], tally.results) for tally in (first, second))
    return one, two


def _exchanges(rng: np.random.Generator, groups: int, draws: int) -> Iterator[Tensor]:
    """Chunks of float64 [S, groups], 0 and 1: all exchanges if there are at most `draws`, else as many random ones."""
    number = min(2**groups, draws)
    for start in range(0, number, _CHUNK):
        stop = min(start + _CHUNK, number)
        if 2**groups <= draws:
            patterns = np.arange(start, stop)[:, None] >> np.arange(groups) & 1
        else:
            patterns = rng.integers(0, 2, (stop - start, groups))
        yield torch.from_numpy(patterns).double()


def _concatenate(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _differences(
    like: Sequence[Tally], first: Sequence[Tensor], second: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Differences [S] of the results of totals [S, K] in each fold."""
    one, two = _means(like, first), _means(like, second)
    return {name: two[name] - value for name, value in one.items()}


def _means(like: Sequence[Tally], totals: Sequence[Tensor]) -> dict[str, Tensor]:
    """Results [S] of totals [S, K] in each fold, means over the folds in which they are defined."""
    named = []
    for tally, total in zip(like, totals, strict=True):
        no_areas = total.new_full((len(total), len(tally.labels)), nan)
        named.append(tally.results(total.reshape(-1, *tally.sums.shape[1:]), no_areas))
    return {name: torch.stack([one[name] for one in named]).nanmean(0) for name in named[0]}
