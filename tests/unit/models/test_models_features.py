from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affectkit.errors import ConfigError
from affectkit.models import Features, InputSpec, Normalize, masked_mean


def test_input_spec_survives_a_dict():
    spec = InputSpec(
        size=64, frames=8, fps=25.0, mean=(0.1, 0.2, 0.3), normalize="per_image", crop_margin=0.1
    )
    assert InputSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"frames": 0},
        {"mean": [0.5]},
        {"std": [1.0]},
        {"std": [1.0, 0.0, 1.0]},
        {"normalize": "x"},
        {"width": 3},
    ],
)
def test_input_spec_refuses_nonsense(values):
    with pytest.raises(ConfigError):
        InputSpec.from_dict(values)


def test_mean_std_equals_the_definition_for_bytes_and_floats():
    spec = InputSpec()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 5, 5), dtype=np.uint8)
    expected = (pixels / 255 - np.array(spec.mean)[:, None, None]) / np.array(spec.std)[:, None, None]
    assert np.allclose(Normalize(spec)(torch.from_numpy(pixels)).numpy(), expected, atol=1e-5)
    assert np.allclose(
        Normalize(spec)(torch.from_numpy(pixels / 255)).numpy(), expected.astype(np.float32), atol=1e-5
    )


def test_per_image_removes_exposure_and_contrast_of_each_picture_alone():
    normalize = Normalize(InputSpec(normalize="per_image"))
    pictures = torch.rand(2, 3, 16, 16)
    expected = (pictures - pictures.mean((1, 2, 3), keepdim=True)) / pictures.std(
        (1, 2, 3), keepdim=True, correction=0
    )
    assert torch.allclose(normalize(pictures), expected, atol=1e-3)
    assert torch.allclose(normalize(0.5 * pictures + 0.2), normalize(pictures), atol=1e-3)


def test_a_flat_picture_stays_flat():
    assert (Normalize(InputSpec(normalize="per_image"))(torch.full((1, 3, 4, 4), 0.7)).abs() < 1e-2).all()


def test_normalize_takes_the_type_of_its_module():
    assert (
        Normalize(InputSpec()).to(torch.bfloat16)(torch.zeros(3, 2, 2, dtype=torch.uint8)).dtype
        == torch.bfloat16
    )
    with pytest.raises(TypeError, match="int64"):
        Normalize(InputSpec())(torch.zeros(3, 2, 2, dtype=torch.int64))


@settings(deadline=None, max_examples=50)
@given(
    mask=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=3),
    noise=st.floats(-1e30, 1e30),
)
def test_masked_mean_equals_a_loop_and_ignores_padding(mask, noise):
    mask = torch.tensor(mask)
    values = torch.randn(*mask.shape, 3, generator=torch.Generator().manual_seed(1))
    values[~mask] = noise
    means = masked_mean(values, mask)
    for row, kept, mean in zip(values, mask, means, strict=True):
        expected = row[kept].mean(0) if kept.any() else torch.zeros(3)
        assert torch.allclose(mean, expected, atol=1e-6)


def test_masked_mean_without_mask_is_the_mean():
    values = torch.randn(2, 3, 4)
    assert torch.equal(masked_mean(values, None), values.mean(1))


def test_features_of_frames_pools():
    frames = torch.randn(1, 3, 2)
    features = Features.of_frames(frames, torch.tensor([[True, True, False]]))
    assert torch.allclose(features.pooled, frames[:, :2].mean(1))
    assert features.tokens is None
