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
    logits = torch.randn(rows, units, generator=rng) * spread + 1.5 * value + shift
    mask = torch.rand(rows, units, generator=rng) < 0.8
    group = torch.randint(0, 7, (rows,), generator=rng)
    return logits, value, mask, group


def filled(labels=LABELS, num_groups=7, **kwargs) -> AUMetrics:
    metric = AUMetrics(labels, num_groups)
    metric.update(*sample(units=len(labels), **kwargs))
    return metric


@pytest.mark.parametrize("thresholds", [0.5, [0.2, 0.31, 0.75]])
def test_equals_scikit_learn(thresholds):
    logits, value, mask, _ = sample()
    results = filled().compute(thresholds)
    t = np.broadcast_to(thresholds, 3)
    expected = {"f1_pos": [], "f1_macro2": [], "acc": [], "auc": [], "f1_all_positive": []}
    for a, label in enumerate(LABELS):
        y, z = value[mask[:, a], a].numpy(), logits[mask[:, a], a].numpy()
        guess = 1 / (1 + np.exp(-z)) >= t[a]
        expected["f1_pos"].append(f1_score(y, guess))
        expected["f1_macro2"].append(f1_score(y, guess, average="macro"))
        expected["acc"].append(accuracy_score(y, guess))
        expected["auc"].append(roc_auc_score(y, z))
        expected["f1_all_positive"].append(f1_score(y, np.ones_like(y)))
        assert results[f"support/{label}"] == y.sum()
        assert results[f"annotated/{label}"] == len(y)
        majority = np.full_like(y, y.mean() > 0.5)
        assert results[f"acc_majority/{label}"].item() == pytest.approx(accuracy_score(y, majority))
        assert results[f"f1_macro2_majority/{label}"].item() == pytest.approx(
            f1_score(y, majority, average="macro", labels=[0, 1], zero_division=0)
        )
    for name, values in expected.items():
        for label, wanted in zip(LABELS, values, strict=True):
            assert results[f"{name}/{label}"].item() == pytest.approx(wanted, abs=1e-12)
        assert results[name].item() == pytest.approx(np.mean(values), abs=1e-12)
    assert results["num_units"] == 3


@pytest.mark.parametrize("shift", [-40.0, -18.0, -4.0, 0.0, 6.0, 18.0, 90.0])
@pytest.mark.parametrize("spread", [2e-3, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_its_leave_one_out_values_are_exact_on_any_scale(shift, spread, ties):
    logits, value, mask, group = sample(200, 1, seed=3)
    z = shift + spread * (logits.round() if ties else logits)  # ties within groups and between them
    metric = AUMetrics(["AU9"], 7)
    metric.update(z, value, mask, group)
    scores, truth, person = (x[mask[:, 0]].numpy() for x in (z[:, 0], value[:, 0], group))
    assert (len(np.unique(scores)) < 20) == ties
    assert metric.compute()["auc"].item() == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    without = [roc_auc_score(truth[person != g], scores[person != g]) for g in range(7)]
    assert metric.tally().without_each()["auc/AU9"].tolist() == pytest.approx(without, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([-math.inf, -1e30, -2.5, -0.0, 0.0, 1e-38, 1.0, 7.0, math.inf]),
            st.booleans(),
            st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_areas_equal_a_loop_over_pairs(rows):
    def area(kept):
        pairs = [(p, n) for p, shown, _ in kept if shown for n, also, _ in kept if not also]
        return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs) if pairs else math.nan

    metric = AUMetrics(["AU1"], 5)
    z, value, group = (torch.tensor([row[i] for row in rows]) for i in range(3))
    column = torch.ones(len(rows), 1, dtype=torch.bool)
    metric.update(z.float()[:, None], value.float()[:, None], column, group.long())
    wanted = [area([row for row in rows if row[2] != g]) for g in range(5)]
    ranking = metric.tally().ranking
    assert ranking.areas_without_each()[:, 0].tolist() == pytest.approx(wanted, nan_ok=True)
    assert ranking.areas().tolist() == pytest.approx([area(rows)], nan_ok=True)
    some = [row for row in rows if row[2] in (3, 1)]
    assert ranking.only([3, 1]).areas().tolist() == pytest.approx([area(some)], nan_ok=True)


def test_thresholds_compare_probabilities_as_prediction_does():
    """Any threshold, also one between probabilities that differ by their last bit."""
    z = torch.linspace(-6, 6, 1201)[:, None]
    p = z.double().sigmoid().float()
    metric = AUMetrics(["AU1"], 1)
    metric.update(z, (z > 0).float(), torch.ones_like(z, dtype=torch.bool), torch.zeros(1201).long())
    for threshold in (0.0, 0.25, p[400].item(), torch.nextafter(p[400], p[401]).item(), 0.5, 0.9, 1.0):
        guess = (p >= threshold).numpy()
        assert metric.compute(threshold)["acc"].item() == accuracy_score(z.numpy() > 0, guess)
    assert metric.compute([0.29])["f1_pos"] == metric.compute(0.29)["f1_pos"]


def test_half_precision_is_compared_as_float32():
    metric = AUMetrics(["AU1"], 1)
    logits = torch.tensor([[0.0], [-1.0]], dtype=torch.bfloat16)
    metric.update(logits, torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2).long())
    assert metric.compute(0.5)["acc"] == 0.5
    assert metric.compute(0.25)["acc"] == 1.0


def test_frames_count_like_rows():
    logits, value, mask, group = sample(120)
    by_frame = AUMetrics(LABELS, 7)
    clip_group = group[:40]
    by_frame.update(*(x.view(40, 3, 3) for x in (logits, value, mask)), clip_group)
    by_row = AUMetrics(LABELS, 7)
    by_row.update(logits, value, mask, clip_group.repeat_interleave(3))
    assert torch.equal(by_frame.entries[0], by_row.entries[0])


@settings(max_examples=30, deadline=None)
@given(
    junk=st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 0.5, -3.0, 1e30]),
    label=st.sampled_from([math.nan, 0.0, 1.0, 9.0, 999.0]),
    seed=st.integers(0, 1000),
)
def test_masked_entries_never_change_a_result(junk, label, seed):
    logits, value, mask, group = sample(40, seed=seed)
    clean, dirty = AUMetrics(LABELS, 7), AUMetrics(LABELS, 7)
    clean.update(logits, value, mask, group)
    dirty.update(logits.masked_fill(~mask, junk), value.masked_fill(~mask, label), mask, group)
    assert torch.equal(clean.entries[0], dirty.entries[0])


