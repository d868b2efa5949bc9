"""Where prepared crops lie in a frame."""

from __future__ import annotations

from math import nan

import pytest
import torch

from affectkit.faces import Crop, Cropper, Face, reference_points

FRAMES = torch.arange(3 * 60 * 100).remainder(251).to(torch.uint8).view(1, 3, 60, 100)


@pytest.mark.parametrize("crop", ["center", "10,20,30,30", "95,0,5,40", "0,50,20,10", "0,0,100,60"])
def test_a_fixed_place_is_the_same_in_preparing_and_predicting(crop):
    _, _, side = Crop.parse(crop).square(60, 100)
    cropper = Cropper(crop, side, 0.0)
    (place,) = cropper.find(FRAMES, None)
    assert torch.equal(cropper.cut(FRAMES[0], place), Crop.parse(crop)(FRAMES[0], side))


def test_what_a_detector_finds_must_be_finite():
    sound = Face((30.0, 10.0, 20.0, 20.0), 0.9)
    found = [sound, Face((nan, 0.0, 90.0, 90.0), 0.9)]
    (place,) = Cropper("detect", 20, 0.0, lambda frames: [found]).find(FRAMES, None)
    assert place.tolist() == [[1.0, 0.0, -30.0], [0.0, 1.0, -10.0]]
    points = reference_points()
    points[2] = nan
    found = [Face((0.0, 0.0, 90.0, 90.0), 0.9, points)]
    assert Cropper("detect", 20, 0.0, lambda frames: [found]).find(FRAMES, None) == [
        "The face has landmarks that are not finite."
    ]
