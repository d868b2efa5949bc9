"""Dimensions against Lin's definition and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from affectkit.facs import label_space
from affectkit.metrics import DimensionMetrics, estimate, metric_of

LABELS = ["valence", "arousal"]


def concordance(x, y):
    """Lin's coefficient from its definition."""
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return 2 * ((x - x.mean()) * (y - y.mean())).mean() / spread


def sample(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.uniform(-1, 1, (rows, 2))
    x = np.clip(0.6 * y + rng.normal(0.1, 0.3, (rows, 2)), -1, 1)
    return x, y, rng.random((rows, 2)) < 0.8, rng.integers(0, 5, rows)


def counted(x, y, mask, group, **options):
    metric = DimensionMetrics(LABELS, 5, **options)
    metric.update(*(torch.tensor(z) for z in (x, y, mask, group)))
    return metric


def test_values_are_those_of_the_definitions():
    x, y, mask, group = sample()
    found = counted(x, y, mask, group).compute()
    for d, label in enumerate(LABELS):
        a, b = x[mask[:, d], d], y[mask[:, d], d]
        assert found[f"ccc/{label}"].item() == pytest.approx(concordance(a, b), abs=1e-5)
        assert found[f"pcc/{label}"].item() == pytest.approx(pearsonr(a, b).statistic, abs=1e-5)
        assert found[f"rmse/{label}"].item() == pytest.approx(np.sqrt(((a - b) ** 2).mean()), abs=1e-5)
        assert found[f"rmse_mean/{label}"].item() == pytest.approx(b.std(), abs=1e-5)
        assert found[f"annotated/{label}"] == mask[:, d].sum()
    assert found["ccc"] == (found["ccc/valence"] + found["ccc/arousal"]) / 2
    assert found["num_dimensions"] == 2


def test_another_range_scales_the_error_alone():
    x, y, mask, group = sample()
    near = counted(x, y, mask, group).compute()
    far = metric_of(label_space("dimensions[0,9]:valence,arousal"), 5)
    far.update(*(torch.tensor(z) for z in (4.5 * x + 4.5, 4.5 * y + 4.5, mask, group)))
    for name, value in far.compute().items():
        factor = 4.5 if name.startswith("rmse") else 1
        assert value.item() == pytest.approx(factor * near[name].item(), abs=5e-5)


def test_intervals_are_over_subjects():
    x, y, mask, group = sample()
    tally = counted(x, y, mask, group).tally()
    without = tally.without_each()
    for g in range(5):
        rows = group != g
        each = [concordance(x[rows][mask[rows][:, d], d], y[rows][mask[rows][:, d], d]) for d in (0, 1)]
        assert without["ccc"][g].item() == pytest.approx(np.mean(each), abs=1e-5)
    found = estimate(tally)
    for name, low, high in (("ccc", -1, 1), ("pcc/valence", -1, 1), ("rmse", 0, math.inf)):
        assert low <= found[name].low < found[name].value < found[name].high <= high


@pytest.mark.parametrize(
    ("x", "y", "ccc", "pcc"),
    [
        ([0.5, 0.5], [0.5, 0.5], math.nan, math.nan),
        ([0.5, 0.5], [0.0, 1.0], 0.0, 0.0),
        ([0.0, 1.0], [0.5, 0.5], 0.0, math.nan),
        ([0.5, 0.5], [0.0, 0.0], 0.0, math.nan),
        ([0.0, 1.0], [1.0, 0.0], -1.0, -1.0),
    ],
)
def test_what_does_not_vary(x, y, ccc, pcc):
    metric = DimensionMetrics(["valence"], 1)
    pair = (torch.tensor(z)[:, None] for z in (x, y))
    metric.update(*pair, torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, dtype=torch.int64))
    found = metric.compute()
    assert found["ccc"].item() == pytest.approx(ccc, nan_ok=True)
    assert found["pcc"].item() == pytest.approx(pcc, nan_ok=True)


def test_dimensions_without_annotations_are_left_out():
    x, y, mask, group = sample()
    mask[:, 1] = False
    y[:, 1] = np.nan
    found = counted(x, y, mask, group).compute()
    assert found["ccc"] == found["ccc/valence"]
    assert found["rmse/arousal"].isnan()
    assert found["num_dimensions"] == 1


def test_wrong_input_is_refused():
    x, y, mask, group = sample(4)
    for value in (np.nan, 9.0):
        bad = x.copy()
        bad[mask] = value
        with pytest.raises(ValueError, match="range"):
            counted(bad, y, mask, group)
    with pytest.raises(ValueError, match="1 labels but the metric has 2"):
        counted(x[:, :1], y[:, :1], mask[:, :1], group)
