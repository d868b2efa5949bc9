import math

import pytest
import torch
from torch import nn

from affectkit.errors import ConfigError
from affectkit.tasks.optim import build_optimizer, build_schedule, parameter_groups


@pytest.fixture
def net():
    return nn.ModuleDict({"backbone": nn.Linear(2, 3), "head": nn.Linear(3, 1)})


def test_every_trainable_parameter_is_in_exactly_one_group(net):
    net["backbone"].bias.requires_grad_(False)
    groups = parameter_groups(net, [{"pattern": "backbone.*", "lr": 1e-5}], weight_decay=0.1)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in net.parameters() if p.requires_grad)


def test_groups_carry_their_settings_and_vectors_do_not_decay(net):
    optimizer = build_optimizer(
        net, lr=1e-3, weight_decay=0.1, groups=[{"pattern": "backbone.*", "lr": 1e-5, "weight_decay": 0.2}]
    )
    seen = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert seen[id(net["backbone"].weight)] == (1e-5, 0.2)
    assert seen[id(net["backbone"].bias)] == (1e-5, 0.0)
    assert seen[id(net["head"].weight)] == (1e-3, 0.1)
    assert seen[id(net["head"].bias)] == (1e-3, 0.0)


def test_a_pattern_that_matches_nothing_is_an_error(net):
    with pytest.raises(ConfigError, match=r"backbon\.\*"):
        parameter_groups(net, [{"pattern": "backbon.*"}], weight_decay=0.0)


def test_schedule_warms_up_then_follows_half_a_cosine(net):
    optimizer = build_optimizer(net, lr=1.0, weight_decay=0.0)
    schedule = build_schedule(optimizer, "cosine", total_steps=110, warmup=10 / 110)
    rates = []
    for _ in range(111):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [(i + 1) / 11 for i in range(10)] + [
        0.5 * (1 + math.cos(math.pi * i / 100)) for i in range(101)
    ]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(expected))


def test_constant_schedule_stays_after_the_warm_up(net):
    optimizer = build_optimizer(net, lr=2.0, weight_decay=0.0)
    schedule = build_schedule(optimizer, "constant", total_steps=4, warmup=0.5)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2 / 3, 4 / 3, 2.0, 2.0])


@pytest.mark.parametrize(("decay_vectors", "of_vectors"), [(False, 0.0), (True, 0.1)])
def test_vectors_decay_only_when_asked_to(decay_vectors, of_vectors):
    net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    optimizer = build_optimizer(net, lr=1.0, weight_decay=0.1, decay_vectors=decay_vectors)
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[p] for name, p in net.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": of_vectors,
        "1.weight": of_vectors,
        "1.bias": of_vectors,
    }
