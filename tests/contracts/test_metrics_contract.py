"""What every metric promises, whichever it is."""

from __future__ import annotations

import inspect

import pytest
import torch

from affectkit import metrics
from affectkit.metrics import AUMetrics, ExpressionMetrics, IntensityMetrics, estimate
from affectkit.metrics.base import GroupedMetric

LABELS = ("a", "b", "c")
CASES = [AUMetrics, ExpressionMetrics, IntensityMetrics]


def batch(kind, rows: int = 60, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    probs = torch.rand(rows, 3, generator=rng)
    group = torch.randint(0, 4, (rows,), generator=rng)
    if kind is ExpressionMetrics:
        value = torch.randint(0, 3, (rows,), generator=rng)
    else:
        value = torch.randint(0, 2, (rows, 3), generator=rng).float()
    mask = torch.rand(value.shape, generator=rng) < 0.8
    return probs, value, mask, group


def has_counts(state):
    """Whether anything was summed, or kept."""
    return any(len(part) for part in state) if isinstance(state, list) else bool(state.any())


def test_every_public_metric_is_covered():
    public = {getattr(metrics, name) for name in metrics.__all__}
    assert {x for x in public if inspect.isclass(x) and issubclass(x, GroupedMetric)} == set(CASES)


@pytest.mark.parametrize("kind", CASES)
class TestMetric:
    def test_states_are_integers_that_add_up_or_join(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*batch(kind))
        for name, state in metric.metric_state.items():
            joined = isinstance(state, list)
            assert all(part.dtype == torch.int64 for part in (state if joined else [state]))
            assert metric._reductions[name].__name__ == ("dim_zero_cat" if joined else "dim_zero_sum")

    def test_ranks_add_up_exactly_an_empty_one_included(self, kind):
        whole, left, right, empty = (kind(LABELS, 4) for _ in range(4))
        data = batch(kind)
        whole.update(*data)
        left.update(*(x[:17] for x in data))
        right.update(*(x[17:] for x in data))
        merged = kind(LABELS, 4)
        for name in merged.metric_state:
            first, *others = (getattr(rank, name) for rank in (right, empty, left))
            setattr(merged, name, sum(others, start=first))  # lists are joined, tensors added
        assert merged.compute().keys() == empty.compute().keys()
        for name, value in whole.compute().items():
            assert torch.equal(merged.compute()[name], value) or value.isnan()
        assert estimate(merged.tally()) == estimate(whole.tally())

    def test_an_empty_batch_changes_nothing(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*(x[:0] for x in batch(kind)))
        probs, value, mask, group = batch(kind)
        metric.update(probs, value, torch.zeros_like(mask), group)
        assert not any(has_counts(state) for state in metric.metric_state.values())

    def test_labels_and_reset(self, kind):
        metric = kind(LABELS, 4)
        metric.update(*batch(kind))
        assert metric.labels == LABELS
        metric.reset()
        assert not any(has_counts(state) for state in metric.metric_state.values())

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
