"""Intervals over subjects and the reduction of folds."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis, t
from sklearn.metrics import f1_score, roc_auc_score

from affectkit.errors import LabelSpaceError
from affectkit.metrics import AUMetrics, ExpressionMetrics, IntensityMetrics, estimate, mean_of_folds, pooled

LABELS = ("AU1", "AU12")


def sample(rows: int, groups: int, seed: int = 0, units: int = 2, quality: float = 1.5):
    rng = torch.Generator().manual_seed(seed)
    value = (torch.rand(rows, units, generator=rng) < 0.3).float()
    group = torch.arange(rows) % groups
    skill = quality + torch.randn(groups, generator=rng)[group, None]
    logits = torch.randn(rows, units, generator=rng) + skill * (2 * value - 1)
    return logits, value, torch.ones(rows, units, dtype=torch.bool), group


def filled(rows: int = 400, groups: int = 20, seed: int = 0, labels=LABELS) -> AUMetrics:
    metric = AUMetrics(labels, groups)
    metric.update(*sample(rows, groups, seed, len(labels)))
    return metric


def reference(folds, score, level=0.95):
    """The interval of a mean over folds with values in 0–1, from scores of rows with each subject left out."""
    values = [score(*rows) for *rows, _ in folds]
    g = math.log(np.mean(values) / (1 - np.mean(values)))
    variances, freedoms, bias = [], [], 0.0
    for k, (z, y, group) in enumerate(folds):
        n = len(np.unique(group))
        left = [score(z[group != i], y[group != i]) for i in np.unique(group)]
        means = np.array([np.mean([*values[:k], one, *values[k + 1 :]]) for one in left])
        scaled = np.log(means / (1 - means))
        variances.append(n * scaled.var())
        freedoms.append(min(n - 1, 2 * n / (kurtosis(scaled, fisher=False) - (n - 3) / (n - 1))))
        bias += (n - 1) * (g - scaled.mean())
    freedom = sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    half = t.ppf((1 + level) / 2, freedom) * math.sqrt(sum(variances))
    ends = g - half + min(bias, 0), g + half + max(bias, 0)
    return [1 / (1 + math.exp(-end)) for end in ends]


def macro_f1(z, y):
    return f1_score(y, z >= 0, average="macro")


def macro_auc(z, y):
    return roc_auc_score(y, z)


SCORES = {"f1_pos": macro_f1, "auc": macro_auc, "auc/AU12": lambda z, y: roc_auc_score(y[:, 1], z[:, 1])}


@pytest.mark.parametrize("level", [0.95, 0.5])
@pytest.mark.parametrize("name", SCORES)
def test_the_interval_is_that_of_scores_with_each_subject_left_out(name, level):
    z, value, _, group = (x.numpy() for x in sample(400, 20))
    found = estimate(filled().tally(), level=level)[name]
    assert found.value == pytest.approx(SCORES[name](z, value), abs=1e-12)
    assert list(found[1:]) == pytest.approx(reference([(z, value, group)], SCORES[name], level), abs=1e-9)


@pytest.mark.parametrize(("centre", "scale"), [(-4.3, 0.05), (-18.0, 0.3), (18.0, 0.3), (0.0, 1e-3)])
def test_the_interval_does_not_depend_on_the_scale_of_the_outputs(centre, scale):
    """Narrow or saturated outputs have the interval of those that they are a copy of."""
    z, value, mask, group = sample(400, 20)
    metric = AUMetrics(LABELS, 20)
    metric.update(centre + scale * z, value, mask, group)
    assert estimate(metric.tally())["auc"] == pytest.approx(estimate(filled().tally())["auc"], abs=1e-4)


@pytest.mark.parametrize("name", SCORES)
def test_folds_leave_out_subjects_of_their_own_and_add_their_variances(name):
    sizes = [(300, 6, 1), (200, 9, 2), (260, 7, 3)]
    data = [sample(*size) for size in sizes]
    found = mean_of_folds([filled(*size).tally() for size in sizes])[name]
    folds = [(z.numpy(), value.numpy(), group.numpy()) for z, value, _, group in data]
    assert list(found[1:]) == pytest.approx(reference(folds, SCORES[name]), abs=1e-9)


def test_subjects_not_frames_are_left_out():
    """With every frame repeated tenfold the interval stays as wide."""
    once, often = filled(), filled()
    for _ in range(9):
        often.update(*sample(400, 20))
    for name in ("f1_pos", "acc", "auc"):
        assert estimate(often.tally())[name][1:] == pytest.approx(estimate(once.tally())[name][1:], abs=1e-12)


def test_the_level_widens_the_interval():
    narrow, wide = (estimate(filled().tally(), level=level)["f1_pos"] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_groups_without_data_change_nothing():
    logits, value, mask, group = sample(400, 20)
    sparse = AUMetrics(LABELS, 100)
    sparse.update(logits, value, mask, group * 5)
    assert estimate(sparse.tally()) == estimate(filled().tally())


def test_one_group_allows_no_interval():
    found = estimate(filled(groups=1).tally())["f1_pos"]
    assert 0 < found.value < 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(estimate(AUMetrics(LABELS, 3).tally())["f1_pos"].value)


def test_a_unit_that_one_subject_shows_has_no_interval_of_its_auc_and_a_wide_one_of_its_f1():
    metric = AUMetrics(["AU1"], 3)
    value = torch.tensor([1.0, 0, 0, 0, 0, 0])[:, None]
    logits = torch.tensor([0.6, 0.7, -0.1, -0.2, 0.8, -0.1])[:, None]
    metric.update(logits, value, torch.ones(6, 1, dtype=torch.bool), torch.tensor([0, 0, 1, 1, 2, 2]))
    found = estimate(metric.tally())
    assert found["auc"].value == pytest.approx(0.6)
    assert math.isnan(found["auc"].low)
    assert math.isnan(found["auc"].high)
    assert found["f1_pos"].low < 0.02 < found["f1_pos"].value == 0.5 < 0.98 < found["f1_pos"].high


def classes(right):
    """Accuracy from how many of two clips are right, subject by subject."""
    metric = ExpressionMetrics(["happiness", "sadness"], len(right))
    group = torch.arange(len(right)).repeat_interleave(2)
    scores = torch.tensor([[1.0, 0.0] if k < count else [0.0, 1.0] for count in right for k in range(2)])
    metric.update(scores, torch.zeros_like(group), torch.ones_like(group, dtype=torch.bool), group)
    return metric.tally()


def test_a_result_at_its_border_has_one_point_or_the_whole_range():
    assert estimate(classes([2, 2, 2]))["war"] == (1.0, 1.0, 1.0)
    assert estimate(classes([0, 0, 0]))["war"] == (0.0, 0.0, 0.0)
    metric = AUMetrics(["AU1"], 3)  # all right, but without its only positive the F1 is 0
    z = torch.tensor([1.0, -1, -1, -1])[:, None]
    metric.update(z, (z > 0).float(), torch.ones(4, 1, dtype=torch.bool), torch.tensor([0, 0, 1, 2]))
    assert estimate(metric.tally())["f1_pos"] == (1.0, 0.0, 1.0)
    assert estimate(metric.tally())["acc"] == (1.0, 1.0, 1.0)


def test_errors_of_one_subject_alone_give_a_wide_interval_within_the_range():
    found = estimate(classes([2, 2, 2, 2, 0]))["war"]
    assert 0 < found.low < 0.3 < found.value == 0.8 < 0.98 < found.high < 1


def test_two_groups_that_agree_leave_the_bias_alone():
    """Each subject is told apart without an error, but not one from the other."""
    metric = AUMetrics(["AU1"], 2)
    z = torch.tensor([2.0, 1.0, 0.0, -1.0])[:, None]
    value = torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None]
    metric.update(z, value, torch.ones(4, 1, dtype=torch.bool), torch.tensor([0, 0, 1, 1]))
    found = estimate(metric.tally())["auc"]
    # Log odds of 3/4 are ln 3. Without either subject 1 counts as 1 - 1/16, so the bias is ln 3 - ln 15.
    assert found.high == found.value == 0.75
    assert found.low == pytest.approx(1 / (1 + 5 / 3))


def test_every_interval_lies_in_the_range_of_its_result_and_contains_it():
    intensity = IntensityMetrics(["AU6"], 5)
    rng = torch.Generator().manual_seed(0)
    label = torch.randint(0, 6, (60, 1), generator=rng).float()
    said = (label + torch.randn(60, 1, generator=rng)).clamp(0, 5)
    intensity.update(said, label, torch.ones(60, 1).bool(), torch.arange(60) % 5)
    for tally in (intensity.tally(), filled(80, 5).tally(), classes([2, 1, 0, 2, 1])):
        for name, (value, low, high) in estimate(tally).items():
            if math.isnan(value):
                assert name in ("recall/sadness", "f1/sadness")  # a class that no clip has
                continue
            assert low <= value <= high, name
            assert low >= (-1 if name.startswith(("icc31", "pcc")) else 0), name
            if not name.startswith(("mae", "num", "support", "annotated")):
                assert high <= 1, name
    agreement, error = (estimate(intensity.tally())[name] for name in ("pcc", "mae"))
    assert agreement.low > 0.5
    assert 0 < error.low < error.value < error.high < 2
    perfect = IntensityMetrics(["AU6"], 5)
    perfect.update(label / 3, label / 3, torch.ones(60, 1).bool(), torch.arange(60) % 5)
    assert estimate(perfect.tally())["pcc"] == pytest.approx((1, 1, 1), abs=1e-9)
    assert estimate(perfect.tally())["mae"] == (0, 0, 0)


def test_mean_of_folds_averages_and_pooled_adds():
    folds = [filled(300, 6, seed) for seed in (1, 2, 3)]
    thresholds = [fold.best_thresholds() for fold in folds]
    tallies = [fold.tally(cut) for fold, cut in zip(folds, thresholds, strict=True)]
    singles = [fold.compute(cut) for fold, cut in zip(folds, thresholds, strict=True)]
    mean, total = mean_of_folds(tallies), pooled(tallies)
    for name in ("f1_pos", "auc", "f1_pos/AU12"):
        assert mean[name].value == pytest.approx(np.mean([single[name] for single in singles]))
    data = [sample(300, 6, seed) for seed in (1, 2, 3)]
    value = torch.cat([x[1] for x in data])
    guesses = [
        x[0].sigmoid() >= torch.tensor([cut[label] for label in LABELS])
        for x, cut in zip(data, thresholds, strict=True)
    ]
    wanted = f1_score(value, torch.cat(guesses), average="macro")
    assert total["f1_pos"].value == pytest.approx(wanted)
    assert total["support/AU1"].value == value[:, 0].sum()
    assert mean["f1_pos"].low < mean["f1_pos"].value < mean["f1_pos"].high
    assert total["f1_pos"].low < total["f1_pos"].value < total["f1_pos"].high


def test_pooling_equals_one_metric_of_all_groups():
    """Also after leaving groups out, and with a fold whose last group has no data."""
    whole, parts = AUMetrics(LABELS, 11), [AUMetrics(LABELS, 4), AUMetrics(LABELS, 7)]
    for seed, start, fold in ((1, 0, parts[0]), (2, 4, parts[1])):
        logits, value, mask, group = sample(100, 4, seed)
        fold.update(logits, value, mask, group)
        whole.update(logits, value, mask, group + start)
    tallies = [fold.tally() for fold in parts]
    assert pooled(tallies) == estimate(whole.tally())
    some = [tallies[0].only([3, 1]), tallies[1].only([0, 2])]
    assert pooled(some) == estimate(whole.tally().only([3, 1, 4, 6]))
    data = [sample(100, 4, seed) for seed in (1, 2)]
    logits, value = (torch.cat([x[i] for x in data])[:, 0] for i in (0, 1))
    assert pooled(tallies)["auc/AU1"].value == pytest.approx(roc_auc_score(value, logits), abs=1e-12)


def test_no_subject_of_one_fold_stands_for_one_of_another():
    """Two folds of one kind of subject each: leaving out any changes no fold, so the mean has no spread."""
    folds = [classes([0, 0, 0, 0]), classes([2, 2, 2, 2])]
    assert mean_of_folds(folds)["war"] == (0.5, 0.5, 0.5)
    spread = pooled(folds)["war"]
    assert spread.low < 0.3 < spread.value == 0.5 < 0.7 < spread.high


def test_leave_one_subject_out_is_pooled():
    folds = [filled(30, 1, seed).tally() for seed in range(8)]
    assert math.isnan(mean_of_folds(folds)["f1_pos"].low)
    assert pooled(folds)["f1_pos"].low < pooled(folds)["f1_pos"].high


def test_a_unit_missing_from_one_fold_is_averaged_over_the_others():
    folds = [filled(300, 6, 1), AUMetrics(LABELS, 6)]
    logits, value, mask, group = sample(300, 6, 2)
    mask[:, 0] = False
    folds[1].update(logits, value, mask, group)
    found = mean_of_folds([fold.tally() for fold in folds])
    assert found["f1_pos/AU1"].value == folds[0].compute()["f1_pos/AU1"]


@pytest.mark.parametrize("reduce", [mean_of_folds, pooled])
def test_folds_must_agree(reduce):
    with pytest.raises(LabelSpaceError, match="different labels"):
        reduce([filled().tally(), filled(labels=("AU1", "AU2")).tally()])
    with pytest.raises(ValueError, match="no folds"):
        reduce([])


def test_metrics_without_scores_pool_too():
    metric = IntensityMetrics(["AU6"], 3)
    metric.update(
        torch.arange(6.0)[:, None] / 2,
        torch.arange(6.0)[:, None],
        torch.ones(6, 1).bool(),
        torch.arange(6) % 3,
    )
    assert pooled([metric.tally(), metric.tally()])["pcc"].value == pytest.approx(1)


def test_intervals_are_quick():
    labels = [f"AU{i}" for i in range(18)]
    tally = filled(3000, 50, labels=labels).tally()
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        estimate(tally)
        best = min(best, time.perf_counter() - start)
    # 0.05 s when the machine is idle; the bound leaves room for a busy one.
    assert best < 1.0
