"""IntensityMetrics against an analysis of variance and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from affectkit.metrics import IntensityMetrics, estimate

LABELS = ("AU6", "AU12")


def sample(rows: int = 150, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    value = torch.randint(0, 6, (rows, 2), generator=rng).float()
    prediction = (0.7 * value + torch.randn(rows, 2, generator=rng)).clamp(0, 5)
    mask = torch.rand(rows, 2, generator=rng) < 0.8
    return prediction, value, mask, torch.randint(0, 5, (rows,), generator=rng)


def filled(*data) -> IntensityMetrics:
    metric = IntensityMetrics(LABELS, 5)
    metric.update(*(data or sample()))
    return metric


def icc31(table: np.ndarray) -> float:
    """ICC(3,1) of a table [targets, raters] by its two-way analysis of variance."""
    n, k = table.shape
    grand = table.mean()
    between = k * ((table.mean(1) - grand) ** 2).sum()
    raters = n * ((table.mean(0) - grand) ** 2).sum()
    error = ((table - grand) ** 2).sum() - between - raters
    bms, ems = between / (n - 1), error / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems)


def test_equals_the_definitions():
    prediction, value, mask, _ = sample()
    results = filled().compute()
    wanted = {"icc31": [], "pcc": [], "mae": [], "mae_all_zero": []}
    for a, label in enumerate(LABELS):
        x, y = (t[mask[:, a], a].double().numpy() for t in (prediction, value))
        wanted["icc31"].append(icc31(np.stack([x, y], 1)))
        wanted["pcc"].append(pearsonr(x, y).statistic)
        wanted["mae"].append(np.abs(x - y).mean())
        wanted["mae_all_zero"].append(y.mean())
        assert results[f"annotated/{label}"] == len(x)
    for name, values in wanted.items():
        for label, number in zip(LABELS, values, strict=True):
            assert results[f"{name}/{label}"].item() == pytest.approx(number, abs=2e-5)
        assert results[name].item() == pytest.approx(np.mean(values), abs=2e-5)
    assert results["num_units"] == 2


def test_shrout_and_fleiss_example():
    """The published example has four judges and ICC(3,1) = .71; our reference must give it."""
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert icc31(table.astype(float)) == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize("constant", [0.0, 0.1, 5.0])
def test_constants(constant):
    prediction, value, mask, group = sample()
    flat = torch.full_like(value, constant)
    results = filled(flat, value, mask, group).compute()
    assert results["pcc"] == 0
    assert results["icc31"].item() == pytest.approx(0, abs=1e-9)
    results = filled(prediction, flat, mask, group).compute()
    assert results["pcc"].isnan()
    results = filled(flat, flat, mask, group).compute()
    assert results["icc31"].isnan()
    assert results["mae"] == 0


def test_never_annotated_units_leave_the_means():
    prediction, value, mask, group = sample()
    mask[:, 0] = False
    results = filled(prediction, value, mask, group).compute()
    assert results["icc31/AU6"].isnan()
    assert results["mae/AU6"].isnan()
    assert results["mae"] == results["mae/AU12"]
    assert results["num_units"] == 1


@settings(max_examples=30, deadline=None)
@given(junk=st.sampled_from([math.nan, math.inf, 1e30, -3.0]), seed=st.integers(0, 1000))
def test_masked_entries_never_change_a_result(junk, seed):
    prediction, value, mask, group = sample(30, seed)
    dirty = filled(prediction.masked_fill(~mask, junk), value.masked_fill(~mask, junk), mask, group)
    assert torch.equal(dirty.sums, filled(prediction, value, mask, group).sums)


def test_the_order_of_summation_never_matters():
    prediction, value, mask, group = sample()
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))
    whole, shuffled = filled(), IntensityMetrics(LABELS, 5)
    for part in order.chunk(7):
        shuffled.update(prediction[part], value[part], mask[part], group[part])
    assert torch.equal(whole.sums, shuffled.sums)


def test_frames_and_invalid_rows():
    prediction, value, mask, group = sample()
    metric = IntensityMetrics(LABELS, 5)
    valid = torch.arange(50) < 30
    metric.update(*(x.view(50, 3, 2) for x in (prediction, value, mask)), group[:50], valid)
    reference = filled(prediction[:90], value[:90], mask[:90], group[:30].repeat_interleave(3))
    assert torch.equal(metric.sums, reference.sums)


def test_faults_are_refused():
    prediction, value, mask, group = sample()
    for bad in (math.nan, 10.5, -11.0):
        with pytest.raises(ValueError, match="range"):
            filled(prediction.masked_fill(mask, bad), value, mask, group)
    with pytest.raises(ValueError, match="1 labels"):
        filled(prediction[:, :1], value[:, :1], mask[:, :1], group)


def test_intervals_contain_the_value():
    for name, (value, low, high) in estimate(filled().tally()).items():
        assert low <= value <= high, name
