"""The picture of forehead and eyes, and the intensity of AU4 that is read from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch.nn import functional as F

from affectkit.faces import MeshDetector
from affectkit.faces.brows import cut_brows, normalize_contrast
from affectkit.synth import Face, FaceRenderer
from affectkit.synth.sampling import sample_person, sample_scene

CORNERS = {33: (16.0, 44.0), 133: (38.5, 44.0), 362: (57.5, 44.0), 263: (80.0, 44.0)}


def face_with_corners(places):
    points = torch.zeros(478, 3)
    for number, place in zip(CORNERS, places, strict=True):
        points[number, :2] = place
    return points


@pytest.mark.parametrize("margin", [0, 12])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 20.0])
def test_the_corners_of_the_eyes_have_fixed_places(scale, margin):
    """A frame whose pixels are their own coordinates shows which one each pixel of the cut comes from."""
    turn = torch.tensor([[0.96, -0.28], [0.28, 0.96]])
    places = scale * torch.tensor(list(CORNERS.values())) @ turn.T + torch.tensor([40.0, 10.0])
    height, width = int(90 * scale) + 40, int(100 * scale) + 60
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    step = max(1, max(height, width) // 250)
    frame = (torch.stack([x, y, x]) // step).to(torch.uint8)
    cut = cut_brows(frame, face_with_corners(places), margin)
    assert cut.shape == (3, 64 + 2 * margin, 96 + 2 * margin)
    for (column, row), place in zip(CORNERS.values(), places, strict=True):
        at = int(row) + margin, int(column) + margin
        assert np.abs(cut[:2, *at] * float(step) - place.numpy()).max() <= max(1.5 * scale, 2 * step)


def test_large_faces_are_averaged_not_sampled():
    frame = torch.zeros(3, 900, 1000, dtype=torch.uint8)
    frame[:, ::2] = 200
    cut = cut_brows(frame, face_with_corners(8 * torch.tensor(list(CORNERS.values()))))
    assert np.abs(cut[:, 4:-4, 4:-4].astype(float) - 100).max() < 15


def test_contrast_is_that_of_the_surrounding_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 96), np.uint8)
    picture[:, :20, :30] = 77  # no contrast at all
    grey = picture.mean(0) / 255
    centred = grey - uniform_filter(grey, 17, mode="nearest")
    expected = centred / (np.sqrt(uniform_filter(centred**2, 17, mode="nearest")) + 0.02)
    found = normalize_contrast(picture)
    assert found.shape == (1, 64, 96)
    assert np.abs(found[0] - expected.clip(-3, 3)).max() < 1e-3
    assert abs(found[0, 5, 5]) < 1e-3


def test_the_value_is_the_intensity_of_au4_and_of_nothing_else():
    """On rendered people who trained nothing: each movement against the face at rest."""
    renderer, detector = FaceRenderer(224), MeshDetector()
    moved = [{4: 1.0}, {4: 0.5}, {1: 1.0}, {2: 1.0}, {5: 1.0}, {12: 1.0}, {26: 1.0}]
    rises = []
    for number in range(6):
        rng = np.random.default_rng([1234, number])
        renderer.set(sample_person(rng), sample_scene(rng))
        frames = np.stack([renderer.render(face).image for face in (Face(), *map(Face, moved))])
        found = detector(torch.from_numpy(frames).permute(0, 3, 1, 2))
        values = torch.tensor([face.mesh.brow_lowering for (face,) in found])
        rises.append(values[1:] - values[0])
    full, half, *others = torch.stack(rises).mean(0).tolist()
    assert full > 0.5
    assert 0.2 < half < full
    assert max(others) < 0.15


def test_the_look_of_a_picture_hardly_matters():
    """Local contrast is normalised: neither exposure nor size changes much."""
    renderer, detector = FaceRenderer(224), MeshDetector()
    rng = np.random.default_rng(5)
    renderer.set(sample_person(rng), sample_scene(rng))
    frame = torch.from_numpy(renderer.render(Face({4: 0.8})).image.copy()).permute(2, 0, 1)
    dark = (frame.float() * 0.5).to(torch.uint8)
    large = F.interpolate(frame[None].float(), scale_factor=3, mode="bilinear")[0]
    pictures = (frame, dark, large.clamp(0, 255).to(torch.uint8))
    values = [detector(picture[None])[0][0].mesh.brow_lowering for picture in pictures]
    assert values[0] > 0.4
    assert max(values) - min(values) < 0.2
