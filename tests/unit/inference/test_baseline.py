"""Person baselines: what is subtracted from whom, and what is said about it."""

import math

import numpy as np
import pandas as pd
import pytest

from affectkit.errors import ConfigError
from affectkit.inference import Baseline, Row, RunningBaseline, TableWriter, read_table, subtract_baseline

HEADS = {
    "au": {"columns": ["AU04", "AU12L"], "values": "probability", "thresholds": {"AU04": 0.5, "AU12L": 0.2}},
    "i": {"columns": ["AU04_i"], "values": "intensity 0-5", "thresholds": {}},
    "mood": {"columns": ["happiness"], "values": "probability", "thresholds": {}},
}


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def table(**columns):
    count = len(next(iter(columns.values())))
    frame = pd.DataFrame({"frame": range(count), "face": [0] * count, **columns})
    frame.attrs["affectkit"] = {"model": "m", "heads": HEADS}
    return frame


def test_intensities_lose_the_median_of_the_calmest_frames_up_to_a_bound():
    given = table(AU04_i=[0.5, 0.6, 0.7, 3.0, 4.0, 4.0], AU12_i=[1.0] * 6)
    found = subtract_baseline(given, Baseline(quantile=0.5, least=6))
    assert found["AU04_i"].tolist() == pytest.approx([0.0, 0.0, 0.1, 2.4, 3.4, 3.4])
    assert found["AU12_i"].tolist() == [1.0] * 6  # of no head
    assert given["AU04_i"].tolist()[0] == 0.5  # a copy
    about = found.attrs["affectkit"]
    assert about["baselines"] == {"0": {"AU04_i": pytest.approx(0.6)}}
    assert about["baseline"] == {
        "quantile": 0.5, "most_intensity": 2.0, "most_logit": 3.0, "least": 6, "is_causal": False, "by": ["face"],
    }  # fmt: skip
    assert "baseline" not in given.attrs["affectkit"]
    expressive = subtract_baseline(table(AU04_i=[3.0, 4.0, 5.0]), Baseline(least=1))
    assert expressive["AU04_i"].tolist() == [1.0, 2.0, 3.0]


def test_probabilities_move_on_the_scale_of_logits_and_only_if_they_are_high_at_rest():
    low = table(AU04=[0.02, 0.1, 0.9])
    assert subtract_baseline(low, Baseline(least=1))["AU04"].tolist() == [0.02, 0.1, 0.9]
    given = table(AU04=[0.4, 0.4, 0.9], AU12L=[0.3, 0.3, 0.8], happiness=[0.5, 0.5, 0.5])
    found = subtract_baseline(given, Baseline(quantile=0.0, least=1))
    amount = logit(0.4) - (logit(0.5) - 2)
    assert found["AU04"].tolist() == pytest.approx(sigmoid(logit([0.4, 0.4, 0.9]) - amount).tolist())
    amount = logit(0.3) - (logit(0.2) - 2)
    assert found["AU12L"].tolist() == pytest.approx(sigmoid(logit([0.3, 0.3, 0.8]) - amount).tolist())
    assert found["happiness"].tolist() == [0.5] * 3
    whole = subtract_baseline(table(AU04=[0.97, 0.98, 0.99]), Baseline(least=1))["AU04"]
    assert whole.tolist() == pytest.approx(sigmoid(logit([0.97, 0.98, 0.99]) - 3).tolist())
    assert whole.min() > 0.5  # a frown in every frame stays one


def test_all_values_are_those_of_the_same_calm_frames():
    heads = {"i": {"columns": ["AU02_i", "AU12_i", "AU25_i"], "values": "intensity 0-5", "thresholds": {}}}
    given = table(AU02_i=[1.5] * 2 + [0.5] * 8, AU12_i=[0.0] * 2 + [4.0] * 8, AU25_i=[0.0] * 2 + [4.0] * 8)
    given.attrs["affectkit"]["heads"] = heads
    found = subtract_baseline(given, Baseline(quantile=0.2, least=10))
    assert found["AU02_i"].tolist() == [0.0] * 10  # high brows at rest, which the smile lowers
    assert found["AU12_i"].tolist() == [0.0] * 2 + [4.0] * 8


def test_failed_frames_have_no_part_and_stay_as_they_are():
    given = table(AU04_i=[1.0, 1.0, 0.0, math.nan], success=[1, 1, 0, 0])
    found = subtract_baseline(given, Baseline(least=2))["AU04_i"]
    assert found.tolist()[:2] == [0.0, 0.0]
    assert math.isnan(found[3])


def test_people_have_their_own_and_few_frames_have_none():
    given = table(AU04_i=[0.5, 0.5, 0.9, 0.9, 0.7]).assign(face=[0, 0, 1, 1, 2], clip=list("aaaab"))
    found = subtract_baseline(given, Baseline(least=2))
    assert found["AU04_i"].tolist() == [0.0, 0.0, 0.0, 0.0, 0.7]
    assert found.attrs["affectkit"]["baselines"] == {"0": {"AU04_i": 0.5}, "1": {"AU04_i": 0.9}, "2": {}}
    both = subtract_baseline(given, Baseline(least=1), by=["clip", "face"])
    assert list(both.attrs["affectkit"]["baselines"]) == ["a, 0", "a, 1", "b, 2"]
    everybody = subtract_baseline(given, Baseline(least=5, quantile=0.0), by="nobody")["AU04_i"]
    assert everybody.tolist() == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.2])
    nobody = given.assign(face=pd.array([0, 0, None, None, None], dtype="Int64"))
    assert subtract_baseline(nobody, Baseline(least=3))["AU04_i"].tolist()[:2] == [0.5, 0.5]


