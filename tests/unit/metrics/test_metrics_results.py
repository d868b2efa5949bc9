"""Numbers never travel without protocol, threshold rule, baseline and interval."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from affectkit.errors import ConfigError
from affectkit.metrics import (
    AUMetrics,
    DimensionMetrics,
    Estimate,
    IntensityMetrics,
    LevelMetrics,
    as_text,
    collect_results,
)

ESTIMATES = {
    "f1_pos": Estimate(0.81, 0.7, 0.9),
    "auc": Estimate(0.9, math.nan, math.nan),
    "f1_all_positive": Estimate(0.4, 0.3, 0.5),
    "f1_pos/AU12": Estimate(math.nan, math.nan, math.nan),
    "f1_all_positive/AU12": Estimate(0.2, 0.1, 0.3),
    "support/AU12": Estimate(12, 3, 20),
    "recall/anger": Estimate(0.2, 0.1, 0.3),
}


def collect(**kwargs):
    return collect_results(ESTIMATES, "au", AUMetrics, protocol="held-out subjects", **kwargs)


def test_only_means_by_default_each_with_its_baseline():
    f1, auc = collect()
    assert f1.to_dict() == {
        "name": "au/f1_pos",
        "value": 0.81,
        "ci": [0.7, 0.9],
        "ci_level": 0.95,
        "ci_over": "subjects",
        "baseline": 0.4,
        "beats_baseline": True,
        "threshold_rule": "fixed",
        "protocol": "held-out subjects",
    }
    assert (auc.baseline, auc.threshold_rule) == (0.5, None)


def test_single_units_take_the_baseline_of_the_unit_and_json_stays_valid():
    results = collect(per_label=True, threshold_rule="val")
    assert [r.name for r in results] == ["au/f1_pos", "au/auc", "au/f1_pos/AU12"]
    unit = json.loads(json.dumps(results[-1].to_dict(), allow_nan=False))
    assert unit["value"] is None
    assert unit["baseline"] == 0.2


def test_the_oracle_is_labelled_wherever_it_is_printed():
    results = collect(threshold_rule="oracle", resampled="clips", level=0.9)
    text = as_text(results, "Test", width=160)
    row = next(line for line in text.splitlines() if "au/f1_pos" in line)
    for part in ("0.810", "0.700 – 0.900", "0.400", "ORACLE: fitted on test"):
        assert part in row
    assert "NOT BETTER" not in text
    assert "– – –" in next(line for line in text.splitlines() if "au/auc" in line)
    assert text.splitlines()[0] == "Test: held-out subjects; 90 % intervals over clips"


def test_the_protocol_is_printed_once_for_its_rows():
    results = [*collect(), replace(collect()[0], protocol="all folds")]
    text = as_text(results)
    assert text.count("held-out subjects") == text.count("all folds") == 1
    assert text.count("au/f1_pos") == 2


@pytest.mark.parametrize(
    ("metric", "name", "value", "better"),
    [
        (AUMetrics, "f1_pos", 0.41, True),
        (AUMetrics, "f1_pos", 0.4, False),
        (AUMetrics, "f1_pos", math.nan, None),
        (IntensityMetrics, "mae", 0.39, True),  # an error
        (IntensityMetrics, "mae", 0.41, False),
        (DimensionMetrics, "rmse", 0.41, False),
        (LevelMetrics, "mae", 0.41, False),
        (LevelMetrics, "acc", 0.41, True),
    ],
)
def test_a_result_no_better_than_its_baseline_says_so(metric, name, value, better):
    estimates = {name: Estimate(value, 0.0, 1.0), str(metric.baselines[name]): Estimate(0.4, 0.3, 0.5)}
    (result,) = collect_results(estimates, "x", metric, protocol="p")
    assert result.beats_baseline is better
    assert result.to_dict()["beats_baseline"] is better
    assert ("NOT BETTER than the baseline" in as_text([result])) == (better is False)


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match="best"):
        collect(threshold_rule="best")
