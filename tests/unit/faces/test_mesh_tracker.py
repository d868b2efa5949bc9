"""Meshes that follow rendered faces through a video."""

from __future__ import annotations

import math

import pytest
import torch

from affectkit.errors import ConfigError
from affectkit.faces import MeshDetector, MeshTracker, frame_faces
from affectkit.faces.frames import NO_FACE
from affectkit.models.features import InputSpec
from affectkit.synth import Face, FaceRenderer, Person, Scene
from affectkit.synth.skin import SkinLook


class Counting(MeshDetector):
    """Counts the frames in which faces are looked for."""

    looked = 0

    def detect(self, frames):
        self.looked += len(frames)
        return super().detect(frames)


@pytest.fixture(scope="module")
def ann():
    """Pictures of 160 pixels of one person."""
    renderer = FaceRenderer(160)
    renderer.set(Person(), Scene(zoom=0.28))
    return lambda **settings: torch.from_numpy(renderer.render(Face(**settings)).image.copy()).permute(
        2, 0, 1
    )


@pytest.fixture(scope="module")
def bob():
    """The same of another one with other colours."""
    renderer = FaceRenderer(160)
    shape = torch.randn(20, generator=torch.Generator().manual_seed(3)).tolist()
    scene = Scene(zoom=0.28, background=((0.5, 0.1, 0.05),) * 4)
    renderer.set(Person(tuple(shape), SkinLook()), scene)
    return lambda **settings: torch.from_numpy(renderer.render(Face(**settings)).image.copy()).permute(
        2, 0, 1
    )


def frame(*people: tuple[torch.Tensor, int, int], width: int = 480, ground: int = 25) -> torch.Tensor:
    """A frame of 200 pixels' height with pictures at (x, y)."""
    made = torch.full((3, 200, width), ground, dtype=torch.uint8)
    for picture, x, y in people:
        right = min(width, x + 160)
        made[:, y : y + 160, max(0, x) : right] = picture[:, :, max(0, -x) : right - x]
    return made


def test_one_face_is_followed_and_rarely_detected(ann):
    detector = Counting()
    tracker = MeshTracker(detector, interval=6)
    for k in range(13):
        faces = tracker.update(frame((ann(units={12: k / 12}), 100 + 6 * k, 20)))
        assert list(faces) == [0]
        left, _, width, _ = faces[0].box
        assert left + width / 2 == pytest.approx(100 + 6 * k + 80, abs=15)
    assert detector.looked == 3  # in the first frame and every sixth
    assert faces[0].mesh.blendshape("mouthSmileLeft") > 0.4


def test_following_reads_what_single_frames_read(ann):
    tracker, detector = MeshTracker(interval=100), MeshDetector()
    for k in range(6):
        picture = frame((ann(yaw=3.0 * k), 100 + 4 * k, 20))
        (followed,) = tracker.update(picture).values()
        ((alone,),) = detector(picture[None])
        assert (followed.mesh.points - alone.mesh.points)[:, :2].norm(dim=-1).mean() < 1.0
        assert (followed.mesh.blendshapes - alone.mesh.blendshapes).abs().mean() < 0.03


def test_two_people_keep_their_identities(ann, bob):
    tracker = MeshTracker(interval=4)
    for k in range(9):
        people = [(ann(), 20 + 5 * k, 20), (bob(), 300 - 5 * k, 20)]
        faces = tracker.update(frame(*people))
        assert list(faces) == [0, 1]
        assert faces[0].box[0] < faces[1].box[0]


def test_somebody_who_comes_later_is_found_at_the_interval(ann, bob):
    tracker = MeshTracker(interval=4)
    counts = []
    for k in range(9):
        people = [(ann(), 20, 20)] + ([(bob(), 300, 20)] if k >= 1 else [])
        counts.append(list(tracker.update(frame(*people))))
    assert counts == [[0]] * 4 + [[0, 1]] * 5


def test_a_face_that_leaves_is_lost_and_comes_back_as_the_same(ann):
    tracker = MeshTracker(interval=3)
    places = [100, 100, None, None, None, 110, 110]
    found = [list(tracker.update(frame(*([] if x is None else [(ann(), x, 20)])))) for x in places]
    assert found == [[0], [0], [], [], [], [0], [0]]


def test_a_scene_cut_starts_with_a_detection(ann, bob):
    detector = Counting()
    tracker = MeshTracker(detector, interval=50)
    for _ in range(2):
        assert list(tracker.update(frame((ann(), 20, 20)))) == [0]
    assert detector.looked == 1
    assert list(tracker.update(frame((bob(), 280, 20), ground=220))) == [1]
    assert detector.looked == 2


def test_frames_that_cannot_be_read(ann):
    tracker = MeshTracker()
    assert tracker.update(None) == {}
    assert list(tracker.update(frame((ann(), 100, 20)))) == [0]
    assert tracker.update(None) == {}
    assert list(tracker.update(frame((ann(), 104, 20)))) == [0]


def test_two_regions_on_one_face_become_one(ann):
    tracker = MeshTracker(interval=50)
    picture = frame((ann(), 100, 20))
    tracker.update(picture)
    tracker._meshes = tracker._meshes * 2
    assert list(tracker.update(picture)) == [0]


@pytest.mark.parametrize(("fps", "interval"), [(25.0, 5), (60.0, 12), (1.0, 1), (math.nan, 5)])
def test_faces_are_detected_five_times_a_second(fps, interval):
    assert MeshTracker.for_video(fps).interval == interval


def test_an_interval_of_no_frames():
    with pytest.raises(ConfigError, match="interval"):
        MeshTracker(interval=0)


def test_frames_of_a_video_with_their_meshes(memory_video, ann):
    def picture(number: int) -> torch.Tensor:
        return frame(*([] if number == 2 else [(ann(), 100 + number, 20)]))

    spec = InputSpec(size=32)
    frames = list(frame_faces(memory_video(6, picture, broken=(4,)), MeshDetector(), spec, start=1))
    assert [found.number for found in frames] == [1, 2, 3, 4, 5]
    assert [list(found.faces) for found in frames] == [[0], [], [0], [], [0]]
    assert [found.reason for found in frames] == [None, NO_FACE, None, "The frame cannot be decoded.", None]
    seen = frames[0].faces[0]
    assert seen.mesh.points.shape == (478, 3)
    assert seen.picture.shape == (3, 32, 32)
    assert seen.box == seen.mesh.box
