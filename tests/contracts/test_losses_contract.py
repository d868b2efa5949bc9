"""What every registered loss must do, whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from affectkit.losses import MaskedLoss, list_losses

LOSSES = {
    "bce": ("occurrence", {}),
    "bce/weighted": (
        "occurrence",
        {"weight": [0.5, 1.0, 1.5], "pos_weight": [1.0, 2.0, 3.0], "smoothing": 0.1},
    ),
    "cross_entropy": ("categories", {}),
    "cross_entropy/weighted": ("categories", {"weight": [0.5, 1.0, 1.5], "label_smoothing": 0.1}),
    "asymmetric": ("occurrence", {"weight": [0.5, 1.0, 1.5]}),
    "asymmetric/unclipped": ("occurrence", {"clip": 0.0, "gamma_pos": 1.0, "gamma_neg": 1.0}),
    "dice": ("occurrence", {}),
    "dice/weighted": ("occurrence", {"weight": [0.5, 1.0, 1.5]}),
    "evidential": ("categories", {"penalty": 0.3}),
    "levels": ("levels", {}),
    "levels/weighted": ("levels", {"weight": [0.5, 1.0, 1.5]}),
    "ordinal": ("intensity", {}),
    "ordinal/weighted": ("intensity", {"weight": [0.5, 1.0, 1.5]}),
}
STATISTICS = {"ccc": ("dimensions", {})}  # of a whole batch


def test_every_registered_loss_is_tested_here():
    assert {key.partition("/")[0] for key in {**LOSSES, **STATISTICS}} == set(list_losses())


def make(key: str) -> MaskedLoss:
    kind, options = {**LOSSES, **STATISTICS}[key]
    loss = list_losses()[key.partition("/")[0]](**options)
    assert loss.kind == kind
    return loss


def data(kind: str, batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if kind == "occurrence":
        value = torch.randint(0, 2, (batch, 3), generator=generator).float()
        return 3 * torch.randn(batch, 3, generator=generator), value
    if kind == "dimensions":
        truth = 2 * torch.rand(batch, 3, generator=generator) - 1
        return truth + torch.randn(batch, 3, generator=generator), truth
    if kind == "levels":
        steps = torch.rand(batch, 2, generator=generator).cumsum(-1)
        return 3 * torch.randn(batch, 1, generator=generator) - steps, torch.randint(
            0, 3, (batch,), generator=generator
        )
    if kind == "categories":
        return 3 * torch.randn(batch, 3, generator=generator), torch.randint(
            0, 3, (batch,), generator=generator
        )
    steps = torch.rand(batch, 3, 5, generator=generator).cumsum(-1)
    return 3 * torch.randn(batch, 3, 1, generator=generator) - steps, 5 * torch.rand(
        batch, 3, generator=generator
    )


def run(loss: MaskedLoss, logits: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    total, count = loss(logits, value, mask)
    total.backward()
    return total.detach(), count, logits.grad


@pytest.mark.parametrize("key", LOSSES)
class TestLoss:
    @settings(deadline=None, max_examples=30)
    @given(
        bits=st.integers(0, 2**12 - 1), junk=st.sampled_from([0.0, 1.0, 1e30, -1e30, np.nan, np.inf, -np.inf])
    )
    def test_missing_entries_change_neither_loss_nor_gradient(self, key, bits, junk):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind)
        mask = (torch.tensor([bits >> i & 1 for i in range(value.numel())]) == 1).reshape(value.shape)
        total, count, gradient = run(loss, logits, value, mask)

        dirty_value = value.clone()
        dirty_value[~mask] = junk if value.is_floating_point() else -100
        dirty_logits = logits.clone()
        dirty_logits[~mask] = junk
        for given_logits, given_value in ((logits, dirty_value), (dirty_logits, dirty_value)):
            again = run(loss, given_logits, given_value, mask)
            assert torch.equal(again[0], total)
            assert torch.equal(again[1], count)
            assert torch.equal(again[2], gradient)
        assert (gradient[~mask] == 0).all()
        assert gradient.isfinite().all()
        assert count == mask.sum()

    def test_the_sum_is_that_of_single_entries(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind)
        mask = torch.ones_like(value, dtype=torch.bool)
        mask[0] = False
        one_by_one = []
        for index in mask.nonzero().tolist():
            single = torch.zeros_like(mask)
            single[tuple(index)] = True
            one_by_one.append(loss(logits, value, single)[0])
        assert torch.allclose(loss(logits, value, mask)[0], torch.stack(one_by_one).sum(), rtol=1e-5)

    def test_nothing_annotated_is_zero_with_zero_gradients(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind)
        total, count, gradient = run(loss, logits, value, torch.zeros_like(value, dtype=torch.bool))
        assert total == 0
        assert count == 0
        assert (gradient == 0).all()

    def test_an_empty_batch_is_zero(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind, batch=0)
        total, count = loss(logits, value, torch.zeros_like(value, dtype=torch.bool))
        assert total == 0
        assert count == 0

    def test_extreme_logits_stay_finite(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind)
        for scale in (100.0, 1e4):
            total, _, gradient = run(loss, scale * logits, value, torch.ones_like(value, dtype=torch.bool))
            assert total.isfinite()
            assert gradient.isfinite().all()

    def test_gradient_equals_finite_differences(self, key):
        loss, kind = make(key).double(), LOSSES[key][0]
        logits, value = data(kind)
        value = value.double() if value.is_floating_point() else value
        mask = torch.ones_like(value, dtype=torch.bool)
        assert torch.autograd.gradcheck(
            lambda x: loss(x, value, mask)[0], logits.double().requires_grad_(), atol=1e-4
        )

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_sums_are_float32_under_autocast(self, key, dtype):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind, batch=1000)
        logits = logits.to(dtype)
        mask = torch.ones_like(value, dtype=torch.bool)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total, count = loss(logits, value, mask)
        assert total.dtype == count.dtype == torch.float32
        assert torch.equal(total, loss(logits.float(), value, mask)[0])

    def test_time_is_just_another_axis(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind, batch=6)
        mask = torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) < 0.5
        flat = loss(logits, value, mask)
        clips = loss(logits.unflatten(0, (2, 3)), value.unflatten(0, (2, 3)), mask.unflatten(0, (2, 3)))
        assert torch.allclose(flat[0], clips[0], rtol=1e-5)
        assert flat[1] == clips[1]

    def test_shapes_are_checked(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind)
        mask = torch.ones_like(value, dtype=torch.bool)
        for wrong in ((logits[:1], value, mask), (logits, value[:1], mask), (logits, value, mask[:1])):
            with pytest.raises(ValueError, match="do not fit"):
                loss(*wrong)

    def test_it_holds_no_state(self, key):
        assert not make(key).state_dict()

    def test_clips_without_the_target_are_zero_but_in_the_graph(self, key):
        logits = data(LOSSES[key][0])[0].requires_grad_()
        total, count = make(key).nothing(logits)
        total.backward()
        assert (total, count, total.dtype) == (0, 0, torch.float32)
        assert (logits.grad == 0).all()

    def test_a_distribution_at_one_class_is_that_class(self, key):
        loss, kind = make(key), LOSSES[key][0]
        logits, value = data(kind, batch=6)
        mask = torch.arange(6) % 3 > 0
        if not loss.soft:
            with pytest.raises(ValueError, match="do not fit"):
                loss(logits, value.unsqueeze(-1), torch.ones_like(value, dtype=torch.bool))
            return
        certain = torch.nn.functional.one_hot(value, 3).float()
        certain[0] = np.nan
        hard, soft = run(loss, logits, value, mask), run(loss, logits, certain, mask)
        for first, second in zip(hard, soft, strict=True):
            torch.testing.assert_close(second, first)


def finished(loss, logits, value, mask):
    logits = logits.clone().requires_grad_()
    term = loss(logits, value, mask)
    result = term.finish(term.sums)
    result.backward()
    return result.detach(), term.count, logits.grad


@pytest.mark.parametrize("key", STATISTICS)
class TestStatistic:
    def test_missing_entries_change_neither_loss_nor_gradient(self, key):
        loss, (logits, value) = make(key), data(STATISTICS[key][0], batch=12)
        mask = torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) < 0.6
        clean = finished(loss, logits, value, mask)
        for junk in (np.nan, np.inf, 1e30):
            dirty = (x.masked_fill(~mask, junk) for x in (logits, value))
            for first, second in zip(clean, finished(loss, *dirty, mask), strict=True):
                assert torch.equal(first, second)
        assert clean[1] == mask.sum()
        assert (clean[2][~mask] == 0).all()

    def test_it_is_the_same_however_a_batch_is_divided(self, key):
        loss, (logits, value) = make(key), data(STATISTICS[key][0], batch=12)
        mask = torch.rand(value.shape, generator=torch.Generator().manual_seed(1)) < 0.6
        whole = finished(loss, logits, value, mask)
        logits = logits.clone().requires_grad_()
        parts = [loss(logits[rows], value[rows], mask[rows]) for rows in (slice(0, 5), slice(5, 12))]
        parts.append(loss.nothing(logits))
        result = parts[0].finish(sum(part.sums for part in parts))
        result.backward()
        torch.testing.assert_close(result.detach(), whole[0])
        torch.testing.assert_close(logits.grad, whole[2])
        assert sum(part.count for part in parts) == whole[1]

    @pytest.mark.parametrize("batch", [0, 1, 4])
    def test_nothing_annotated_is_zero_with_zero_gradients(self, key, batch):
        logits, value = data(STATISTICS[key][0], batch=batch)
        result, count, gradient = finished(make(key), logits, value, torch.zeros_like(value).bool())
        assert (result, count) == (0, 0)
        assert (gradient == 0).all()

    def test_what_does_not_vary_stays_finite(self, key):
        loss, mask = make(key), torch.ones(4, 3, dtype=torch.bool)
        for logits, value in ((torch.ones(4, 3), torch.ones(4, 3)), (torch.ones(4, 3), torch.zeros(4, 3))):
            result, _, gradient = finished(loss, logits, value, mask)
            assert result == 1
            assert gradient.isfinite().all()

    def test_gradient_equals_finite_differences(self, key):
        loss, (logits, value) = make(key), data(STATISTICS[key][0], batch=6)
        mask = torch.ones_like(value, dtype=torch.bool)

        def run_it(x):
            term = loss(x, value.double(), mask)
            return term.finish(term.sums)

        assert torch.autograd.gradcheck(run_it, logits.double().requires_grad_(), atol=1e-4)

    def test_shapes_are_checked_and_time_is_an_axis(self, key):
        loss, (logits, value) = make(key), data(STATISTICS[key][0], batch=6)
        mask = torch.ones_like(value, dtype=torch.bool)
        for wrong in ((logits[:1], value, mask), (logits, value[:1], mask), (logits, value, mask[:1])):
            with pytest.raises(ValueError, match="do not fit"):
                loss(*wrong)
        clips = (x.unflatten(0, (2, 3)) for x in (logits, value, mask))
        torch.testing.assert_close(loss(*clips).sums, loss(logits, value, mask).sums)
        assert not loss.state_dict()