def test_invalid_rows_are_ignored_even_with_impossible_groups():
    logits, value, mask, group = sample(40)
    valid = torch.arange(40) < 25
    metric = AUMetrics(LABELS, 7)
    group = group.masked_fill(~valid, -1)
    metric.update(logits.masked_fill(~valid[:, None], math.nan), value, mask, group, valid)
    reference = AUMetrics(LABELS, 7)
    reference.update(logits[:25], value[:25], mask[:25], group[:25])
    assert torch.equal(metric.entries[0], reference.entries[0])


def test_soft_labels_count_by_their_likelier_class():
    metric = AUMetrics(["AU1"], 1)
    value = torch.tensor([[0.5], [0.49], [1.0], [0.0]])
    metric.update(torch.full((4, 1), 0.9), value, torch.ones(4, 1, dtype=torch.bool), torch.zeros(4).long())
    assert metric.compute()["support/AU1"] == 2


def test_never_annotated_units_leave_the_mean_and_units_without_positives_do_not():
    logits, value, mask, group = sample()
    mask[:, 0] = False
    value[:, 1] = 0
    metric = AUMetrics(LABELS, 7)
    metric.update(logits, value, mask, group)
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


@pytest.mark.parametrize("shift", [-30.0, -14.0, -5.0, -2.0, 1.0])
def test_best_thresholds_maximise_f1(shift):
    """Also of a rare unit, all of whose probabilities are tiny; no cut between two probabilities is better."""
    logits, value, mask, group = sample(200, shift=shift, spread=0.7)
    metric = AUMetrics(LABELS, 7)
    metric.update(logits, value, mask, group)
    best = metric.best_thresholds()
    assert list(best) == list(LABELS)
    assert all(type(threshold) is float for threshold in best.values())
    reached = metric.compute(best)
    for a, label in enumerate(LABELS):
        y, p = value[mask[:, a], a], logits[mask[:, a], a].double().sigmoid().float()
        scores = [f1_score(y, p >= cut) for cut in p.unique()]
        assert reached[f"f1_pos/{label}"].item() == pytest.approx(max(scores), abs=1e-12)
    assert metric.compute(list(best.values()))["f1_pos"] == reached["f1_pos"]


