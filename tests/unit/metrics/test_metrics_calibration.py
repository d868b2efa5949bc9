"""Calibration against loops over bins, closed forms, and data whose temperature is known."""

import itertools
import math

import numpy as np
import pytest
import torch

from affectkit.metrics import expected_calibration_error, fit_temperature, log_loss


def drawn(kind, temperature, n=20_000):
    """Logits and labels that are drawn from what the logits say at a temperature."""
    rng = torch.Generator().manual_seed(0)
    if kind == "yes or no":
        logits = 3 * torch.randn(n, generator=rng)
        return logits, torch.bernoulli((logits / temperature).sigmoid(), generator=rng)
    logits = 3 * torch.randn(n, 4, generator=rng)
    return logits, torch.multinomial((logits / temperature).softmax(-1), 1, generator=rng)[:, 0]


def reference_error(p, right, bins):
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (p > low) & (p <= high) if low > 0 else (p >= low) & (p <= high)
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - right[inside].mean())
    return error


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("bins", [10, 15])
def test_the_error_is_that_of_a_loop_over_bins(temperature, bins):
    logits, truth = drawn("yes or no", 2.0, 500)
    p = 1 / (1 + np.exp(-logits.double().numpy() / temperature))
    found = expected_calibration_error(logits, truth, temperature, bins=bins)
    assert found == pytest.approx(reference_error(p, truth.double().numpy(), bins), abs=1e-12)
    logits, truth = drawn("classes", 2.0, 500)
    scores = np.exp(logits.double().numpy() / temperature)
    scores /= scores.sum(1, keepdims=True)
    right = scores.argmax(1) == truth.numpy()
    found = expected_calibration_error(logits, truth, temperature, bins=bins)
    assert found == pytest.approx(reference_error(scores.max(1), right, bins), abs=1e-12)


def test_the_loss_has_its_closed_form():
    logits, truth = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
    wanted = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))) / 2
    assert log_loss(logits, truth, 2.0) == pytest.approx(wanted)
    wanted = -math.log(math.exp(1) / (math.exp(1) + math.exp(0)))
    assert log_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), 2.0) == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["yes or no", "classes"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(kind, temperature):
    logits, truth = drawn(kind, temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.04)
    assert expected_calibration_error(logits, truth, found) < 0.015
    assert log_loss(logits, truth, found) <= log_loss(logits, truth, temperature) + 1e-9
    for other in (0.97 * found, 1.03 * found):
        assert log_loss(logits, truth, found) < log_loss(logits, truth, other)


def test_borders_and_nothing():
    assert expected_calibration_error(torch.tensor([-1e9, 1e9]), torch.tensor([0, 1])) == 0.0
    assert fit_temperature(torch.zeros(0), torch.zeros(0)) == 1.0
    assert math.isnan(log_loss(torch.zeros(0), torch.zeros(0)))
    assert math.isnan(expected_calibration_error(torch.zeros(0), torch.zeros(0)))
    always_right = torch.tensor([1.0, 2.0]), torch.tensor([1, 1])
    assert fit_temperature(*always_right) == pytest.approx(1 / 20, rel=1e-3)


def test_one_half_is_yes_and_a_border_belongs_to_the_lower_bin():
    logits, half, yes = torch.tensor([2.0]), torch.tensor([0.5]), torch.tensor([1.0])
    assert log_loss(logits, half) == log_loss(logits, yes) < 0.2
    assert expected_calibration_error(logits, half) == expected_calibration_error(logits, yes) < 0.2
    logits, truth = torch.tensor([0.0, -math.log(9)]), torch.tensor([1, 0])  # p of 0.5 and 0.1
    assert expected_calibration_error(logits, truth, bins=2) == pytest.approx(0.2)  # and not 0.3
