from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from affectkit.errors import ConfigError
from affectkit.models import Features, MeanPool, TemporalTransformer


def test_the_layer_equals_torchs_own_pre_norm_layer():
    torch.manual_seed(0)
    ours = TemporalTransformer(8, heads=2, max_frames=6).eval()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    layer = ours.layers[0]
    pairs = {
        "self_attn.in_proj_weight": layer.qkv.weight,
        "self_attn.in_proj_bias": layer.qkv.bias,
        "self_attn.out_proj.weight": layer.project.weight,
        "self_attn.out_proj.bias": layer.project.bias,
        "linear1.weight": layer.mlp[0].weight,
        "linear1.bias": layer.mlp[0].bias,
        "linear2.weight": layer.mlp[3].weight,
        "linear2.bias": layer.mlp[3].bias,
        "norm1.weight": layer.norm1.weight,
        "norm1.bias": layer.norm1.bias,
        "norm2.weight": layer.norm2.weight,
        "norm2.bias": layer.norm2.bias,
    }
    theirs.load_state_dict(pairs)
    frames = torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    expected = ours.norm(theirs(frames + ours.position[:5], src_key_padding_mask=~mask))
    actual = ours(Features.of_frames(frames, mask)).frames
    assert torch.allclose(actual[mask], expected[mask], atol=1e-5)
    unmasked = ours(Features.of_frames(frames, None)).frames
    assert torch.allclose(unmasked, ours.norm(theirs(frames + ours.position[:5])), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(mask=st.lists(st.booleans(), min_size=1, max_size=6), noise=st.floats(-1e4, 1e4))
def test_masked_frames_never_change_the_clip_vector(mask, noise):
    torch.manual_seed(0)
    temporal = TemporalTransformer(8, depth=2, heads=2).eval()
    mask = torch.tensor([mask])
    frames = torch.randn(1, mask.shape[1], 8)
    other = torch.where(mask.unsqueeze(-1), frames, torch.full_like(frames, noise))
    first, second = (temporal(Features.of_frames(x, mask)) for x in (frames, other))
    assert torch.equal(first.pooled, second.pooled)
    assert torch.equal(first.frames[mask], second.frames[mask])


def test_order_of_frames_matters():
    torch.manual_seed(0)
    temporal = TemporalTransformer(8, heads=2).eval()
    frames = torch.randn(1, 4, 8)
    forward, backward = (temporal(Features.of_frames(x, None)).pooled for x in (frames, frames.flip(1)))
    assert not torch.allclose(forward, backward)


def test_dropout_acts_only_while_training():
    temporal = TemporalTransformer(8, heads=2, dropout=0.5)
    features = Features.of_frames(torch.randn(1, 4, 8), None)
    assert not torch.equal(temporal(features).pooled, temporal(features).pooled)


def test_faults():
    with pytest.raises(ConfigError, match="divide"):
        TemporalTransformer(9, heads=2)
    with pytest.raises(ConfigError, match="max_frames"):
        TemporalTransformer(8, heads=2, max_frames=2)(Features.of_frames(torch.zeros(1, 3, 8), None))
    with pytest.raises(ValueError, match="single frames"):
        MeanPool(8)(Features(torch.zeros(1, 8)))
