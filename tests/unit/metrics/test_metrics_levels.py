"""Ordered levels against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error

from affectkit.metrics import ExpressionMetrics, LevelMetrics, estimate

LABELS = ["none", "low", "medium", "high"]


def counted(truth, said, mask=None, metric=None):
    metric = metric or LevelMetrics(LABELS, 3)
    rows = len(truth)
    known = torch.ones(rows, dtype=torch.bool) if mask is None else torch.tensor(mask)
    metric.update(torch.eye(4)[torch.tensor(said)], torch.tensor(truth), known, torch.arange(rows) % 3)
    return metric


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(seed % 2, 4, 90)  # with an absent level or not
    said = np.clip(truth + rng.integers(-2, 3, 90), 0, 3)
    mask = rng.random(90) < 0.8
    found = counted(truth, said, mask).compute()
    t, s = truth[mask], said[mask]
    kappa = cohen_kappa_score(t, s, labels=range(4), weights="quadratic")
    assert found["qwk"].item() == pytest.approx(kappa)
    assert found["mae"].item() == pytest.approx(mean_absolute_error(t, s))
    assert found["acc"].item() == pytest.approx(accuracy_score(t, s))
    assert found["acc_adjacent"].item() == pytest.approx((abs(t - s) <= 1).mean())
    constants = [(abs(t - c).mean(), (abs(t - c) <= 1).mean(), (t == c).mean()) for c in range(4)]
    mae, adjacent, acc = zip(*constants, strict=True)
    assert found["mae_constant"].item() == pytest.approx(min(mae))
    assert found["acc_adjacent_constant"].item() == pytest.approx(max(adjacent))
    assert found["acc_constant"].item() == pytest.approx(max(acc))
    f1 = f1_score(t, s, labels=np.unique(t), average=None)
    assert found["f1_macro"].item() == pytest.approx(f1.mean())
    assert [found[f"f1/{LABELS[level]}"].item() for level in np.unique(t)] == pytest.approx(f1.tolist())
    majority = np.full(len(t), np.bincount(t).argmax())
    assert found["f1_macro_constant"].item() == pytest.approx(
        f1_score(t, majority, labels=np.unique(t), average="macro", zero_division=0)
    )
    assert [found[f"support/{label}"] for label in LABELS] == [(t == c).sum() for c in range(4)]
    assert found["num_levels"] == len(set(t))


def test_one_level_only_has_no_kappa():
    found = counted([1, 1, 1], [1, 1, 1]).compute()
    assert found["qwk"].isnan()
    assert (found["mae"], found["acc"]) == (0, 1)


def test_intervals_are_over_groups():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 60)
    found = estimate(counted(truth, np.clip(truth + rng.integers(-1, 2, 60), 0, 3)).tally())
    assert found["qwk"].low <= found["qwk"].value <= found["qwk"].high
    assert found["acc_adjacent"].value == 1


@pytest.mark.parametrize("cls", [LevelMetrics, ExpressionMetrics])
def test_a_true_distribution_counts_by_its_likeliest_class(cls):
    rng = torch.Generator().manual_seed(0)
    q = torch.rand(30, 2, 4, generator=rng)
    scores, mask = torch.rand(30, 2, 4, generator=rng), torch.rand(30, 2, generator=rng) < 0.7
    soft, hard = cls(LABELS, 3), cls(LABELS, 3)
    soft.update(scores, q / q.sum(-1, keepdim=True), mask, torch.arange(30) % 3)
    hard.update(scores, q.argmax(-1), mask, torch.arange(30) % 3)
    assert torch.equal(soft.counts, hard.counts)
    assert soft.confusion().sum() == mask.sum()