def test_best_threshold_of_a_tie_is_the_nearest_to_one_half():
    metric = AUMetrics(["AU1", "AU2", "AU4", "AU6", "AU7", "AU9"], 1)
    probs = torch.tensor(
        [[0.9, 0.3, 0.4, 0.9], [0.8, 0.2, 0.4, 0.7], [0.1, 0.1, 0.4, 0.6], [0.0, 0.0, 0.4, 0.2]]
    )
    value = torch.tensor(
        [[1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    )
    saturated = torch.tensor([[200.0], [200.0], [-200.0], [-200.0]])
    logits = torch.cat([probs.double().logit().float(), saturated, -saturated], 1)
    value = torch.cat([value, value[:, :1], value[:, :1]], 1)
    metric.update(logits, value, torch.ones(4, 6, dtype=torch.bool), torch.zeros(4).long())
    best = metric.best_thresholds()
    # AU2: halfway between 0.1 and 0.2. AU6: as good above 0 and above 0.7. AU9, always wrong: all are found.
    wanted = {"AU1": 0.5, "AU2": 0.15, "AU4": 0.5, "AU6": 0.8, "AU7": 0.5, "AU9": 0.0}
    assert best == pytest.approx(wanted, abs=1e-6)
    assert AUMetrics(["AU1"], 1).best_thresholds() == {"AU1": 0.5}


def test_a_threshold_lies_between_probabilities_that_differ_by_their_last_bit():
    high = torch.tensor([[0.25]])
    p = torch.cat([torch.nextafter(high, torch.zeros(1)), high])
    z = p.double().logit().float()
    for _ in range(40):  # neighbouring logits until their probabilities are neighbours
        if z[0].double().sigmoid().float() < z[1].double().sigmoid().float():
            break
        z[0] = torch.nextafter(z[0], torch.tensor(-9.0))
    metric = AUMetrics(["AU1"], 1)
    metric.update(z, torch.tensor([[0.0], [1.0]]), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2).long())
    best = metric.best_thresholds()
    assert metric.compute(best)["f1_pos"] == 1.0


def test_a_saved_state_gives_the_same_results_and_can_go_on():
    saved, restored, whole = filled(), AUMetrics(LABELS, 7), filled()
    saved.persistent(True)
    restored.load_state_dict({"entries": torch.cat(saved.state_dict()["entries"])}, strict=True)
    assert restored.best_thresholds() == saved.best_thresholds()
    for name, value in restored.compute().items():
        assert value == saved.compute()[name], name
    restored.load_state_dict({"entries": torch.cat(saved.state_dict()["entries"])}, strict=True)
    for metric in (restored, whole):
        metric.update(*sample(50, seed=1))
    assert restored.compute()["auc"] == whole.compute()["auc"] != saved.compute()["auc"]


def test_results_are_scalars_on_the_metric_and_do_not_follow_a_cache():
    metric = filled()
    low, high = metric.compute(0.1), metric.compute(0.9)
    assert low["f1_pos"] != high["f1_pos"]
    assert all(value.shape == () and value.dtype == torch.float64 for value in low.values())


@pytest.mark.parametrize("thresholds", [1.01, -0.01, math.nan, [0.5, 0.5, 2.0]])
def test_thresholds_outside_their_range_are_refused(thresholds):
    with pytest.raises(ConfigError, match="0–1"):
        filled().compute(thresholds)


def test_thresholds_of_other_units_are_refused():
    with pytest.raises(LabelSpaceError, match="2 thresholds"):
        filled().compute([0.5, 0.5])
    with pytest.raises(LabelSpaceError, match="AU99"):
        filled().compute({"AU99": 0.5})


def test_nan_is_refused_and_infinite_logits_are_certain():
    logits, value, mask, group = sample()
    with pytest.raises(ValueError, match="NaN"):
        AUMetrics(LABELS, 7).update(logits.masked_fill(mask, math.nan), value, mask, group)
    metric = AUMetrics(LABELS, 7)
    metric.update(torch.where(value > 0, math.inf, -math.inf), value, mask, group)
    for threshold in (1e-9, 0.5, 1.0):
        assert metric.compute(threshold)["acc"] == 1.0


def test_wrong_shapes_and_groups_are_refused():
    logits, value, mask, group = sample()
    metric = AUMetrics(LABELS, 7)
    with pytest.raises(ValueError, match="value has the shape"):
        metric.update(logits, value[:, :2], mask, group)
    with pytest.raises(ValueError, match="2 labels"):
        metric.update(logits[:, :2], value[:, :2], mask[:, :2], group)
    with pytest.raises(ValueError, match="one entry a row"):
        metric.update(logits, value, mask, group[:-1])
    with pytest.raises(ValueError, match="one entry a row"):
        metric.update(logits, value, mask, group, torch.ones(2, dtype=torch.bool))
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match="0 … 6"):
            metric.update(logits, value, mask, torch.full_like(group, wrong))


@pytest.mark.parametrize("labels", [(), ("AU1", "AU1")])
def test_labels_must_be_unique(labels):
    with pytest.raises(LabelSpaceError, match="unique"):
        AUMetrics(labels, 1)


def test_groups_must_exist():
    with pytest.raises(ValueError, match="num_groups"):
        AUMetrics(LABELS, 0)
