"""Every loss against its formula, written out entry by entry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.losses import (
    AsymmetricLoss,
    DiceLoss,
    MaskedBCE,
    MaskedCrossEntropy,
    OrdinalLoss,
    inverse_frequency_weights,
    positive_weights,
    register,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (5, 3))
HARD = RNG.integers(0, 2, (5, 3)).astype(float)
SOFT = RNG.random((5, 3))
MASK = RNG.random((5, 3)) < 0.7
WEIGHT = [0.5, 1.0, 1.5]


def total(loss, logits=LOGITS, value=HARD, mask=MASK) -> float:
    result, count = loss(torch.tensor(logits), torch.tensor(value), torch.tensor(mask))
    assert count == mask.sum()
    return result.item()


def loop(entry, value=HARD) -> float:
    pairs = np.argwhere(MASK)
    return sum(entry(1 / (1 + math.exp(-LOGITS[b, a])), value[b, a], a) for b, a in pairs)


@pytest.mark.parametrize("value", [HARD, SOFT])
def test_bce(value):
    def entry(p, y, a):
        y = y * 0.9 + 0.05
        return -WEIGHT[a] * ((a + 1) * y * math.log(p) + (1 - y) * math.log(1 - p))

    loss = MaskedBCE(weight=WEIGHT, pos_weight=[1, 2, 3], smoothing=0.1)
    assert total(loss, value=value) == pytest.approx(loop(entry, value), rel=1e-5)
    plain = F.binary_cross_entropy_with_logits(torch.tensor(LOGITS), torch.tensor(value), reduction="none")
    assert total(MaskedBCE(), value=value) == pytest.approx(plain[torch.tensor(MASK)].sum().item())


@pytest.mark.parametrize(
    ("gamma_pos", "gamma_neg", "clip"), [(0, 4, 0.05), (1, 2, 0.2), (0, 1, 0), (2, 0, 0)]
)
def test_asymmetric(gamma_pos, gamma_neg, clip):
    def entry(p, y, a):
        shifted = max(p - clip, 0)
        positive = y * (1 - p) ** gamma_pos * math.log(p)
        return -WEIGHT[a] * (positive + (1 - y) * shifted**gamma_neg * math.log(1 - shifted))

    loss = AsymmetricLoss(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip, weight=WEIGHT)
    assert total(loss) == pytest.approx(loop(entry), rel=1e-5)
    assert total(loss, value=SOFT) == pytest.approx(loop(entry, SOFT), rel=1e-5)


def test_asymmetric_without_focus_is_bce():
    loss = AsymmetricLoss(gamma_pos=0, gamma_neg=0, clip=0)
    assert total(loss) == pytest.approx(total(MaskedBCE()), rel=1e-6)


def test_asymmetric_reproduces_the_published_gradient_of_negatives():
    # p_m log(1 - p_m) at m = 0.05: its gradient by the logit peaks at 0.715, at p = 0.844.
    p = torch.linspace(0.01, 0.999, 2000, dtype=torch.float64)
    logits = p.logit().requires_grad_()
    loss = AsymmetricLoss(gamma_neg=1, clip=0.05)
    loss(logits, torch.zeros_like(p), torch.ones_like(p, dtype=torch.bool))[0].backward()
    peak = logits.grad.max().item()
    assert logits.grad[p < 0.05].abs().max() == 0
    assert peak == pytest.approx(0.715, abs=2e-3)
    assert p[logits.grad.argmax()].item() == pytest.approx(0.844, abs=5e-3)


def test_dice():
    def entry(p, y, a):
        return WEIGHT[a] * (1 - (2 * y * p + 0.5) / (y * y + p * p + 0.5))

    assert total(DiceLoss(smooth=0.5, weight=WEIGHT)) == pytest.approx(loop(entry), rel=1e-5)


def test_cross_entropy():
    classes, mask = np.array([0, 2, 1, 1, 0]), np.array([True, True, False, True, True])
    logp = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    plain = -sum(logp[b, classes[b]] for b in range(5) if mask[b])
    assert total(MaskedCrossEntropy(), value=classes, mask=mask) == pytest.approx(plain)
    weighted = -sum(WEIGHT[classes[b]] * logp[b, classes[b]] for b in range(5) if mask[b])
    assert total(MaskedCrossEntropy(weight=WEIGHT), value=classes, mask=mask) == pytest.approx(weighted)
    smooth = -sum(0.9 * logp[b, classes[b]] + 0.1 * logp[b].mean() for b in range(5) if mask[b])
    assert total(MaskedCrossEntropy(label_smoothing=0.1), value=classes, mask=mask) == pytest.approx(smooth)


def test_cross_entropy_ignores_a_masked_class_outside_the_range():
    loss = MaskedCrossEntropy()
    logits = torch.zeros(2, 3)
    assert loss(logits, torch.tensor([0, -1]), torch.tensor([True, False]))[0].item() == pytest.approx(
        math.log(3)
    )


def test_ordinal():
    logits = LOGITS[..., None] - np.arange(5) * 0.7
    value = RNG.integers(0, 6, (5, 3)).astype(float)
    value[0, 0] = 2.25  # averaged annotations
    at_least = 1 / (1 + np.exp(-logits))
    expected = 0.0
    for b, a in np.argwhere(MASK):
        for k in range(1, 6):
            target = min(max(value[b, a] - k + 1, 0), 1)
            p = at_least[b, a, k - 1]
            expected -= WEIGHT[a] * (target * math.log(p) + (1 - target) * math.log(1 - p)) / 5
    assert total(OrdinalLoss(weight=WEIGHT), logits, value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("truth", [0.0, 2.0, 3.6, 5.0])
def test_ordinal_is_best_at_the_true_intensity(truth):
    logits = torch.zeros(1, 1, 5, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=60)
    loss = OrdinalLoss()

    def closure():
        optimiser.zero_grad()
        value = loss(logits, torch.full((1, 1), truth), torch.ones(1, 1, dtype=torch.bool))[0]
        value.backward()
        return value

    optimiser.step(closure)
    assert logits.sigmoid().sum().item() == pytest.approx(truth, abs=0.02)


@given(rates=st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
@settings(max_examples=50)
def test_inverse_frequency_weights_are_the_fields(rates):
    weights = inverse_frequency_weights(rates)
    inverse = 1 / np.array(rates)
    assert np.allclose(weights, len(rates) * inverse / inverse.sum())
    assert np.isclose(np.mean(weights), 1)


def test_positive_weights():
    assert positive_weights([0.2, 0.5], power=1) == pytest.approx([4, 1])
    assert positive_weights([0.2, 0.5]) == pytest.approx([2, 1])
    assert positive_weights([0.2], power=0) == [1]


@pytest.mark.parametrize("rates", [[0.0], [0.5, 1.1], [float("nan")], []])
def test_rates_are_checked(rates):
    with pytest.raises(ConfigError, match="rates"):
        inverse_frequency_weights(rates)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaskedBCE(weight=[-1.0]),
        lambda: MaskedBCE(pos_weight=[math.inf]),
        lambda: MaskedBCE(smoothing=1.0),
        lambda: MaskedCrossEntropy(label_smoothing=-0.1),
        lambda: AsymmetricLoss(gamma_neg=0.5),
        lambda: AsymmetricLoss(clip=1.0),
        lambda: DiceLoss(smooth=0.0),
    ],
)
def test_arguments_are_checked(make):
    with pytest.raises(ConfigError):
        make()


def test_names_of_losses_are_unique():
    with pytest.raises(ConfigError, match="bce"):
        register("bce")(MaskedBCE)
