"""The balanced sum against the formula written out, over steps and epochs."""

from __future__ import annotations

import math

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.losses import LossBalancer, ramp

NAMES = ["expression", "au", "expression/prototype", "au/prototype"]
WEIGHTS = {"au": 2.0}


def make() -> LossBalancer:
    return LossBalancer(NAMES, WEIGHTS)


def losses(*values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(NAMES, values, strict=False)}


def test_the_first_loss_is_one_when_prototype_losses_have_not_come_in():
    balancer, given = make(), losses(1.9459, 0.6931, 2.2, 0.05)
    balancer.update(given)
    factors = {name: ramp(0) for name in NAMES[2:]}
    assert balancer(given, factors).item() == pytest.approx(1.0, abs=1e-6)
    assert balancer(given).item() == pytest.approx(5 / 3, abs=1e-6)


def test_steps_and_epochs_follow_the_formula():
    """Two epochs of three steps, in plain floats."""
    generator = torch.Generator().manual_seed(0)
    balancer = make()
    for epoch in range(2):
        balancer.reset()
        means: list[float] = []
        for _ in range(3):
            values = (torch.rand(4, generator=generator) * 3).tolist()
            means = (
                [0.95 * m + 0.05 * v for m, v in zip(means, values, strict=True)] if means else list(values)
            )
            a = 2 / (1 + math.exp(-10 * epoch / 30)) - 1
            weights = [1.0, 2.0, a, a]
            expected = sum(w * v / (m + 1e-8) for w, v, m in zip(weights, values, means, strict=True)) / 3
            given = losses(*values)
            balancer.update(given)
            total = balancer(given, dict.fromkeys(NAMES[2:], ramp(epoch, 30)))
            assert total.item() == pytest.approx(expected, rel=1e-5)
            assert balancer.values.tolist() == pytest.approx(means, rel=1e-5)
            total.backward()
            slopes = [w / (m + 1e-8) / 3 for w, m in zip(weights, means, strict=True)]
            assert [loss.grad.item() for loss in given.values()] == pytest.approx(slopes, rel=1e-5)


@pytest.mark.parametrize(
    ("epoch", "value"), [(0, 0.0), (3, 2 / (1 + math.exp(-1)) - 1), (15, 2 / (1 + math.exp(-5)) - 1)]
)
def test_the_ramp(epoch, value):
    assert ramp(epoch) == pytest.approx(value)
    assert ramp(2 * epoch, 60) == pytest.approx(value)


def test_a_term_without_labels_adds_nothing_and_its_mean_stays():
    balancer = LossBalancer(["a", "b"], denominator=1.0)
    balancer.update(
        {"a": torch.tensor(2.0), "b": torch.tensor(0.0)}, {"a": torch.tensor(3.0), "b": torch.tensor(0.0)}
    )
    assert balancer.seen.tolist() == [True, False]
    zero = torch.tensor(0.0, requires_grad=True)
    total = balancer({"a": torch.tensor(2.0), "b": zero})
    assert total.item() == pytest.approx(1.0)
    total.backward()
    assert zero.grad.item() == 0.0
    balancer.update({"b": torch.tensor(4.0)})
    assert balancer.values.tolist() == [2.0, 4.0]
    balancer.update({"a": torch.tensor(100.0), "b": torch.tensor(4.0)}, {"a": torch.tensor(False)})
    assert balancer.values.tolist() == pytest.approx([2.0, 4.0])
    assert balancer({}).item() == 0.0


def test_means_carry_no_gradient_and_survive_a_checkpoint():
    balancer, given = make(), losses(1.0, 2.0, 3.0, 4.0)
    balancer.update(given)
    assert not balancer.values.requires_grad
    twin = make()
    twin.load_state_dict(balancer.state_dict(), strict=True)
    later = losses(2.0, 1.0, 1.0, 1.0)
    for one in (balancer, twin):
        one.update(later)
    assert torch.equal(balancer(later), twin(later))
    balancer.reset()
    assert not balancer.seen.any()
    assert balancer(later).item() == 0.0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (([],), "do not fit together"),
        ((["a", "a"],), "do not fit together"),
        ((["a"], {"b": 1.0}), "do not fit together"),
        ((["a"], {"a": -1.0}), "from 0 up"),
        ((["a"], {"a": math.inf}), "from 0 up"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        LossBalancer(*arguments)


def test_numbers_out_of_range_and_unknown_names_are_refused():
    for arguments in ({"momentum": 1.0}, {"momentum": -0.1}, {"denominator": 0.0}):
        with pytest.raises(ConfigError, match="must be in"):
            LossBalancer(["a"], **arguments)
    with pytest.raises(ConfigError, match="b, c"):
        LossBalancer(["a"])({"c": torch.tensor(1.0)}, {"b": 2.0})
    with pytest.raises(ConfigError, match="length"):
        ramp(1, 0)
