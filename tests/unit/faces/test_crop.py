"""Squares out of frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import ConfigError
from affectkit.faces import Crop

FRAME = torch.arange(3 * 60 * 100).remainder(251).to(torch.uint8).view(3, 60, 100)


def test_the_centred_square_is_the_default():
    assert torch.equal(Crop()(FRAME, 60), FRAME[:, :, 20:80])
    assert torch.equal(Crop.parse("center")(FRAME.transpose(1, 2), 60), FRAME.transpose(1, 2)[:, 20:80])


@pytest.mark.parametrize(
    ("box", "left", "top", "side"),
    [
        ((10, 20, 30, 30), 10, 20, 30),
        ((40, 20, 10, 30), 30, 20, 30),  # widened about its centre
        ((95, 0, 5, 40), 60, 0, 40),  # and kept inside the frame
        ((0, 50, 20, 10), 0, 40, 20),
        ((0, 0, 100, 60), 20, 0, 60),  # as far as the frame goes
    ],
)
def test_boxes_become_squares(box, left, top, side):
    assert torch.equal(Crop(box)(FRAME, side), FRAME[:, top : top + side, left : left + side])


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 100), st.integers(1, 60))
def test_every_box_inside_the_frame_works(x, y, w, h):
    if x + w <= 100 and y + h <= 60:
        assert Crop((x, y, w, h))(FRAME, 8).shape == (3, 8, 8)
    else:
        with pytest.raises(ConfigError, match="beyond the frame of 100 by 60"):
            Crop((x, y, w, h))(FRAME, 8)


def test_text_and_back():
    assert Crop.parse(" 1, 2,3,4") == Crop((1, 2, 3, 4))
    assert str(Crop((1, 2, 3, 4))) == "1,2,3,4"
    assert str(Crop()) == "center"


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "1,2,3,0", "-1,2,3,4", "middle", "1.5,2,3,4"])
def test_other_text_is_refused(text):
    with pytest.raises(ConfigError, match="crop"):
        Crop.parse(text)
