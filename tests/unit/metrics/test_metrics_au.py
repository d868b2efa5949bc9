"""AUMetrics against scikit-learn, mask by mask and threshold by threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.metrics import AUMetrics

LABELS = ("AU1", "AU4", "AU12")


def sample(rows: int = 300, units: int = 3, seed: int = 0, spread: float = 1.5, shift: float = -1.0):
    rng = torch.Generator().manual_seed(seed)
    value = (torch.rand(rows, units, generator=rng) < 0.3).float()
    probs = (torch.randn(rows, units, generator=rng) * spread + 1.5 * value + shift).sigmoid()
    mask = torch.rand(rows, units, generator=rng) < 0.8
    group = torch.randint(0, 7, (rows,), generator=rng)
    return probs, value, mask, group


def filled(labels=LABELS, num_groups=7, **kwargs) -> AUMetrics:
    metric = AUMetrics(labels, num_groups)
    metric.update(*sample(units=len(labels), **kwargs))
    return metric


@pytest.mark.parametrize("thresholds", [0.5, [0.2, 0.31, 0.75]])
def test_equals_scikit_learn(thresholds):
    probs, value, mask, _ = sample()
    results = filled().compute(thresholds)
    t = np.broadcast_to(thresholds, 3)
    expected = {"f1_pos": [], "f1_macro2": [], "acc": [], "auc": [], "f1_all_positive": []}
    for a, label in enumerate(LABELS):
        y, p = value[mask[:, a], a].numpy(), probs[mask[:, a], a].numpy()
        guess = p >= t[a]
        expected["f1_pos"].append(f1_score(y, guess))
        expected["f1_macro2"].append(f1_score(y, guess, average="macro"))
        expected["acc"].append(accuracy_score(y, guess))
        expected["auc"].append(roc_auc_score(y, p))
        expected["f1_all_positive"].append(f1_score(y, np.ones_like(y)))
        assert results[f"support/{label}"] == y.sum()
        assert results[f"annotated/{label}"] == len(y)
        majority = np.full_like(y, y.mean() > 0.5)
        assert results[f"acc_majority/{label}"].item() == pytest.approx(accuracy_score(y, majority))
        assert results[f"f1_macro2_majority/{label}"].item() == pytest.approx(
            f1_score(y, majority, average="macro", labels=[0, 1], zero_division=0)
        )
    for name, values in expected.items():
        tolerance = 1e-3 if name == "auc" else 1e-12
        for label, wanted in zip(LABELS, values, strict=True):
            assert results[f"{name}/{label}"].item() == pytest.approx(wanted, abs=tolerance)
        assert results[name].item() == pytest.approx(np.mean(values), abs=tolerance)
    assert results["num_units"] == 3


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("shift", [-8.0, -3.0, 0.0, 6.0])
@pytest.mark.parametrize("rows", [60, 1000])
def test_auc_holds_its_tolerance_wherever_the_probabilities_lie(rows, spread, shift):
    probs, value, mask, group = sample(rows, 1, seed=3, spread=spread, shift=shift)
    metric = AUMetrics(["AU9"], 7)
    metric.update(probs, value, mask, group)
    exact = roc_auc_score(value[mask], probs[mask])
    assert metric.compute()["auc"].item() == pytest.approx(exact, abs=1e-3)
    grouped = metric.tally()
    rough = grouped.results(grouped.sums.sum(0)[None], None)["auc"].item()
    assert rough == pytest.approx(exact, abs=0.02 if rows == 60 else 0.005)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probability_equal_to_the_threshold_is_positive(dtype):
    grid = torch.arange(0, 101, dtype=dtype) / 100
    metric = AUMetrics(["AU1"], 1)
    column = grid[:, None]
    group = torch.zeros(101, dtype=torch.int64)
    metric.update(column, torch.ones_like(column), torch.ones_like(column, dtype=torch.bool), group)
    below = torch.nextafter(column[1:], torch.zeros((), dtype=dtype))
    metric.update(below, torch.zeros_like(below), torch.ones_like(below, dtype=torch.bool), group[1:])
    for k in range(101):
        results = metric.compute(k / 100)
        # Positives: the grid from k on. Negatives: those just below k + 1, k + 2, …
        tp, fp = 101 - k, 100 - k
        assert results["f1_pos"].item() == pytest.approx(2 * tp / (101 + tp + fp))
    assert metric.compute([0.29])["f1_pos"] == metric.compute(0.29)["f1_pos"]


def test_half_precision_is_compared_as_float32():
    metric = AUMetrics(["AU1"], 1)
    probs = torch.tensor([[0.5], [0.25]], dtype=torch.bfloat16)
    metric.update(probs, torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2).long())
    assert metric.compute(0.5)["acc"] == 0.5
    assert metric.compute(0.25)["acc"] == 1.0


def test_frames_count_like_rows():
    probs, value, mask, group = sample(120)
    by_frame = AUMetrics(LABELS, 7)
    clip_group = group[:40]
    by_frame.update(*(x.view(40, 3, 3) for x in (probs, value, mask)), clip_group)
    by_row = AUMetrics(LABELS, 7)
    by_row.update(probs, value, mask, clip_group.repeat_interleave(3))
    assert torch.equal(by_frame.histogram, by_row.histogram)
    assert torch.equal(by_frame.fine, by_row.fine)


@settings(max_examples=30, deadline=None)
@given(
    junk=st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 0.5, -3.0, 1e30]),
    label=st.sampled_from([math.nan, 0.0, 1.0, 9.0, 999.0]),
    seed=st.integers(0, 1000),
)
def test_masked_entries_never_change_a_result(junk, label, seed):
    probs, value, mask, group = sample(40, seed=seed)
    clean, dirty = AUMetrics(LABELS, 7), AUMetrics(LABELS, 7)
    clean.update(probs, value, mask, group)
    dirty.update(probs.masked_fill(~mask, junk), value.masked_fill(~mask, label), mask, group)
    assert torch.equal(clean.histogram, dirty.histogram)
    assert torch.equal(clean.fine, dirty.fine)


def test_invalid_rows_are_ignored_even_with_impossible_groups():
    probs, value, mask, group = sample(40)
    valid = torch.arange(40) < 25
    metric = AUMetrics(LABELS, 7)
    group = group.masked_fill(~valid, -1)
    metric.update(probs.masked_fill(~valid[:, None], math.nan), value, mask, group, valid)
    reference = AUMetrics(LABELS, 7)
    reference.update(probs[:25], value[:25], mask[:25], group[:25])
    assert torch.equal(metric.histogram, reference.histogram)


def test_soft_labels_count_by_their_likelier_class():
    metric = AUMetrics(["AU1"], 1)
    value = torch.tensor([[0.5], [0.49], [1.0], [0.0]])
    metric.update(torch.full((4, 1), 0.9), value, torch.ones(4, 1, dtype=torch.bool), torch.zeros(4).long())
    assert metric.compute()["support/AU1"] == 2


def test_never_annotated_units_leave_the_mean_and_units_without_positives_do_not():
    probs, value, mask, group = sample()
    mask[:, 0] = False
    value[:, 1] = 0
    metric = AUMetrics(LABELS, 7)
    metric.update(probs, value, mask, group)
    results = metric.compute()
    assert results["f1_pos/AU1"].isnan()
    assert results["annotated/AU1"] == 0
    assert results["f1_pos/AU4"] == 0
    assert results["auc/AU4"].isnan()
    assert results["num_units"] == 2
    assert results["f1_pos"].item() == pytest.approx(results["f1_pos/AU12"].item() / 2)
    assert results["auc"] == results["auc/AU12"]


def test_without_data_nothing_is_defined_and_nothing_warns():
    results = AUMetrics(LABELS, 7).compute()
    assert results["f1_pos"].isnan()
    assert results["num_units"] == 0


def test_best_thresholds_maximise_f1():
    metric = filled(shift=-2.0)
    best = metric.best_thresholds()
    reached = metric.compute(best)
    for k in range(1, 100):
        other = metric.compute(k / 100)
        assert all(other[f"f1_pos/{label}"] <= reached[f"f1_pos/{label}"] for label in LABELS)
    assert list(best) == list(LABELS)
    assert metric.compute(list(best.values()))["f1_pos"] == reached["f1_pos"]


def test_best_threshold_of_a_tie_is_the_nearest_to_one_half():
    metric = AUMetrics(["AU1", "AU2", "AU4"], 1)
    probs = torch.tensor([[0.9, 0.3, 0.4], [0.8, 0.2, 0.4], [0.1, 0.1, 0.4]])
    value = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    metric.update(probs, value, torch.ones(3, 3, dtype=torch.bool), torch.zeros(3).long())
    assert metric.best_thresholds() == {"AU1": 0.5, "AU2": 0.2, "AU4": 0.5}


def test_results_are_scalars_on_the_metric_and_do_not_follow_a_cache():
    metric = filled()
    low, high = metric.compute(0.1), metric.compute(0.9)
    assert low["f1_pos"] != high["f1_pos"]
    assert all(value.shape == () and value.dtype == torch.float64 for value in low.values())


def test_the_other_bins():
    metric = AUMetrics(LABELS, 7, bins=10)
    metric.update(*sample())
    assert metric.compute(0.3)["f1_pos"] == filled().compute(0.3)["f1_pos"]
    with pytest.raises(ConfigError, match="multiples of 1/10"):
        metric.compute(0.35)
    with pytest.raises(ValueError, match="bins"):
        AUMetrics(LABELS, 7, bins=1)


@pytest.mark.parametrize("thresholds", [0.505, 1.01, -0.01, math.nan])
def test_thresholds_off_the_grid_are_refused(thresholds):
    with pytest.raises(ConfigError, match="multiples of 1/100"):
        filled().compute(thresholds)


def test_thresholds_of_other_units_are_refused():
    with pytest.raises(LabelSpaceError, match="2 thresholds"):
        filled().compute([0.5, 0.5])
    with pytest.raises(LabelSpaceError, match="AU99"):
        filled().compute({"AU99": 0.5})


def test_thresholds_that_went_through_float32_still_fit():
    stored = torch.tensor([0.29, 0.57, 0.5]).tolist()
    assert filled().compute(stored)["f1_pos"] == filled().compute([0.29, 0.57, 0.5])["f1_pos"]


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_probabilities_outside_their_range_are_refused(bad):
    probs, value, mask, group = sample()
    probs[mask] = bad
    with pytest.raises(ValueError, match="0–1"):
        AUMetrics(LABELS, 7).update(probs, value, mask, group)


def test_wrong_shapes_and_groups_are_refused():
    probs, value, mask, group = sample()
    metric = AUMetrics(LABELS, 7)
    with pytest.raises(ValueError, match="value has the shape"):
        metric.update(probs, value[:, :2], mask, group)
    with pytest.raises(ValueError, match="2 units"):
        metric.update(probs[:, :2], value[:, :2], mask[:, :2], group)
    with pytest.raises(ValueError, match="one entry a row"):
        metric.update(probs, value, mask, group[:-1])
    with pytest.raises(ValueError, match="one entry a row"):
        metric.update(probs, value, mask, group, torch.ones(2, dtype=torch.bool))
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match="0 … 6"):
            metric.update(probs, value, mask, torch.full_like(group, wrong))


@pytest.mark.parametrize("labels", [(), ("AU1", "AU1")])
def test_labels_must_be_unique(labels):
    with pytest.raises(LabelSpaceError, match="unique"):
        AUMetrics(labels, 1)


def test_groups_must_exist():
    with pytest.raises(ValueError, match="num_groups"):
        AUMetrics(LABELS, 0)
