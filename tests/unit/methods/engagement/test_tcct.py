"""TCCT-Net against its published size, and its wavelets against PyWavelets."""

import json

import numpy as np
import pytest
import pywt
import torch

from affectkit import Predictor, load
from affectkit.errors import ConfigError
from affectkit.methods.engagement import MorletMagnitude, TCCTBackbone, TCCTHead
from affectkit.models import AffectModel, build

SPACE = "levels:not engaged,barely engaged,engaged,highly engaged"
SCALES = np.linspace(3, 7, 20)


def small(**options):
    torch.manual_seed(0)
    return TCCTBackbone({"pose": 3}, columns=[0, 1], depth=1, length=114, **options)


def inputs(batch=2, frames=5):
    torch.manual_seed(1)
    return torch.zeros(batch, frames, 3, 1, 1), {"pose": torch.randn(batch, frames, 3)}


@pytest.mark.parametrize("length", [113, 114, 280])
def test_wavelets_are_those_of_pywavelets(length):
    signals = np.random.default_rng(0).standard_normal((2, 3, length))
    coefficients, _ = pywt.cwt(signals, SCALES, "cmor1.5-1.0", sampling_period=1 / 30)
    found = MorletMagnitude(SCALES.tolist())(torch.from_numpy(signals))
    np.testing.assert_allclose(found.numpy(), np.moveaxis(np.abs(coefficients), 0, 2), atol=2e-6)


def test_wavelets_of_other_shapes_are_those_of_pywavelets():
    signal = np.random.default_rng(1).standard_normal((1, 1, 200))
    coefficients, _ = pywt.cwt(signal, [2.5, 9.0], "cmor2.0-0.8")
    found = MorletMagnitude([2.5, 9.0], bandwidth=2.0, centre=0.8)(torch.from_numpy(signal))
    np.testing.assert_allclose(found.numpy(), np.moveaxis(np.abs(coefficients), 0, 2), atol=2e-6)


@pytest.mark.parametrize("scales", [[], [0.0]])
def test_scales_must_be_positive(scales):
    with pytest.raises(ConfigError, match="must be positive"):
        MorletMagnitude(scales)


def test_the_published_number_of_parameters():
    backbone = TCCTBackbone({"pose": 2})
    head = TCCTHead(backbone.num_features, SPACE)
    assert sum(p.numel() for part in (backbone, head) for p in part.parameters()) == 177_586
    assert backbone.num_features == 13 * 40 + 32


def test_streams_have_the_published_shapes():
    backbone = TCCTBackbone({"pose": 2}, depth=1).eval()
    series = torch.randn(3, 2, 280)
    assert backbone.over_time(series[:, None]).shape == (3, 40, 1, 13)
    assert backbone.wavelets(series).shape == (3, 2, 20, 280)
    assert backbone.over_scales(backbone.wavelets(series)).shape == (3, 32)


def test_logits_are_the_weighted_sum_of_both_streams():
    head = TCCTHead(40 * 2 + 32, "levels:low,high").eval()
    features = torch.randn(3, 112)
    expected = 0.5 * head.body(features[:, :80]) + 4 * head.out(features[:, 80:])
    torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 7), (3, 150)])
def test_clips_of_any_length(batch, frames):
    backbone = small().eval()
    features = backbone(*inputs(batch, frames)[:1], signals=inputs(batch, frames)[1])
    assert features.pooled.shape == (batch, backbone.num_features)
    assert features.frames is None


def test_short_clips_are_repeated_and_long_ones_cut():
    backbone = small().eval()
    frames, signals = inputs(1, 5)
    pose = signals["pose"]
    whole = backbone(torch.zeros(1, 114, 3, 1, 1), signals={"pose": pose.repeat(1, 23, 1)[:, :114]})
    longer = backbone(torch.zeros(1, 200, 3, 1, 1), signals={"pose": pose.repeat(1, 40, 1)})
    short = backbone(frames, signals=signals)
    torch.testing.assert_close(short.pooled, whole.pooled)
    torch.testing.assert_close(longer.pooled, whole.pooled)