def test_a_neutral_span_replaces_the_quantile_and_has_no_bound():
    given = table(AU04_i=[3.0, 2.0, 2.5, 4.0]).assign(timestamp=[0.0, 1.0, 2.0, 3.0])
    found = subtract_baseline(given, Baseline.parse("1-2"))
    assert found["AU04_i"].tolist() == pytest.approx([0.75, 0.0, 0.25, 1.75])
    assert found.attrs["affectkit"]["baseline"] == {"neutral_seconds": [1.0, 2.0], "by": ["face"]}
    absent = subtract_baseline(given, Baseline(neutral=(8.0, 9.0)))
    assert absent["AU04_i"].tolist() == given["AU04_i"].tolist()
    assert absent.attrs["affectkit"]["baselines"] == {"0": {}}


def test_tables_without_heads_and_openface_columns():
    given = pd.DataFrame({"AU04_r": [1.0, 2.0], "AU04_c": [1.0, 1.0]})
    found = subtract_baseline(given, Baseline(least=1, quantile=0.0))
    assert found["AU04_r"].tolist() == [0.0, 1.0]
    assert found["AU04_c"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantile": 1.5}, r"quantile 1\.5"),
        ({"least": 0}, "least 0"),
        ({"most_logit": -1.0}, r"bounds 2\.0 and -1\.0"),
        ({"neutral": (2.0, 1.0)}, "span 2-1"),
        ({"neutral": (0.0, 1.0), "is_causal": True}, "not causal"),
    ],
)
def test_what_is_no_baseline_is_said(options, message):
    with pytest.raises(ConfigError, match=message):
        Baseline(**options)


def test_what_cannot_be_subtracted_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no action units"):
        subtract_baseline(pd.DataFrame({"happiness": [0.1]}))
    with pytest.raises(ConfigError, match="already"):
        subtract_baseline(subtract_baseline(table(AU04_i=[1.0])))
    with pytest.raises(ConfigError, match="no causal"):
        subtract_baseline(table(AU04_i=[1.0]), Baseline(is_causal=True))
    with pytest.raises(ConfigError, match=r"no neutral photo 'nobody\.png'"):
        Baseline.parse("nobody.png")
    (tmp_path / "face.png").touch()
    assert Baseline.parse(str(tmp_path / "face.png")).neutral == tmp_path / "face.png"


def rows(values, start=0):
    return [
        Row(k, k / 25, not math.isnan(x), {"AU04": 0.4, "AU12L": 0.01, "AU04_i": x, "happiness": 0.5}, face=0)
        for k, x in enumerate(values, start)
    ]


def test_a_running_baseline_knows_the_past_only():
    values = [0.5, 0.9, math.nan, 0.3, 2.0]
    running = RunningBaseline(HEADS, Baseline(least=2, quantile=0.0))
    found = list(running(rows(values)))
    assert [row.values["AU04_i"] for row in found[:2]] == pytest.approx([0.5, 0.4])
    assert not found[2].success
    assert found[2].baseline is None
    assert [row.values["AU04_i"] for row in found[3:]] == pytest.approx([0.0, 1.7])
    assert found[0].baseline == {}
    assert found[4].baseline == {
        "AU04": pytest.approx(logit(0.4) + 2, abs=0.05),
        "AU04_i": pytest.approx(0.3),
    }
    shorter = list(RunningBaseline(HEADS, Baseline(least=2, quantile=0.0))(rows(values[:4])))
    assert [row.values for row in shorter[3:]] == [row.values for row in found[3:4]]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables_with_running_and_other_baselines(tmp_path, suffix):
    values = np.random.default_rng(0).uniform(0.2, 3, 300).tolist()
    columns, given = ["AU04", "AU12L", "AU04_i", "happiness"], rows(values)
    found = {}
    for is_causal in (False, True):
        baseline = Baseline(is_causal=is_causal)
        path = tmp_path / f"{is_causal}.{suffix}"
        with TableWriter(path, columns, {"heads": HEADS, "baseline": baseline.metadata()}) as writer:
            for row in given:
                writer.write(row)
        found[is_causal] = read_table(path)
    calm, low = np.median(np.sort(values)[:30]), np.quantile(values, 0.1)
    wanted = np.maximum(np.array(values) - calm, 0)
    assert found[False]["AU04_i"].to_numpy() == pytest.approx(wanted, abs=2e-6)
    assert found[False].attrs["affectkit"]["baselines"]["0"]["AU04_i"] == pytest.approx(calm, abs=1e-6)
    running = [row.values["AU04_i"] for row in RunningBaseline(HEADS)(given)]
    assert found[True]["AU04_i"].to_numpy() == pytest.approx(running, abs=1e-6)
    assert running[:29] == values[:29]
    assert found[True].attrs["affectkit"]["baselines"]["0"]["AU04_i"] == pytest.approx(low, abs=0.06)
