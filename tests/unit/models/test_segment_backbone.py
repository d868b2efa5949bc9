"""Statistics of signals over segments, against loops over the segments."""

import json

import numpy as np
import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.models import Features, SegmentBackbone, TemporalTransformer, build


def inputs(batch=2, frames=23):
    torch.manual_seed(0)
    return torch.zeros(batch, frames, 3, 1, 1), torch.randn(batch, frames, 2)


def plain(segments=5):
    """A backbone whose vectors are the statistics themselves."""
    torch.manual_seed(0)
    backbone = SegmentBackbone({"pose": 2}, segments=segments, width=4, limit=100.0).eval()
    backbone.standardize.running_var.fill_(1.0 - backbone.standardize.eps)
    torch.nn.init.eye_(backbone.project.weight)
    torch.nn.init.zeros_(backbone.project.bias)
    return backbone


def test_vectors_are_means_and_deviations_of_equal_segments():
    frames, pose = inputs()
    found = plain()(frames, signals={"pose": pose})
    parts = [[t for t in range(23) if t * 5 // 23 == s] for s in range(5)]
    expected = [torch.cat([pose[:, p].mean(1), pose[:, p].std(1, correction=0)], 1) for p in parts]
    torch.testing.assert_close(found.frames, torch.stack(expected, 1), atol=1e-5, rtol=1e-5)
    assert found.frame_mask.all()


def test_unknown_frames_do_not_count_and_empty_segments_are_masked():
    frames, pose = inputs(1, 10)
    known = torch.tensor([[False, False, True, True, True, False, True, True, True, True]])
    dirty = pose.masked_fill(~known[..., None], float("nan"))
    found = plain()(frames, signals={"pose": dirty}, signals_mask=known)
    assert found.frame_mask.tolist() == [[False, True, True, True, True]]
    torch.testing.assert_close(found.frames[0, 2, :2], pose[0, 4])
    torch.testing.assert_close(found.pooled[0], found.frames[0, 1:].mean(0))
    nothing = plain()(frames, signals={"pose": dirty}, signals_mask=torch.zeros_like(known))
    assert not nothing.frame_mask.any()
    assert torch.equal(nothing.pooled, torch.zeros(1, 4))


def test_padding_changes_nothing_and_short_clips_have_as_many_segments_as_frames():
    frames, pose = inputs(2, 12)
    padded = torch.cat([pose, torch.full((2, 4, 2), 9.0)], 1)
    mask = torch.arange(16).expand(2, -1) < 12
    found = plain()(torch.zeros(2, 16, 3, 1, 1), mask, {"pose": padded})
    torch.testing.assert_close(found.frames, plain()(frames, signals={"pose": pose}).frames)
    short = plain()(frames[:, :3], signals={"pose": pose[:, :3]})
    torch.testing.assert_close(short.frames[..., :2], pose[:, :3])
    mixed = plain()(
        frames[:, :8], torch.tensor([[True] * 2 + [False] * 6, [True] * 8]), {"pose": pose[:, :8]}
    )
    assert mixed.frame_mask.sum(1).tolist() == [2, 5]


def test_gradients_bfloat16_and_configuration():
    frames, pose = inputs()
    backbone = SegmentBackbone({"pose": 2}, segments=4, width=8)
    backbone(frames, signals={"pose": pose}).frames.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    assert backbone.bfloat16().eval()(frames, signals={"pose": pose}).frames.dtype == torch.bfloat16
    assert build("backbone", json.loads(json.dumps(backbone.config))).config == backbone.config


@pytest.mark.parametrize("options", [{"signals": {}}, {"signals": {"pose": 2}, "segments": 0}])
def test_sizes_below_1_are_refused(options):
    with pytest.raises(ConfigError, match="must be at least 1"):
        SegmentBackbone(**options)


def test_a_missing_signal_is_named():
    with pytest.raises(ConfigError, match="'pose' is missing"):
        SegmentBackbone({"pose": 2})(inputs()[0])


def test_the_maximum_of_a_transformer_is_over_real_frames():
    torch.manual_seed(0)
    temporal = TemporalTransformer(4, heads=2, pool="max").eval()
    values, mask = torch.randn(2, 5, 4), torch.tensor([[True] * 3 + [False] * 2, [False] * 5])
    found = temporal(Features.of_frames(values, mask))
    assert torch.equal(found.pooled[0], found.frames[0, :3].amax(0))
    assert torch.equal(found.pooled[1], torch.zeros(4))
    whole = temporal(Features.of_frames(values, None))
    np.testing.assert_array_equal(whole.pooled.detach(), whole.frames.detach().amax(1))
    with pytest.raises(ConfigError, match="pool='sum' is unknown"):
        TemporalTransformer(4, pool="sum")
