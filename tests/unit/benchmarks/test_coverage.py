import importlib.util
from pathlib import Path

import pytest
import torch

from affectkit.metrics import estimate


@pytest.fixture
def study(monkeypatch):
    path = Path(__file__).parents[3] / "benchmarks" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POPULATION", 3000)
    return module


def test_few_subjects_have_intervals_wide_enough(study):
    found = study.coverage((8,), "", False, 60)
    for column in ("F1", "AUC", "accuracy", "mean F1", "UAR"):
        name = study.COLUMNS[column]
        assert found["ours"][name][0] >= 0.88, column
        assert found["ours"][name][1] > 1.2 * found["percentile bootstrap"][name][1]
    assert found["percentile bootstrap"]["auc/common"][0] < 0.85


def test_folds_have_intervals_of_their_own(study):
    for reduction in ("mean", "pooled"):
        found = study.coverage((6, 6, 6), reduction, True, 30)
        assert list(found) == ["ours"]
        assert found["ours"]["f1_pos/common"][0] >= 0.85


def test_the_bootstrap_beside_them_is_one_of_the_same_subjects(study):
    """Its mean is the point estimate, and its spread that of the jackknife, for a result that is a mean."""
    rng = torch.Generator().manual_seed(0)
    data = study.draw(rng, 40, False)
    tallies = study.count(data)
    low, high = study.percentiles(data, tallies, rng)["acc/common"]
    value, ours_low, ours_high = estimate(tallies[0])["acc/common"]
    assert (low + high) / 2 == pytest.approx(value, abs=0.01)
    assert high - low == pytest.approx(ours_high - ours_low, rel=0.2)
    assert study.percentiles(data, tallies, rng)["auc/common"][0] < estimate(tallies[0])["auc/common"].value
