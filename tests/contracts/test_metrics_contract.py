"""What every metric promises, whichever it is."""

from __future__ import annotations

import pytest
import torch

from affectkit import metrics
from affectkit.metrics import (
    AUMetrics,
    DimensionMetrics,
    ExpressionMetrics,
    IntensityMetrics,
    LevelMetrics,
    estimate,
)
from affectkit.metrics.base import ThresholdedMetric

LABELS = ("a", "b", "c")
CASES = [AUMetrics, ExpressionMetrics, IntensityMetrics, LevelMetrics, DimensionMetrics]


def batch(kind, rows: int = 60, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    probs = torch.rand(rows, 3, generator=rng)
    group = torch.randint(0, 4, (rows,), generator=rng)
    if kind in (ExpressionMetrics, LevelMetrics):
        value = torch.randint(0, 3, (rows,), generator=rng)
    else:
        value = torch.randint(0, 2, (rows, 3), generator=rng).float()
    mask = torch.rand(value.shape, generator=rng) < 0.8
    return probs, value, mask, group


def test_every_registered_metric_is_covered():
    assert set(metrics.list_metrics().values()) == set(CASES)


@pytest.mark.parametrize("kind", CASES)
def test_what_a_metric_says_of_its_results(kind):
    metric = kind(LABELS, 4)
    metric.update(*batch(kind))
    results = metric.compute()
    assert {*kind.logged, *kind.baselines, *kind.thresholded, kind.monitor} <= results.keys()
    assert kind.monitor in kind.baselines.keys() & set(kind.logged)
    assert {x for x in kind.baselines.values() if isinstance(x, str)} <= results.keys()
    assert bool(kind.thresholded) == issubclass(kind, ThresholdedMetric)


@pytest.mark.parametrize("kind", CASES)
class TestMetric:
    def test_states_are_integer_sums_of_fixed_size(self, kind):
        metric = kind(LABELS, 4)
        shapes = {name: state.shape for name, state in metric.metric_state.items()}
        metric.update(*batch(kind))
        for name, state in metric.metric_state.items():
            assert state.dtype == torch.int64
            assert state.shape == shapes[name]
            assert metric._reductions[name].__name__ == "dim_zero_sum"

    def test_ranks_add_up_exactly_an_empty_one_included(self, kind):
        whole, left, right, empty = (kind(LABELS, 4) for _ in range(4))
        data = batch(kind)
        whole.update(*data)
        left.update(*(x[:17] for x in data))
        right.update(*(x[17:] for x in data))
        ranks = [left, right, empty]
        merged = kind(LABELS, 4)
        for name in merged.metric_state:
            setattr(merged, name, sum(getattr(rank, name) for rank in ranks))
        assert merged.compute().keys() == empty.compute().keys()
        for name, value in whole.compute().items():
            assert torch.equal(merged.compute()[name], value) or value.isnan()
        assert estimate(merged.tally()) == estimate(whole.tally())

    def test_an_empty_batch_changes_nothing(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*(x[:0] for x in batch(kind)))
        probs, value, mask, group = batch(kind)
        metric.update(probs, value, torch.zeros_like(mask), group)
        assert not any(state.any() for state in metric.metric_state.values())

    def test_labels_and_reset(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*batch(kind))
        assert metric.labels == LABELS
        metric.reset()
        assert not any(state.any() for state in metric.metric_state.values())

    def test_states_survive_inference_mode_and_need_no_gradient(self, kind):
        metric = kind(LABELS, 4)
        probs, *rest = batch(kind)
        metric.update(probs.requires_grad_(), *rest)
        with torch.inference_mode():
            metric.update(*batch(kind))
            assert metric.compute()
        assert not any(value.requires_grad for value in metric.compute().values())

    def test_results_are_float64_scalars(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*batch(kind))
        for value in metric.compute().values():
            assert value.shape == ()
            assert value.dtype == torch.float64
