from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces import align_frames, estimate_similarity, five_points, reference_points, transform_points


def similarity(angle, scale, x, y):
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[c, -s, x], [s, c, y]], dtype=torch.float64)


def umeyama(source, target):
    """The published form, by singular value decomposition."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / s.var(0).sum()
    return np.column_stack([scale * rotation, mean_t - scale * rotation @ mean_s])


@given(st.floats(-3, 3), st.floats(0.2, 5), st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 999))
def test_a_similarity_is_found_again(angle, scale, x, y, seed):
    matrix = similarity(angle, scale, x, y)
    points = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 20
    assert torch.allclose(estimate_similarity(points, transform_points(points, matrix)), matrix, atol=1e-8)


@given(st.integers(0, 9999), st.integers(2, 8))
def test_noisy_points_against_umeyama(seed, count):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, count, 2)) * 10
    ours = estimate_similarity(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(ours, umeyama(source, target), atol=1e-7)


def test_batches_and_masks():
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(4, 6, 2, generator=rng) * 10
    matrices = torch.stack([similarity(a, 1 + a, a, -a).float() for a in (0.1, 0.5, 1.0, 2.0)])
    goal = transform_points(points, matrices)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[:, 2] = False
    goal[:, 2] = float("nan")
    assert torch.allclose(estimate_similarity(points, goal, mask), matrices, atol=1e-4)
    one = reference_points()
    found = estimate_similarity(one.expand(4, 5, 2), one)
    assert torch.allclose(found, torch.eye(3)[:2].expand(4, 2, 3), atol=1e-4)


@pytest.mark.parametrize("seen", [[False] * 5, [True, False, False, False, False]])
def test_too_few_points(seen):
    with pytest.raises(AnnotationError, match="fewer than two"):
        estimate_similarity(reference_points(), reference_points(), torch.tensor(seen))


def test_five_points():
    points = torch.arange(136.0).reshape(68, 2)
    five = five_points(points.expand(3, 68, 2))
    assert list(five.shape) == [3, 5, 2]
    assert torch.equal(five[0, 0], points[36:42].mean(0))
    assert torch.equal(five[0, 1], points[42:48].mean(0))
    assert torch.equal(five[0, 2:], points[[30, 48, 54]])


def test_reference_points_scale_about_pixel_edges():
    assert torch.allclose(reference_points(size=224), reference_points() * 2 + 0.5)
    with pytest.raises(ConfigError, match="mine"):
        reference_points("mine")


def blob(x, y, height, width, spread=8.0):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    light = 255 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / spread)
    return light.round().to(torch.uint8).expand(1, 3, height, width)


def centre(frames):
    light = frames[0, 0].float()
    axis = torch.arange(light.shape[0]).float()
    return torch.stack([(light.sum(0) * axis).sum(), (light.sum(1) * axis).sum()]) / light.sum()


@pytest.mark.parametrize(
    ("angle", "scale"), [(0.0, 1.0), (0.3, 1.0), (-1.0, 2.0), (0.2, 0.6), (0.4, 0.3), (math.pi / 2, 0.24)]
)
def test_pixels_and_points_go_to_the_same_place(angle, scale):
    frames = blob(50, 34, 90, 121, spread=40)
    matrix = similarity(angle, scale, 0, 0).float()
    matrix[:, 2] = torch.tensor([30.0, 26.0]) - matrix[:, :2] @ torch.tensor([50.0, 34.0])
    aligned = align_frames(frames, matrix, 64)
    assert aligned.dtype == torch.uint8
    assert list(aligned.shape) == [1, 3, 64, 64]
    assert (centre(aligned) - torch.tensor([30.0, 26.0])).abs().max() < 0.2
    assert torch.allclose(
        transform_points(torch.tensor([[50.0, 34.0]]), matrix), torch.tensor([[30.0, 26.0]])
    )


def test_identity_and_outside():
    frames = torch.randint(
        0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    eye = torch.eye(3)[:2]
    assert torch.equal(align_frames(frames, eye, 8), frames)
    wide = align_frames(frames, torch.stack([eye, eye]), 12)
    assert torch.equal(wide[..., :8, :8], frames)
    assert not wide[..., 9:, :].any()


def test_shrinking_does_not_alias():
    stripes = (255 * (torch.arange(80) % 2)).to(torch.uint8).expand(1, 3, 80, 80)
    small = align_frames(stripes, torch.eye(3)[:2] * 0.25, 20)[..., 2:-2, 2:-2]
    assert (small.float() - 127.5).abs().max() < 2
