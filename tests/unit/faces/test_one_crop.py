"""The frames of a clip are cut out in one way, and its landmarks follow."""

from __future__ import annotations

import pytest
import torch
from helpers.faces import Script, face, person, scene

from affectkit.errors import AnnotationError, ConfigError
from affectkit.faces import (
    Crop,
    FacePicture,
    align_frames,
    face_landmarks,
    five_points,
    place_face,
    read_clip,
    reference_points,
)
from affectkit.faces.frames import face_source

PICTURE = FacePicture(size=20, crop_margin=0.0)
FRAMES = [scene(number, [(person(1), 40 + number, 60)]) for number in range(4)]


def test_all_frames_are_cut_as_the_onset_is(memory_video):
    spots = reference_points(size=20) + torch.tensor([40.0, 60.0])
    found = Script({0: [face(90, 90, side=5.0), face(40, 60, points=spots)]})
    frames, landmarks = read_clip(memory_video(4, FRAMES.__getitem__), [0, 3], found, PICTURE)
    for cut, whole in zip(frames, (FRAMES[0], FRAMES[3]), strict=True):
        assert (cut.int() - whole[:, 60:80, 40:60].int()).abs().max() <= 1
    torch.testing.assert_close(five_points(landmarks), reference_points(size=20), atol=0.5, rtol=0)


def test_the_last_frame_stands_in_for_the_onset(memory_video):
    at_one_place = face(40, 60, points=torch.ones(5, 2))
    found = Script({0: [at_one_place], 3: [face(43, 60)]})
    frames, landmarks = read_clip(memory_video(4, FRAMES.__getitem__), [0, 3], found, PICTURE)
    assert torch.equal(frames[1], FRAMES[3][:, 60:80, 43:63])
    assert torch.equal(landmarks, face_landmarks(PICTURE))
    with pytest.raises(AnnotationError, match="No face was found"):
        read_clip(memory_video(4, FRAMES.__getitem__), [0, 3], Script({}), PICTURE)


def test_a_crop_is_taken_as_it_is(memory_video):
    crop = Crop((40, 60, 20, 20))
    frames, landmarks = read_clip(memory_video(4, FRAMES.__getitem__), [0, 3], crop, PICTURE)
    assert torch.equal(frames, torch.stack([FRAMES[k][:, 60:80, 40:60] for k in (0, 3)]))
    assert torch.equal(landmarks, face_landmarks(PICTURE))
    place = place_face(FRAMES[0], crop, PICTURE)
    assert place is not None
    assert torch.equal(place(FRAMES[2]), FRAMES[2][:, 60:80, 40:60])


def test_one_frame_says_how_others_are_cut():
    place = place_face(FRAMES[0], Script({0: [face(40, 60)]}), PICTURE)
    assert place is not None
    matrix = torch.tensor([[1.0, 0.0, -40.0], [0.0, 1.0, -60.0]])
    assert torch.equal(place(FRAMES[2]), align_frames(FRAMES[2][None], matrix, 20)[0])
    assert place_face(FRAMES[0], Script({}), PICTURE) is None


def test_a_detectors_size_belongs_to_detection():
    with pytest.raises(ConfigError, match="center"):
        face_source("center", detector_size=640)
