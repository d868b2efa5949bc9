from __future__ import annotations

from math import inf, nan

import pytest
import torch

from affectkit.errors import AnnotationError
from affectkit.faces import (
    Face,
    align_frames,
    box_transform,
    detector_name,
    face_transform,
    find_faces,
    largest_face,
    reference_points,
    transform_points,
)


def test_a_face_is_brought_to_the_reference():
    turned = transform_points(
        reference_points(size=112), torch.tensor([[0.0, -3.0, 300.0], [3.0, 0.0, 20.0]])
    )
    matrix = face_transform(turned, 64)
    torch.testing.assert_close(transform_points(turned, matrix), reference_points(size=64), atol=1e-3, rtol=0)


def test_a_margin_widens_the_picture_about_its_centre():
    points = reference_points(size=112)
    # A margin of a half makes the tight picture half as large, in the middle: pixel edges 28 to 84.
    goal = (points + 0.5) / 2 + 28 - 0.5
    torch.testing.assert_close(transform_points(points, face_transform(points, 112, margin=0.5)), goal)


def test_unknown_points_do_not_count():
    points = reference_points(size=112)
    wrong = points.clone()
    wrong[2] = torch.tensor([1e4, -1e4])
    mask = torch.tensor([True, True, False, True, True])
    torch.testing.assert_close(
        face_transform(wrong, 112, mask=mask), face_transform(points, 112), atol=1e-3, rtol=0
    )
    with pytest.raises(AnnotationError, match="two distinct"):
        face_transform(points, 112, mask=torch.tensor([True, False, False, False, False]))


def test_a_box_is_widened_to_a_square():
    frames = torch.arange(12 * 16, dtype=torch.uint8).view(1, 1, 12, 16).expand(1, 3, 12, 16)
    matrix = box_transform((6, 2, 4, 8), 8)  # columns 4 to 11
    assert torch.equal(align_frames(frames, matrix, 8), frames[:, :, 2:10, 4:12])


def test_a_box_with_a_margin():
    corners = torch.tensor([[-0.5, -0.5], [9.5, 9.5]])  # the edges of a box of ten pixels
    moved = transform_points(corners, box_transform((0, 0, 10, 10), 15, margin=0.25))
    torch.testing.assert_close(moved, torch.tensor([[2.0, 2.0], [12.0, 12.0]]))


def test_a_box_may_be_stretched():
    corners = torch.tensor([[1.5, 2.5], [5.5, 4.5]])
    moved = transform_points(corners, box_transform((2, 3, 4, 2), (6, 8)))
    torch.testing.assert_close(moved, torch.tensor([[-0.5, -0.5], [7.5, 5.5]]))


def test_the_largest_face():
    faces = [Face((0, 0, 5, 5), 0.9), Face((3, 3, 9, 4), 0.2), Face((1, 1, 10, 2), 1.0)]
    assert largest_face(faces) is faces[1]
    assert largest_face([]) is None


def test_boxes_that_are_none_are_left_out():
    sound = Face((1.0, 2.0, 3.0, 4.0), 0.9)
    odd = [(0.0, 0.0, 0.0, 1.0), (nan, 0.0, 1.0, 1.0), (0.0, inf, 1.0, 1.0), (5.0, 5.0, -3.0, 9.0)]
    found = find_faces(
        lambda frames: [[*(Face(box, 0.9) for box in odd), sound], []], torch.zeros(2, 3, 4, 4)
    )
    assert found == [[sound], []]


def test_detectors_are_called_what_they_call_themselves():
    class Plain:
        def __call__(self, frames):
            return [[] for _ in frames]

    class Telling(Plain):
        def __str__(self):
            return "Telling (threshold 0.5)"

    assert detector_name(Plain()) == "Plain"
    assert detector_name(Telling()) == "Telling (threshold 0.5)"