def test_padding_changes_nothing():
    backbone = small().eval()
    frames, signals = inputs(2, 5)
    padded = {"pose": torch.cat([signals["pose"], torch.full((2, 3, 3), 99.0)], 1)}
    mask = torch.arange(8).expand(2, -1) < 5
    found = backbone(torch.zeros(2, 8, 3, 1, 1), mask, padded)
    torch.testing.assert_close(found.pooled, backbone(frames, signals=signals).pooled)


def test_unknown_signals_are_the_mean_whatever_they_hold():
    backbone = small(standardize="each").eval()
    backbone.standardize.running_mean.copy_(torch.tensor([3.0, -2.0]))
    frames, signals = inputs()
    mask = torch.tensor([[True, False, True, True, False]] * 2)
    dirty = signals["pose"].masked_fill(~mask[..., None], float("nan"))
    mean = torch.where(mask[..., None], signals["pose"], torch.tensor([3.0, -2.0, 0.0]))
    found = backbone(frames, signals={"pose": dirty}, signals_mask=mask).pooled
    torch.testing.assert_close(found, backbone(frames, signals={"pose": mean}).pooled)
    nothing = backbone(frames, torch.zeros(2, 5, dtype=torch.bool), {"pose": dirty}, torch.zeros_like(mask))
    assert nothing.pooled.isfinite().all()


def test_all_values_share_one_mean_by_default():
    assert small().standardize.running_mean.shape == (1,)


def test_gradients_reach_every_parameter_and_bfloat16_works():
    backbone = small().train()
    head = TCCTHead(backbone.num_features, SPACE)
    frames, signals = inputs(3)
    head(backbone(frames, signals=signals)).square().sum().backward()
    parts = (backbone, head)
    assert all(p.grad is not None and p.grad.isfinite().all() for part in parts for p in part.parameters())
    half = small().eval().to(torch.bfloat16)
    assert half(frames, signals=signals).pooled.dtype == torch.bfloat16


def test_configurations_build_equal_parts():
    backbone = small(standardize="each")
    assert build("backbone", json.loads(json.dumps(backbone.config))).config == backbone.config
    head = TCCTHead(112, "levels:low,high")
    assert build("head", head.config, in_features=112).config == head.config


@pytest.mark.parametrize(
    "options",
    [{"signals": {}}, {"signals": {"pose": 0}}, {"signals": {"pose": 2}, "columns": [2]}],
)
def test_columns_that_do_not_exist(options):
    with pytest.raises(ConfigError, match="have no columns"):
        TCCTBackbone(**options)


@pytest.mark.parametrize("options", [{"length": 98}, {"depth": 0}])
def test_sizes_that_are_too_small(options):
    with pytest.raises(ConfigError, match="must be at least"):
        TCCTBackbone({"pose": 2}, **options)


@pytest.mark.parametrize("width", [32, 100])
def test_a_head_on_other_features(width):
    with pytest.raises(ConfigError, match="not those of a TCCT-Net"):
        TCCTHead(width, SPACE)


@pytest.mark.parametrize("signals", [{}, {"pose": torch.zeros(2, 5, 4)}])
def test_missing_signals_are_named(signals):
    with pytest.raises(ConfigError, match="The signal 'pose'"):
        small()(inputs()[0], signals=signals)


def test_a_saved_model_predicts_the_same(tmp_path):
    model = AffectModel(small().config, {"engagement": {"type": "tcct_levels", "space": SPACE}}).eval()
    model.save_pretrained(tmp_path)
    frames, signals = inputs()
    loaded = load(tmp_path)
    assert loaded.signals == ("pose",)
    torch.testing.assert_close(
        loaded(frames, signals=signals)["engagement"], model(frames, signals=signals)["engagement"]
    )


def test_a_model_of_tables_does_not_predict_pictures():
    model = AffectModel(
        TCCTBackbone({"openface_pose": 6}, columns=[3, 4], depth=1),
        {"engagement": {"type": "tcct_levels", "space": SPACE}},
    )
    with pytest.raises(ConfigError, match="reads openface_pose, which is not measured in pictures"):
        Predictor(model)
