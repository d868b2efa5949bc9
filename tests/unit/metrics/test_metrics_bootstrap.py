"""Intervals over subjects and the reduction of folds."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from affectkit.errors import LabelSpaceError
from affectkit.metrics import AUMetrics, ExpressionMetrics, IntensityMetrics, estimate, mean_of_folds, pooled

LABELS = ("AU1", "AU12")


def sample(rows: int, groups: int, seed: int = 0, units: int = 2, quality: float = 1.5):
    rng = torch.Generator().manual_seed(seed)
    value = (torch.rand(rows, units, generator=rng) < 0.3).float()
    group = torch.arange(rows) % groups
    skill = quality + torch.randn(groups, generator=rng)[group, None]
    probs = (torch.randn(rows, units, generator=rng) + skill * (2 * value - 1)).sigmoid()
    return probs, value, torch.ones(rows, units, dtype=torch.bool), group


def filled(rows: int = 400, groups: int = 20, seed: int = 0, labels=LABELS) -> AUMetrics:
    metric = AUMetrics(labels, groups)
    metric.update(*sample(rows, groups, seed, len(labels)))
    return metric


def test_interval_equals_a_plain_bootstrap_over_subjects():
    """Resample subjects one by one with scikit-learn and compare the percentiles."""
    probs, value, _, group = (x.numpy() for x in sample(400, 20))
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(group == g) for g in rng.integers(0, 20, 20)])
        scores.append(f1_score(value[rows], probs[rows] >= 0.5, average="macro"))
    low, high = np.quantile(scores, [0.025, 0.975])
    found = estimate(filled().tally(), samples=4000)["f1_pos"]
    assert found.value == pytest.approx(f1_score(value, probs >= 0.5, average="macro"))
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_subjects_not_frames_are_resampled():
    """With every frame repeated tenfold the interval stays as wide."""
    once, often = filled(), filled()
    for _ in range(9):
        often.update(*sample(400, 20))
    for name in ("f1_pos", "acc", "auc"):
        assert estimate(often.tally())[name][1:] == pytest.approx(estimate(once.tally())[name][1:], abs=1e-12)


def test_a_seed_fixes_the_interval_and_the_level_widens_it():
    tally = filled().tally()
    assert estimate(tally, seed=1) == estimate(tally, seed=1)
    assert estimate(tally, seed=1)["f1_pos"] != estimate(tally, seed=2)["f1_pos"]
    narrow, wide = (estimate(tally, level=level)["f1_pos"] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_groups_without_data_change_nothing():
    probs, value, mask, group = sample(400, 20)
    sparse = AUMetrics(LABELS, 100)
    sparse.update(probs, value, mask, group * 5)
    assert estimate(sparse.tally()) == estimate(filled().tally())


@pytest.mark.parametrize("samples", [1, 49, 101])
def test_any_number_of_resamples(samples):
    found = estimate(filled().tally(), samples=samples)["f1_pos"]
    assert 0 < found.low <= found.high < 1


def test_one_group_allows_no_interval():
    found = estimate(filled(groups=1).tally())["f1_pos"]
    assert 0 < found.value < 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(estimate(AUMetrics(LABELS, 3).tally())["f1_pos"].value)


def test_resamples_without_a_class_are_left_out():
    """Only one of three subjects shows the unit: the AUC is undefined without it."""
    metric = AUMetrics(["AU1"], 3)
    value = torch.tensor([1.0, 0, 0, 0, 0, 0])[:, None]
    probs = torch.tensor([0.6, 0.7, 0.1, 0.2, 0.8, 0.1])[:, None]
    metric.update(probs, value, torch.ones(6, 1, dtype=torch.bool), torch.tensor([0, 0, 1, 1, 2, 2]))
    found = estimate(metric.tally())["auc"]
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_mean_of_folds_averages_and_pooled_adds():
    folds = [filled(300, 6, seed) for seed in (1, 2, 3)]
    thresholds = [fold.best_thresholds() for fold in folds]
    tallies = [fold.tally(t) for fold, t in zip(folds, thresholds, strict=True)]
    singles = [fold.compute(t) for fold, t in zip(folds, thresholds, strict=True)]
    mean, total = mean_of_folds(tallies), pooled(tallies)
    for name in ("f1_pos", "auc", "f1_pos/AU12"):
        assert mean[name].value == pytest.approx(np.mean([single[name] for single in singles]))
    data = [sample(300, 6, seed) for seed in (1, 2, 3)]
    value = torch.cat([x[1] for x in data])
    guesses = [
        x[0] >= torch.tensor([t[label] for label in LABELS]) for x, t in zip(data, thresholds, strict=True)
    ]
    wanted = f1_score(value, torch.cat(guesses), average="macro")
    assert total["f1_pos"].value == pytest.approx(wanted)
    assert total["support/AU1"].value == value[:, 0].sum()
    assert mean["f1_pos"].low < mean["f1_pos"].value < mean["f1_pos"].high
    assert total["f1_pos"].low < total["f1_pos"].value < total["f1_pos"].high


def test_pooled_auc_is_that_of_all_predictions():
    from sklearn.metrics import roc_auc_score

    data = [sample(100, 4, seed) for seed in (1, 2)]
    folds = [filled(100, 4, seed).tally() for seed in (1, 2)]
    probs, value = (torch.cat([x[i] for x in data])[:, 0] for i in (0, 1))
    assert pooled(folds)["auc/AU1"].value == pytest.approx(roc_auc_score(value, probs), abs=1e-3)


def test_folds_are_resampled_within_themselves():
    """Two folds of one kind of subject each: no resample mixes them, so the mean cannot vary."""
    metric = [ExpressionMetrics(["happiness", "sadness"], 4) for _ in range(2)]
    ones = torch.ones(4, dtype=torch.bool)
    for right, fold in enumerate(metric):
        scores = torch.tensor([[0.1, 0.9]] * 4)
        fold.update(scores, torch.full((4,), right), ones, torch.arange(4))
    found = mean_of_folds([fold.tally() for fold in metric])["war"]
    assert found == (0.5, 0.5, 0.5)
    spread = pooled([fold.tally() for fold in metric])["war"]
    assert spread.low < 0.5 < spread.high


def test_leave_one_subject_out_is_pooled():
    folds = [filled(30, 1, seed).tally() for seed in range(8)]
    assert math.isnan(mean_of_folds(folds)["f1_pos"].low)
    assert pooled(folds)["f1_pos"].low < pooled(folds)["f1_pos"].high


def test_a_unit_missing_from_one_fold_is_averaged_over_the_others():
    folds = [filled(300, 6, 1), AUMetrics(LABELS, 6)]
    probs, value, mask, group = sample(300, 6, 2)
    mask[:, 0] = False
    folds[1].update(probs, value, mask, group)
    found = mean_of_folds([fold.tally() for fold in folds])
    assert found["f1_pos/AU1"].value == folds[0].compute()["f1_pos/AU1"]


@pytest.mark.parametrize("reduce", [mean_of_folds, pooled])
def test_folds_must_agree(reduce):
    with pytest.raises(LabelSpaceError, match="different labels"):
        reduce([filled().tally(), filled(labels=("AU1", "AU2")).tally()])
    with pytest.raises(ValueError, match="no folds"):
        reduce([])


def test_metrics_without_fine_sums_pool_too():
    metric = IntensityMetrics(["AU6"], 3)
    metric.update(
        torch.arange(6.0)[:, None] / 2,
        torch.arange(6.0)[:, None],
        torch.ones(6, 1).bool(),
        torch.arange(6) % 3,
    )
    assert pooled([metric.tally(), metric.tally()])["pcc"].value == pytest.approx(1)


def test_a_thousand_resamples_are_quick():
    labels = [f"AU{i}" for i in range(18)]
    tally = filled(3000, 50, labels=labels).tally()
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        estimate(tally)
        best = min(best, time.perf_counter() - start)
    # 0.12 s when the machine is idle; the bound leaves room for a busy one.
    assert best < 1.0
