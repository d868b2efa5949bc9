"""Frames with their faces: one row to be for each of them, whatever the media and the detector do."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.faces import Script, face, person, scene

from affectkit.errors import ConfigError
from affectkit.faces import CenterFace, Crop, Face, align_face, frame_faces, reference_points
from affectkit.faces.frames import NO_FACE, describe, face_source
from affectkit.models.features import InputSpec

SPEC = InputSpec(size=16, crop_margin=0.1)
ANN, BOB = person(0), person(1)


def two(number: int) -> torch.Tensor:
    """Bob on the left, Ann on the right."""
    return scene(number, [(ANN, 110, 60), (BOB, 20, 60)])


def both(number: int) -> list[Face]:
    return [face(110, 60, score=0.8), face(20, 60, score=0.7)]


def test_every_frame_has_its_faces_by_identity(memory_video):
    frames = list(frame_faces(memory_video(11, two), Script(both), SPEC))
    assert [frame.number for frame in frames] == list(range(11))
    assert [frame.timestamp for frame in frames] == pytest.approx([k / 25 for k in range(11)])
    for frame in frames:
        assert list(frame.faces) == [0, 1]
        assert frame.reason is None
        bob, ann = frame.faces.values()
        assert (bob.identity, bob.box, bob.score) == (0, (20.0, 60.0, 20.0, 20.0), 0.7)
        assert (ann.identity, ann.box, ann.score) == (1, (110.0, 60.0, 20.0, 20.0), 0.8)
        assert torch.equal(ann.picture, align_face(two(frame.number), face(110, 60), SPEC))
        assert ann.points is None


def test_frames_without_a_face_say_so(memory_video):
    script = Script({1: [face(110, 60)], 3: [face(20, 60), face(110, 60)]})
    frames = list(frame_faces(memory_video(5, two, broken=(2,)), script, SPEC))
    reasons = [frame.reason for frame in frames]
    assert reasons == [NO_FACE, None, "The frame cannot be decoded.", None, NO_FACE]
    assert [list(frame.faces) for frame in frames] == [[], [0], [], [0, 1], []]
    assert sum(script.shown, []) == [0, 1, 3, 4]  # noqa: RUF017 - a few short lists


def test_nothing_is_asked_of_a_detector_where_nothing_can_be_read(memory_video):
    script = Script({})
    frames = list(frame_faces(memory_video(9, two, broken=range(9)), script, SPEC))
    assert len(frames) == 9
    assert script.shown == []


def test_a_face_that_cannot_be_cut_out_says_why(memory_video):
    spot = torch.full((5, 2), 30.0)
    gone = reference_points() + 1000
    script = Script(lambda _: [face(20, 60, points=spot), face(110, 60, points=gone), face(60, 60)])
    (frame,) = frame_faces(memory_video(1, two), script, SPEC)
    first, middle, last = frame.faces.values()
    assert first.picture is None
    assert "two distinct" in first.reason
    assert first.points == ((30.0, 30.0),) * 5
    assert middle.picture is not None
    assert last.reason == "The face lies outside the frame."


def test_boxes_that_are_none_are_left_out(memory_video):
    odd = [face(0, 0, 0.0), face(math.nan, 0), face(0, math.inf), Face((5.0, 5.0, -3.0, 9.0), 0.9)]
    (frame,) = frame_faces(memory_video(1, two), Script(lambda _: [*odd, face(20, 60)]), SPEC)
    assert [seen.box for seen in frame.faces.values()] == [(20.0, 60.0, 20.0, 20.0)]


def test_few_frames_at_once_and_of_one_size(memory_video):
    script = Script(lambda _: [])
    sides = [160] * 12 + [100] * 3 + [160]
    list(frame_faces(memory_video(16, lambda k: scene(k, [], side=sides[k])), script, SPEC))
    assert script.shown == [list(range(8)), list(range(8, 12)), [12, 13, 14], [15]]
    large = Script(lambda _: [])
    list(frame_faces(memory_video(3, lambda k: scene(k, [], side=2000)), large, SPEC))
    assert large.shown == [[0], [1], [2]]


def test_a_later_start_gives_the_same_frames(memory_video):
    script = Script(lambda k: both(k) if k % 3 else both(k)[:1])
    whole = list(frame_faces(memory_video(10, two), script, SPEC))
    late = list(frame_faces(memory_video(10, two), script, SPEC, start=6))
    assert [frame.number for frame in late] == [6, 7, 8, 9]
    for frame, wanted in zip(late, whole[6:], strict=True):
        assert list(frame.faces) == list(wanted.faces)
        for identity, seen in frame.faces.items():
            assert torch.equal(seen.picture, wanted.faces[identity].picture)


def test_a_crop_is_one_face_and_starts_where_asked(memory_video):
    video = memory_video(6, two, broken=(4,))
    frames = list(frame_faces(video, Crop((10, 50, 40, 40)), SPEC, start=3))
    assert [(frame.number, list(frame.faces)) for frame in frames] == [(3, [0]), (4, []), (5, [0])]
    assert video.decoded == 2
    seen = frames[0].faces[0]
    assert torch.equal(seen.picture, Crop((10, 50, 40, 40))(two(3), 16))
    assert seen.box is seen.points is None
    assert math.isnan(seen.score)


def test_a_crop_that_fits_no_frame_is_an_error_at_the_first_only(memory_video):
    small = memory_video(4, lambda k: scene(k, [], side=20 if k < 2 else 160))
    crop = Crop((0, 0, 40, 40))
    with pytest.raises(ConfigError, match="beyond the frame of 20 by 20"):
        list(frame_faces(small, crop, SPEC))
    frames = list(
        frame_faces(small, crop, SPEC, start=1)
    )  # a work that goes on where the first frame had fitted
    assert [frame.reason is None for frame in frames] == [False, True, True]


def test_where_faces_come_from():
    assert isinstance(face_source("centerface"), CenterFace)
    assert face_source("center") == Crop()
    assert face_source("1,2,3,4") == Crop((1, 2, 3, 4))
    script = Script({})
    assert face_source(script) is script
    assert str(face_source("centerface", torch.device("cuda:1")).device) == "cuda:1"
    with pytest.raises(ConfigError, match="detect"):
        face_source("faces")


def test_what_is_said_of_it():
    assert describe(Crop((1, 2, 3, 4)), SPEC) == {"found_by": "crop", "crop": "1,2,3,4"}
    assert describe(Script({}), SPEC) == {
        "found_by": "detector",
        "detector": "a script",
        "alignment": "five_points",
        "crop_margin": 0.1,
    }
    assert describe(lambda frames: [], InputSpec(alignment="eyes_mouth"))["detector"] == "function"
    assert describe(CenterFace(), InputSpec(alignment="eyes_mouth"))["crop_margin"] == 0.125
