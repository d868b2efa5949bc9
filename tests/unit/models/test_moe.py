from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.backbones import moe
from affectkit.models.backbones.moe import MoEConfig, MoEFeedForward

WIDTH, HIDDEN = 16, 8


def make(**settings) -> MoEFeedForward:
    torch.manual_seed(0)
    mlp = nn.Sequential()
    mlp.add_module("c_fc", nn.Linear(WIDTH, 4 * WIDTH))
    mlp.add_module("gelu", nn.GELU())
    mlp.add_module("c_proj", nn.Linear(4 * WIDTH, WIDTH))
    layer = MoEFeedForward(mlp, MoEConfig(hidden=HIDDEN, **settings))
    with torch.no_grad():  # a gate that decides, and biases that count
        layer.gate.weight.normal_()
        for bias in (layer.gate.bias, layer.fc1_bias, layer.fc2_bias):
            bias.normal_()
    return layer


def by_hand(layer: MoEFeedForward, x: torch.Tensor) -> torch.Tensor:
    """Token by token and expert by expert, from the equations."""
    config = layer.config
    pictures, length = x.shape[:2]
    places = [(n, i) for i in range(length) for n in range(pictures)]  # position-major
    gates = {place: (layer.gate(x[place]) / config.temperature).softmax(dim=0) for place in places}
    best = {place: gates[place].argsort(descending=True)[: config.top_k].tolist() for place in places}
    experts = dict(best)
    if config.legacy_dispatch:
        row_major = [expert for place in places for expert in best[place]]
        experts = {
            place: [row_major[k * len(places) + m] for k in range(config.top_k)]
            for m, place in enumerate(places)
        }
    out = torch.zeros(x.shape, dtype=x.dtype).tolist()
    for n, i in places:
        token = x[n, i]
        act = token.new_zeros(WIDTH)
        for rank, expert in enumerate(experts[n, i]):
            hidden = F.gelu(layer.fc1_weight[expert] @ token + layer.fc1_bias[expert])
            act = act + gates[n, i][best[n, i][rank]] * (
                layer.fc2_weight[expert] @ hidden + layer.fc2_bias[expert]
            )
        wide = layer.c_fc(token)
        shared = F.gelu(wide) if config.act == "gelu" else wide * torch.sigmoid(1.702 * wide)
        out[n][i] = layer.c_proj(shared) + layer.alpha * act
    return torch.stack([torch.stack(row) for row in out])


def gradients(layer: MoEFeedForward, output: torch.Tensor) -> dict[str, torch.Tensor]:
    layer.zero_grad()
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}


