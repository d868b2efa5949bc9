"""Backbones that read signals per frame."""

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.models import AffectModel
from affectkit.models.backbones import FusedBackbone, SignalBackbone, TimmBackbone

PICTURE = {"type": "timm", "model_name": "test_resnet", "size": 32}
SIGNALS = {"type": "signals", "signals": {"pose": 3, "mesh": 12}, "width": 8}


def inputs(B=2, T=3):
    torch.manual_seed(0)
    frames = torch.randint(256, (B, T, 3, 32, 32), dtype=torch.uint8)
    return frames, {"pose": torch.randn(B, T, 3), "mesh": torch.randn(B, T, 4, 3)}


def test_features_are_those_of_the_standardised_and_joined_signals():
    backbone = SignalBackbone({"pose": 3, "mesh": 12}, width=8, depth=1).eval()
    backbone.standardize.running_mean.copy_(torch.arange(15.0))
    backbone.standardize.running_var.fill_(4.0)
    frames, signals = inputs()
    joined = torch.cat([signals["pose"], signals["mesh"].flatten(2)], dim=2)
    expected = backbone.layers(((joined - torch.arange(15.0)) / 2).clamp(-5, 5))
    features = backbone(frames, signals=signals)
    torch.testing.assert_close(features.frames, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.pooled, features.frames.mean(1))


def test_unknown_signals_become_the_mean_whatever_they_hold():
    backbone = SignalBackbone({"pose": 3}, width=8).eval()
    backbone.standardize.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    frames, signals = inputs()
    mask = torch.tensor([[True, False, True], [False, True, True]])
    pose = signals["pose"].masked_fill(~mask[..., None], float("nan"))
    mean = torch.where(mask[..., None], signals["pose"], torch.tensor([1.0, 2.0, 3.0]))
    got = backbone(frames, signals={"pose": pose}, signals_mask=mask).frames
    torch.testing.assert_close(got, backbone(frames, signals={"pose": mean}).frames)


def test_without_layers_the_features_are_the_standardised_values():
    backbone = SignalBackbone({"pose": 3}, depth=0).eval()
    backbone.standardize.running_mean.fill_(1.0)
    frames, signals = inputs()
    got = backbone(frames, signals=signals).frames
    assert backbone.num_features == 3
    torch.testing.assert_close(got, (signals["pose"] - 1).clamp(-5, 5), atol=1e-4, rtol=1e-4)


def test_outliers_are_clipped():
    backbone = SignalBackbone({"pose": 3}, width=8, limit=2.0).eval()
    frames, _ = inputs()
    far, near = (backbone(frames, signals={"pose": torch.full((2, 3, 3), v)}).frames for v in (1e6, 3.0))
    torch.testing.assert_close(far, near)


@pytest.mark.parametrize("signals", [{}, {"pose": torch.zeros(2, 3, 4)}], ids=["missing", "wrong size"])
def test_a_missing_or_unfitting_signal_is_named(signals):
    frames, _ = inputs()
    with pytest.raises(ConfigError, match="'pose'"):
        SignalBackbone({"pose": 3})(frames, signals=signals)


@pytest.mark.parametrize(
    "arguments", [{"signals": {}}, {"signals": {"pose": 0}}, {"signals": {"pose": 3}, "depth": -1}]
)
def test_sizes_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigError):
        SignalBackbone(**arguments)


def test_fused_features_are_those_of_the_parts():
    torch.manual_seed(0)
    fused = FusedBackbone({"picture": PICTURE, "face": SIGNALS}).eval()
    frames, signals = inputs()
    features = fused(frames, signals=signals)
    picture, face = fused.parts["picture"](frames), fused.parts["face"](frames, signals=signals)
    torch.testing.assert_close(features.frames, torch.cat([picture.frames, face.frames], dim=2))
    assert fused.signals == ("pose", "mesh")
    assert fused.num_features == 104
    assert fused.input_spec == TimmBackbone("test_resnet", size=32).input_spec


def test_part_dropout_zeroes_at_most_one_part_of_a_frame_while_training():
    fused = FusedBackbone({"picture": PICTURE, "face": SIGNALS | {"noise": 0.0}}, part_dropout=1.0)
    frames, signals = inputs(B=8)
    gone = [v.eq(0).all(-1) for v in fused(frames, signals=signals).frames.split([96, 8], dim=2)]
    assert gone[0].any()
    assert gone[1].any()
    assert (gone[0] ^ gone[1]).all()
    assert not fused.eval()(frames, signals=signals).frames.eq(0).all(-1).any()


def test_a_fusion_needs_two_named_parts():
    with pytest.raises(ConfigError):
        FusedBackbone({"picture": PICTURE})


@pytest.mark.parametrize(
    "config", [SIGNALS, {"type": "fused", "parts": {"picture": PICTURE, "face": SIGNALS}}]
)
def test_a_model_of_signals_saves_loads_trains_and_casts(config, tmp_path):
    torch.manual_seed(0)
    model = AffectModel(config, {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}})
    frames, signals = inputs()
    model(frames, signals=signals)["au"].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.save_pretrained(tmp_path)
    loaded = AffectModel.from_pretrained(tmp_path)
    assert loaded.signals == ("pose", "mesh")
    expected = model.predict(frames, signals=signals)["au"]
    torch.testing.assert_close(loaded.predict(frames, signals=signals)["au"], expected)
    assert loaded.bfloat16().predict(frames, signals=signals)["au"].isfinite().all()
