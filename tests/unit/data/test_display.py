"""Pixels as they are to be shown: turned, mirrored and square, by both readers of video files."""

from __future__ import annotations

import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from affectkit.data import open_video
from affectkit.data.video.display import display_matrix, orient, square_size

BACKENDS = pytest.mark.parametrize("backend", ["pyav", "decord"])


@pytest.fixture
def relabelled(videos, tmp_path):
    """Copies packets into a container that says how to show them."""

    def copy(label):
        path = tmp_path / "labelled.mp4"
        with av.open(str(videos["closed"])) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            label(stream)
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        return path

    return copy


@BACKENDS
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_all_eight_orientations(videos, relabelled, backend, degrees, mirrored):
    path = relabelled(lambda stream: stream.set_display_rotation(degrees, hflip=mirrored))
    with open_video(videos["closed"]) as upright, open_video(path, backend) as shown:
        goal = torch.rot90(upright.read([3])[0], degrees // 90, (1, 2))
        goal = goal.flip(2) if mirrored else goal
        assert (shown.read([3])[0].float() - goal.float()).abs().mean() < 3


@pytest.mark.parametrize(
    ("matrix", "goal"),
    [
        ((1, 0, 0, 1), [[0, 1, 2], [3, 4, 5]]),
        ((-1, 0, 0, 1), [[2, 1, 0], [5, 4, 3]]),
        ((1, 0, 0, -1), [[3, 4, 5], [0, 1, 2]]),
        ((-1, 0, 0, -1), [[5, 4, 3], [2, 1, 0]]),
        ((0, 1, 1, 0), [[0, 3], [1, 4], [2, 5]]),
        ((0, -1, 1, 0), [[2, 5], [1, 4], [0, 3]]),
        ((0, 1, -1, 0), [[3, 0], [4, 1], [5, 2]]),
        ((0, -1, -1, 0), [[5, 2], [4, 1], [3, 0]]),
        ((9, 1, -1, 9), [[0, 1, 2], [3, 4, 5]]),  # a few degrees off
    ],
)
def test_pixels_of_each_orientation(matrix, goal):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    assert orient(pixels, matrix)[..., 0].tolist() == goal


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (5, 5, 5, 5), (0, 7, 0, 7)])
def test_a_degenerate_matrix_turns_nothing(numbers):
    a, b, c, d = numbers
    matrix = struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    assert display_matrix(SimpleNamespace(side_data={"DISPLAYMATRIX": matrix})) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("aspect", "goal"),
    [
        (None, (64, 32)),
        (Fraction(0), (64, 32)),
        (Fraction(1), (64, 32)),
        (Fraction(4, 3), (85, 32)),
        (Fraction(2), (128, 32)),
        (Fraction(8, 9), (64, 36)),
        (Fraction(1, 2), (64, 64)),
        (Fraction(9), (64, 32)),
        (Fraction(1, 9), (64, 32)),
    ],
)
def test_square_pixels_lose_nothing_and_ignore_damage(aspect, goal):
    assert square_size(64, 32, aspect) == goal


@BACKENDS
@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (32, 128)), (Fraction(1, 2), (64, 64))])
def test_pixels_that_are_not_square(videos, relabelled, number, backend, aspect, size):
    def label(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    with open_video(videos["closed"]) as stored, open_video(relabelled(label), backend) as shown:
        frame = shown.read([5])[0]
        assert frame.shape[1:] == size
        goal = torch.nn.functional.interpolate(stored.read([5]).float(), size, mode="bilinear")[0]
        assert (frame.float() - goal).abs().mean() < 3


@BACKENDS
def test_pixels_are_made_square_before_they_are_turned(relabelled, backend):
    def label(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(90)

    with open_video(relabelled(label), backend) as shown:
        assert shown.read([0]).shape[2:] == (128, 32)


def test_decord_opens_a_video_whose_first_frame_is_damaged(damaged, number):
    with open_video(damaged("intra", frame=0), "decord") as reader:
        assert [number(frame) for frame in reader.read([5, 29])] == [5, 29]