SETTINGS = {
    "default": {},
    "quick": {"act": "quick_gelu", "temperature": 0.5},
    "one": {"top_k": 1, "experts": 3},
    "three": {"top_k": 3},
    "legacy": {"legacy_dispatch": True},
    "legacy of one": {"legacy_dispatch": True, "top_k": 1},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("way", ["grouped", "loop", "dense"])
def test_equals_a_loop_over_tokens_forwards_and_backwards(settings, way, monkeypatch):
    layer = make(**settings).eval()
    monkeypatch.setattr(moe, "_can_group", lambda tokens: way != "dense")
    if way == "loop":
        monkeypatch.setattr(moe, "_grouped_mm", None)
    x = torch.randn(3, 5, WIDTH, requires_grad=True)
    wanted = by_hand(layer, x)
    wanted_gradients = gradients(layer, wanted)
    wanted_x, x.grad = x.grad, None
    output = layer(x)
    found = gradients(layer, output)
    assert torch.allclose(output, wanted, atol=1e-5)
    assert torch.allclose(x.grad, wanted_x, atol=1e-5)
    for name, value in wanted_gradients.items():
        assert torch.allclose(found[name], value, atol=1e-5), name


@pytest.mark.parametrize("grouped", [True, False])
def test_an_expert_that_nobody_chose_has_a_gradient_of_zero(grouped, monkeypatch):
    if not grouped:
        monkeypatch.setattr(moe, "_grouped_mm", None)
    layer = make()
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.copy_(torch.tensor([0.0, 5.0, 5.0, 0.0]))
    found = gradients(layer, layer(torch.randn(2, 3, WIDTH)))
    for name in ("fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"):
        assert (found[name][[0, 3]] == 0).all()
        assert (found[name][[1, 2]] != 0).any(dim=-1).all()


def test_weights_are_those_of_the_softmax_not_renormalised():
    layer = make().eval()
    tokens = torch.randn(7, WIDTH)
    chosen, weights = layer.route(tokens)
    every = layer.gate(tokens).softmax(dim=-1)
    assert torch.equal(weights, every.sort(descending=True).values[:, :2])
    assert torch.equal(every.gather(1, chosen), weights)
    assert (weights.sum(dim=1) < 1).all()


def test_legacy_dispatch_gives_a_slot_the_choice_of_another_token():
    layer, legacy = make().eval(), make(legacy_dispatch=True).eval()
    tokens = torch.randn(6, WIDTH)
    own, weights = layer.route(tokens)
    moved, same_weights = legacy.route(tokens)
    assert torch.equal(weights, same_weights)
    for token in range(6):
        for slot in range(2):
            place = slot * 6 + token
            assert moved[token, slot] == own[place // 2, place % 2]


def test_legacy_results_depend_on_the_batch_and_intended_ones_do_not():
    x = torch.randn(4, 5, WIDTH)
    layer, legacy = make().eval(), make(legacy_dispatch=True).eval()
    assert torch.allclose(layer(x)[:2], layer(x[:2]), atol=1e-6)
    assert not torch.allclose(legacy(x)[:2], legacy(x[:2]), atol=1e-3)


def test_noise_is_drawn_while_training_only():
    layer = make(noise=0.5)
    tokens = torch.randn(50, WIDTH)
    logits = layer.gate(tokens)
    torch.manual_seed(3)
    chosen, weights = layer.train().route(tokens)
    torch.manual_seed(3)
    noisy = (logits + 0.5 * torch.randn_like(logits)).softmax(dim=-1).topk(2)
    assert torch.equal(chosen, noisy.indices)
    assert torch.equal(weights, noisy.values)
    assert torch.equal(layer.eval().route(tokens)[1], logits.softmax(dim=-1).topk(2).values)
    assert torch.equal(make(noise=0.0).train().route(tokens)[1], make().eval().route(tokens)[1])


def test_initial_values():
    mlp = make()
    fresh = MoEFeedForward(mlp, MoEConfig(hidden=64))
    assert fresh.alpha.item() == pytest.approx(0.1)
    assert not fresh.fc1_bias.any()
    assert not fresh.fc2_bias.any()
    assert not fresh.gate.bias.any()
    bound = (6 / (WIDTH + 64)) ** 0.5  # Xavier-uniform, of each expert by itself
    assert bound * 0.9 < fresh.fc1_weight.abs().max() <= bound
    assert bound * 0.9 < fresh.fc2_weight.abs().max() <= bound
    assert fresh.gate.weight.abs().max() <= 0.1 * (6 / (WIDTH + 4)) ** 0.5


def test_autocast_to_bfloat16_stays_close():
    layer = make().eval()
    x = torch.randn(4, 5, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    low.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    assert torch.allclose(low.float(), layer(x), atol=0.05)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_traced_without_a_break(dtype):
    """As CUDA needs it, where nothing may wait for the device: no step depends on a value of a tensor."""
    if moe._grouped_mm is None and dtype is torch.bfloat16:
        pytest.skip("this torch has no grouped product")
    layer = make().to(dtype).eval()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 5, WIDTH, dtype=dtype)
    close = {"atol": 1e-5} if dtype is torch.float32 else {"atol": 0.1, "rtol": 0.05}
    output = compiled(x)
    assert torch.allclose(output, layer(x), **close)
    found, wanted = gradients(layer, output), gradients(layer, layer(x))
    for name in wanted:
        assert torch.allclose(found[name], wanted[name], **close), name


def test_on_a_gpu_experts_are_grouped_in_bfloat16_only(monkeypatch):
    class Tokens:
        device, is_cuda = torch.device("cuda"), True

        def __init__(self, dtype):
            self.dtype = dtype

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert moe._can_group(Tokens(torch.bfloat16)) == (moe._grouped_mm is not None)
    assert not moe._can_group(Tokens(torch.float32))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert not moe._can_group(Tokens(torch.bfloat16))
    assert moe._can_group(torch.zeros(1))
    assert not moe._can_group(torch.zeros(1, device="meta"))


@pytest.mark.gpu
def test_on_a_gpu_it_equals_the_processor_and_never_waits():
    layer, x = make().eval(), torch.randn(3, 5, WIDTH)
    wanted = layer(x)
    layer, x = layer.cuda(), x.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = layer(x)
        with torch.autocast("cuda", torch.bfloat16):
            low = layer(x)
        (output.sum() + low.float().sum()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(output.cpu(), wanted, atol=1e-4)
    assert torch.allclose(low.float().cpu(), wanted, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"top_k": 5}, "top_k is 5"),
        ({"hidden": 12}, "multiple of 8"),
        ({"temperature": 0.0}, "must be positive"),
        ({"act": "relu"}, "activation 'relu'"),
        ({"expert": 3}, "no field 'expert'"),
    ],
)
def test_impossible_settings_are_named(settings, fault):
    with pytest.raises(ConfigError, match=fault):
        MoEConfig.from_dict(settings)
