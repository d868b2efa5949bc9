"""Losses of levels, distributions and dimensions against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from affectkit.facs import label_space
from affectkit.losses import CCCLoss, LevelsLoss, MaskedCrossEntropy, default_loss

RNG = np.random.default_rng(1)
MASK = np.array([True, False, True, True, True])


def total(loss, logits, value, mask=MASK):
    result, count = loss(torch.tensor(logits), torch.tensor(value), torch.tensor(mask))
    assert count == mask.sum()
    return result.item()


def distributions(rows, classes):
    q = RNG.random((rows, classes))
    return q / q.sum(1, keepdims=True)


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 1.5]])
def test_cross_entropy_of_distributions(weight):
    logits, q = RNG.normal(0, 2, (5, 3)), distributions(5, 3)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(np.array(weight or [1, 1, 1]) * q * logp).sum(1)[MASK].sum()
    assert total(MaskedCrossEntropy(weight=weight), logits, q) == pytest.approx(expected, rel=1e-6)


def at_least_loss(logits, at_least):
    p = 1 / (1 + np.exp(-logits))
    return -(at_least * np.log(p) + (1 - at_least) * np.log(1 - p)).mean(1)


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 1.5, 2.0]])
def test_levels(weight):
    logits = RNG.normal(0, 1, (5, 1)) - np.arange(3) * 0.7
    value = np.array([0, 3, 2, 1, 3])
    at_least = (value[:, None] >= np.arange(1, 4)).astype(float)
    w = np.array(weight or [1, 1, 1, 1])
    expected = (w[value] * at_least_loss(logits, at_least))[MASK].sum()
    assert total(LevelsLoss(weight=weight), logits, value) == pytest.approx(expected, rel=1e-6)
    q = distributions(5, 4)
    at_least = np.stack([q[:, k:].sum(1) for k in range(1, 4)], 1)
    expected = ((q * w).sum(1) * at_least_loss(logits, at_least))[MASK].sum()
    assert total(LevelsLoss(weight=weight), logits, q) == pytest.approx(expected, rel=1e-6)


def concordance(x, y):
    """Lin's coefficient from its definition."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    cov = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / len(x)
    vx, vy = (sum((a - m) ** 2 for a in z) / len(z) for z, m in ((x, mx), (y, my)))
    return 2 * cov / (vx + vy + (mx - my) ** 2)


def test_ccc():
    x, y = RNG.normal(0, 0.5, (2, 40, 2))
    mask = RNG.random((40, 2)) < 0.7
    y = 0.5 * x + y
    each = [concordance(list(x[mask[:, d], d]), list(y[mask[:, d], d])) for d in range(2)]
    term = CCCLoss()(torch.tensor(x), torch.tensor(y), torch.tensor(mask))
    assert term.finish(term.sums).item() == pytest.approx(1 - sum(each) / 2, abs=1e-7)
    mask[:, 1] = False  # a dimension that nobody annotates
    term = CCCLoss()(torch.tensor(x), torch.tensor(y), torch.tensor(mask))
    one = concordance(list(x[mask[:, 0], 0]), list(y[mask[:, 0], 0]))
    assert term.finish(term.sums).item() == pytest.approx(1 - one, abs=1e-7)


def test_ccc_of_the_same_values_is_zero_also_far_from_the_middle():
    x = torch.tensor([[1000.0], [1000.5], [1001.0]])
    term = CCCLoss()(x, x, torch.ones_like(x, dtype=torch.bool))
    assert term.finish(term.sums).item() == pytest.approx(0, abs=1e-6)
    assert math.isclose(term.count.item(), 3)


def test_each_kind_has_its_default():
    for text, kind in (("levels:low,high", LevelsLoss), ("va", CCCLoss), ("basic7", MaskedCrossEntropy)):
        assert type(default_loss(label_space(text))) is kind
