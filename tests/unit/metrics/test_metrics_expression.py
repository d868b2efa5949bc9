"""ExpressionMetrics against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from affectkit.metrics import ExpressionMetrics

LABELS = ("happiness", "sadness", "anger", "contempt")


def sample(rows: int = 200, seed: int = 0, classes: int = 3):
    """Scores over all four classes, truths among the first `classes`."""
    rng = torch.Generator().manual_seed(seed)
    value = torch.randint(0, classes, (rows,), generator=rng)
    scores = torch.randn(rows, 4, generator=rng)
    scores[torch.arange(rows), value] += 1
    mask = torch.rand(rows, generator=rng) < 0.8
    return scores.softmax(-1), value, mask, torch.randint(0, 5, (rows,), generator=rng)


def filled(**kwargs) -> ExpressionMetrics:
    metric = ExpressionMetrics(LABELS, 5)
    metric.update(*sample(**kwargs))
    return metric


@pytest.mark.parametrize("classes", [3, 4])
def test_equals_scikit_learn(classes):
    probs, value, mask, _ = sample(classes=classes)
    metric = filled(classes=classes)
    results = metric.compute()
    y, guess = value[mask].numpy(), probs[mask].argmax(1).numpy()
    present = list(range(classes))
    assert results["uar"].item() == pytest.approx(recall_score(y, guess, labels=present, average="macro"))
    assert results["war"].item() == pytest.approx(accuracy_score(y, guess))
    assert results["uf1"].item() == pytest.approx(f1_score(y, guess, labels=present, average="macro"))
    np.testing.assert_array_equal(metric.confusion(), confusion_matrix(y, guess, labels=range(4)))
    assert results["num_classes"] == classes
    for i, label in enumerate(LABELS[:classes]):
        wanted = recall_score(y, guess, labels=[i], average=None)[0]
        assert results[f"recall/{label}"].item() == pytest.approx(wanted)
        wanted = f1_score(y, guess, labels=[i], average=None)[0]
        assert results[f"f1/{label}"].item() == pytest.approx(wanted)
        assert results[f"support/{label}"] == (y == i).sum()


def test_majority_baselines_are_those_of_a_constant_prediction():
    _, value, mask, _ = sample()
    y = value[mask].numpy()
    guess = np.full_like(y, np.bincount(y).argmax())
    results = filled().compute()
    assert results["uar_majority"].item() == pytest.approx(1 / 3)
    assert results["war_majority"].item() == pytest.approx(accuracy_score(y, guess))
    wanted = f1_score(y, guess, labels=[0, 1, 2], average="macro", zero_division=0)
    assert results["uf1_majority"].item() == pytest.approx(wanted)


def test_classes_absent_from_the_truth_are_skipped():
    results = filled().compute()
    assert results["recall/contempt"].isnan()
    assert results["f1/contempt"].isnan()
    assert results["support/contempt"] == 0


def test_without_data_nothing_is_defined():
    results = ExpressionMetrics(LABELS, 5).compute()
    assert all(results[name].isnan() for name in ("uar", "war", "uf1", "uar_majority", "war_majority"))


@settings(max_examples=30, deadline=None)
@given(
    junk=st.sampled_from([math.nan, math.inf, -1.0, 1e30]),
    label=st.sampled_from([-1, 4, 9, -100, 2]),
    seed=st.integers(0, 1000),
)
def test_masked_entries_never_change_a_result(junk, label, seed):
    probs, value, mask, group = sample(40, seed)
    dirty = ExpressionMetrics(LABELS, 5)
    dirty.update(probs.masked_fill(~mask[:, None], junk), value.masked_fill(~mask, label), mask, group)
    assert torch.equal(dirty.counts, filled(rows=40, seed=seed).counts)


def test_invalid_rows_are_ignored():
    probs, value, mask, group = sample(40)
    valid = torch.arange(40) < 30
    metric, reference = ExpressionMetrics(LABELS, 5), ExpressionMetrics(LABELS, 5)
    metric.update(probs, value, mask, group, valid)
    reference.update(probs[:30], value[:30], mask[:30], group[:30])
    assert torch.equal(metric.counts, reference.counts)


def test_frames_count_like_rows():
    probs, value, mask, group = sample(40)
    metric, reference = ExpressionMetrics(LABELS, 5), ExpressionMetrics(LABELS, 5)
    metric.update(probs.view(10, 4, 4), value.view(10, 4), mask.view(10, 4), group[:10])
    reference.update(probs, value, mask, group[:10].repeat_interleave(4))
    assert torch.equal(metric.counts, reference.counts)


def test_faults_are_refused():
    probs, value, mask, group = sample()
    metric = ExpressionMetrics(LABELS, 5)
    with pytest.raises(ValueError, match="probs has the shape"):
        metric.update(probs[:, :2], value, mask, group)
    with pytest.raises(ValueError, match="value has the shape"):
        metric.update(probs, value[:3], mask, group)
    with pytest.raises(ValueError, match="NaN"):
        metric.update(probs.masked_fill(mask[:, None], math.nan), value, mask, group)
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match="true class"):
            metric.update(probs, torch.full_like(value, wrong), mask, group)
