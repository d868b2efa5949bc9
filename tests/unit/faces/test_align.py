"""A face comes to the place that the model was trained with, to the pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces import (
    MARGINS,
    Cropper,
    Face,
    FacePicture,
    align_face,
    align_frames,
    face_landmarks,
    margin_of,
    picture_transform,
    reference_points,
    transform_points,
)
from affectkit.models.features import InputSpec


def points(scale: float, angle: float, x: float, y: float) -> torch.Tensor:
    """The five points of a face, turned, scaled and moved to (x, y)."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (reference_points() - 56) @ (scale * turn).T + torch.tensor([x, y])


def frame(height: int, width: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (3, height, width), generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.5])
def test_prediction_cuts_out_what_preparation_does(margin):
    face = Face((30, 20, 60, 80), 0.9, points(0.7, 0.3, 60, 62))
    picture = frame(120, 150)
    cropper = Cropper("detect", 48, margin, detector=lambda frames: [[face]] * len(frames))
    (place,) = cropper.find(picture[None], None)
    spec = InputSpec(size=48, crop_margin=margin)
    assert torch.allclose(picture_transform(face, spec), place)
    difference = align_face(picture, face, spec).int() - cropper.cut(picture, place).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("angle", [0.0, -0.7, 2.5])
@pytest.mark.parametrize("margin", [-0.1, 0.0, 0.125])
def test_eyes_and_mouth_get_their_places(angle, margin):
    spec = InputSpec(size=80, alignment="eyes_mouth", crop_margin=margin)
    found = points(1.3, angle, 40, 70)
    placed = transform_points(found, picture_transform(Face((0, 0, 9, 9), 1.0, found), spec))
    eyes, mouth = placed[:2].mean(0), placed[3:].mean(0)
    assert ((eyes + mouth) / 2).tolist() == pytest.approx([39.5, 39.5], abs=1e-3)
    assert (mouth - eyes)[1].item() == pytest.approx(80 / (1 + 2 * margin) * 3 / 5, abs=1e-3)
    assert abs(placed[0, 1] - placed[1, 1]) < 0.01 * 80


def quad(points: torch.Tensor) -> np.ndarray:
    """Corners of FFHQ's square (top left, bottom left, bottom right, top right), by the rule of its authors."""
    five = points.double().numpy()
    eye_left, eye_right, mouth = five[0], five[1], five[3:].mean(0)
    eyes, to_eye = (eye_left + eye_right) / 2, eye_right - eye_left
    to_mouth = mouth - eyes
    x = to_eye - to_mouth[::-1] * [-1, 1]
    x *= max(np.hypot(*to_eye) * 2, np.hypot(*to_mouth) * 1.8) / np.hypot(*x)
    y = x[::-1] * [-1, 1]
    c = eyes + to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


