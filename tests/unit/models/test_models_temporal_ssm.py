"""The temporal modules of SSM against their equations, written out frame by frame."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models import (
    ClipTokenTransformer,
    Features,
    FramewiseTransformer,
    LocalTemporalAttention,
    build,
)

SMALL = {"depth": 2, "heads": 2, "head_width": 3, "max_frames": 6}


def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    """Layer norm of one vector."""
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * layer.weight + layer.bias


def layers(temporal, tokens: Tensor) -> Tensor:
    """The pre-norm transformer over tokens [N, D] of one clip, in loops."""
    heads, width = temporal.config["heads"], temporal.config["head_width"]
    for layer in temporal.layers:
        projected = [layer.qkv.weight @ norm(x, layer.norm1) for x in tokens]
        mixed = []
        for row in projected:
            parts = []
            for head in range(heads):
                cut = slice(head * width, (head + 1) * width)
                inner = heads * width
                query = row[:inner][cut]
                scores = [query @ other[inner : 2 * inner][cut] / math.sqrt(width) for other in projected]
                weights = torch.stack(scores).softmax(0)
                parts.append(
                    sum(w * other[2 * inner :][cut] for w, other in zip(weights, projected, strict=True))
                )
            mixed.append(layer.project.weight @ torch.cat(parts) + layer.project.bias)
        tokens = tokens + torch.stack(mixed)
        first, last = layer.mlp[0], layer.mlp[3]
        for index, x in enumerate(tokens.clone()):
            h = first.weight @ norm(x, layer.norm2) + first.bias
            h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
            tokens[index] = x + last.weight @ h + last.bias
    return tokens


def scattered(temporal):
    """Weights away from their initial values, so that none of them hides."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in temporal.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return temporal.eval()


@torch.no_grad()
def test_the_clip_token():
    torch.manual_seed(0)
    temporal = scattered(ClipTokenTransformer(5, **SMALL))
    frames = torch.randn(2, 4, 5)
    out = temporal(Features.of_frames(frames, None))
    for clip, pooled, seen in zip(frames, out.pooled, out.frames, strict=True):
        start = torch.cat([temporal.token[None], clip]) + temporal.position[:5]
        end = layers(temporal, start.clone())
        expected = torch.stack(
            [norm(z + temporal.gamma * z0, temporal.norm) for z, z0 in zip(end, start, strict=True)]
        )
        assert torch.allclose(pooled, expected[0], atol=1e-5)
        assert torch.allclose(seen, expected[1:], atol=1e-5)


@torch.no_grad()
def test_framewise():
    torch.manual_seed(0)
    temporal = scattered(FramewiseTransformer(5, **SMALL))
    frames = torch.randn(2, 4, 5)
    out = temporal(Features.of_frames(frames, None))
    for clip, seen in zip(frames, out.frames, strict=True):
        start = clip + temporal.position[:4]
        end = layers(temporal, start.clone())
        for z, z0, given in zip(end, start, seen, strict=True):
            assert torch.allclose(given, norm(z + temporal.gamma * z0, temporal.norm), atol=1e-5)
    assert torch.allclose(out.pooled, out.frames.mean(1), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("radius", [1, 2])
def test_local_attention(radius):
    torch.manual_seed(0)
    temporal = scattered(LocalTemporalAttention(6, heads=2, radius=radius, max_frames=6))
    frames = torch.randn(2, 5, 6)
    out = temporal(Features.of_frames(frames, None)).frames
    for clip, seen in zip(frames, out, strict=True):
        normed = [norm(f, temporal.norm) for f in clip]
        for t in range(5):
            near = [s for s in range(5) if abs(s - t) <= radius]
            context = []
            for head in range(2):
                cut = slice(3 * head, 3 * head + 3)
                query = (temporal.query.weight @ normed[t])[cut]
                scores = [
                    query @ (temporal.key.weight @ normed[s])[cut] / math.sqrt(3)
                    + temporal.bias[head, s - t + radius]
                    for s in near
                ]
                weights = torch.stack(scores).softmax(0)
                context.append(sum(w * clip[s][cut] for w, s in zip(weights, near, strict=True)))
            step = 0.25 * torch.tanh(temporal.gate) * (torch.cat(context) - clip[t])
            assert torch.allclose(seen[t], clip[t] + step, atol=1e-5)


def test_local_attention_starts_as_the_identity_and_learns():
    temporal = LocalTemporalAttention(8, heads=2)
    frames = torch.randn(2, 7, 8)
    out = temporal(Features.of_frames(frames, None)).frames
    assert torch.equal(out, frames)
    assert torch.equal(temporal.query.weight, temporal.key.weight)
    bound = 0.5 * math.sqrt(6 / 16)
    assert 0.8 * bound < temporal.query.weight.abs().max() <= bound
    assert temporal.bias.tolist() == [[0.0, 1.0, 0.0]] * 2
    out.square().sum().backward()
    assert temporal.gate.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["clip_token", "framewise", "local_attention"])
def test_a_clip_longer_than_the_module_is_refused(kind):
    temporal = build("temporal", {"type": kind, "max_frames": 3, "heads": 2}, in_features=8)
    assert temporal(Features.of_frames(torch.zeros(1, 3, 8), None)).pooled.shape == (1, 8)
    with pytest.raises(ConfigError, match="has 4 frames, but max_frames is 3"):
        temporal(Features.of_frames(torch.zeros(1, 4, 8), None))


@torch.no_grad()
def test_a_still_uses_the_first_positions_only():
    torch.manual_seed(0)
    still = Features.of_frames(torch.randn(3, 1, 8), None)
    token = ClipTokenTransformer(8, heads=2, head_width=4)
    frame = FramewiseTransformer(8, heads=2, head_width=4)
    first = token(still).pooled, frame(still).frames
    token.position[2:] = torch.nan
    frame.position[1:] = torch.nan
    assert torch.equal(token(still).pooled, first[0])
    assert torch.equal(frame(still).frames, first[1])
    token.position[1] += torch.randn(8)
    assert not torch.allclose(token(still).pooled, first[0])


@pytest.mark.parametrize(
    ("kind", "count"), [("clip_token", 2_111_489), ("framewise", 2_110_465), ("local_attention", 525_848)]
)
def test_parameter_counts_of_the_paper(kind, count):
    with torch.device("meta"):
        temporal = build("temporal", {"type": kind}, in_features=512)
    assert sum(parameter.numel() for parameter in temporal.parameters()) == count


def test_initial_values():
    torch.manual_seed(0)
    temporal = ClipTokenTransformer(256)
    for tensor in (temporal.position, temporal.token):
        assert tensor.std().item() == pytest.approx(1, abs=0.1)
    assert temporal.gamma.item() == 1
    assert temporal.layers[0].qkv.bias is None
    assert F.gelu(torch.ones(1), approximate="tanh") == temporal.layers[0].mlp[1](torch.ones(1))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("clip_token", {"max_frames": 0}),
        ("framewise", {"mlp_ratio": 0.01}),
        ("framewise", {"heads": 0}),
        ("local_attention", {"heads": 3}),
        ("local_attention", {"radius": 0}),
    ],
)
def test_sizes_that_cannot_be_are_refused(kind, arguments):
    with pytest.raises(ConfigError, match="must"):
        build("temporal", {"type": kind, **arguments}, in_features=8)