@pytest.mark.parametrize("angle", [0.0, -0.7, 2.5])
@pytest.mark.parametrize("squeeze", [1.0, 0.6])
def test_the_square_of_ffhq(angle, squeeze):
    found = points(1.3, 0.0, 40, 70) * torch.tensor([1.0, squeeze])
    found = (found - 50) @ torch.tensor(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    corners = torch.from_numpy(quad(found)).float()
    size = 80
    matrix = picture_transform(Face((0, 0, 9, 9), 1.0, found), InputSpec(size=size, alignment="ffhq"))
    edge = size - 0.5
    expected = torch.tensor([[-0.5, -0.5], [-0.5, edge], [edge, edge], [edge, -0.5]])
    torch.testing.assert_close(transform_points(corners, matrix), expected, atol=1e-2, rtol=0)
    inner = picture_transform(
        Face((0, 0, 9, 9), 1.0, found), InputSpec(size=size, alignment="ffhq", crop_margin=-0.125)
    )
    assert float(inner[0, :2].norm() / matrix[0, :2].norm()) == pytest.approx(4 / 3, rel=1e-4)
    with pytest.raises(AnnotationError, match="one place"):
        picture_transform(Face((0, 0, 9, 9), 1.0, torch.ones(5, 2)), InputSpec(alignment="ffhq"))


@pytest.mark.parametrize("with_points", [True, False])
def test_boxes_are_not_turned(with_points):
    face = Face((100, 50, 40, 60), 0.9, points(0.4, 0.5, 120, 80) if with_points else None)
    box = picture_transform(face, InputSpec(size=64, alignment="box"))
    corners = torch.tensor([[99.5, 49.5], [139.5, 109.5]])
    whole = torch.tensor([[-0.5, -0.5], [63.5, 63.5]])
    torch.testing.assert_close(transform_points(corners, box), whole, atol=1e-4, rtol=0)
    raised = picture_transform(face, InputSpec(size=64, alignment="raised_box", crop_margin=0.25))
    side = 50 * 1.5
    centre = torch.tensor([120, 80 - 0.15 * 50]) - 0.5
    corners = torch.stack([centre - side / 2, centre + side / 2])
    torch.testing.assert_close(transform_points(corners, raised), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("alignment", ["five_points", "eyes_mouth"])
def test_a_face_without_points_is_placed_by_its_box(alignment):
    spec = InputSpec(size=64, alignment=alignment, crop_margin=0.0)
    matrix = picture_transform(Face((100, 50, 40, 50), 0.9), spec)
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert matrix[0, 0] == matrix[1, 1]
    centre = transform_points(torch.tensor([[119.5, 77.0]]), matrix)[0]
    assert centre.tolist() == pytest.approx([31.5, 31.5], abs=4)
    shown = 64 / matrix[0, 0].item()  # pixels of the frame
    assert shown == pytest.approx({"five_points": 50, "eyes_mouth": 5 / 3 * 0.4 * 50}[alignment], abs=1e-3)


def test_ffhqs_square_of_a_face_without_points():
    matrix = picture_transform(Face((100, 50, 40, 50), 0.9), InputSpec(size=64, alignment="ffhq"))
    centre = transform_points(torch.tensor([[119.5, 49.5 + (0.57 - 0.16) * 50]]), matrix)[0]
    assert centre.tolist() == pytest.approx([31.5, 31.5], abs=1e-3)
    assert 64 / matrix[0, 0].item() == pytest.approx(3.6 * 0.4 * 50, abs=1e-3)


@pytest.mark.parametrize("box", [(100, 50, 40, 50), (100, 50, 50, 40)])
def test_a_box_is_widened_about_its_middle(box):
    matrix = picture_transform(Face(box, 0.9), InputSpec(size=64, crop_margin=0.0))
    x, y, w, h = box
    middle = transform_points(torch.tensor([[x + w / 2 - 0.5, y + h / 2 - 0.5]]), matrix)[0]
    assert middle.tolist() == pytest.approx([31.5, 31.5])
    assert matrix[0, 0].item() == pytest.approx(64 / 50)


def test_a_models_own_margin_comes_first():
    assert margin_of(InputSpec(crop_margin=0.3)) == 0.3
    assert margin_of(InputSpec()) == MARGINS["five_points"]
    assert margin_of(InputSpec(alignment="eyes_mouth")) == MARGINS["eyes_mouth"]


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 40),
    scale=st.floats(0.02, 6),
    angle=st.floats(-3, 3),
    x=st.floats(-0.3, 1.3),
    y=st.floats(-0.3, 1.3),
    margin=st.floats(-0.2, 1),
)
def test_the_part_around_a_face_is_as_good_as_the_whole(height, width, size, scale, angle, x, y, margin):
    picture, spec = frame(height, width), InputSpec(size=size, crop_margin=margin)
    face = Face((0, 0, 1, 1), 1.0, points(scale, angle, x * width, y * height))
    whole = align_frames(picture[None], picture_transform(face, spec), size)[0]
    try:
        part = align_face(picture, face, spec)
    except AnnotationError:
        assert not whole.any()
    else:
        assert (part.int() - whole.int()).abs().max() <= 1


def test_what_cannot_be_seen_is_named():
    picture, spec = frame(40, 40), InputSpec(size=16)
    for found, fault in (
        (torch.full((5, 2), 20.0), "fewer than two distinct"),
        (points(0.2, 0, 500, 20), "lies outside the frame"),
        (points(0.2, 0, 20, -500), "lies outside the frame"),
        (torch.full((5, 2), math.nan), "not finite"),
    ):
        with pytest.raises(AnnotationError, match=fault):
            align_face(picture, Face((0, 0, 9, 9), 1.0, found), spec)
    half_outside = align_face(picture, Face((0, 0, 9, 9), 1.0, points(0.3, 0, 0, 20)), spec)
    assert not half_outside[:, :, :5].any()
    assert half_outside[:, :, 10:].float().std() > 20


def test_pictures_as_they_are_follow_no_face():
    spec = FacePicture(size=112, alignment="frame")
    with pytest.raises(ConfigError, match="pictures as they are"):
        picture_transform(Face((0.0, 0.0, 4.0, 4.0), 1.0), spec)
    # A mean face that fills the picture: brows near the top, chin at the bottom.
    points = face_landmarks(spec)
    assert points.min() > -1
    assert points[8, 1] > 100
