"""Identities that stay with people, through misses, crossings and cuts."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.faces import face, person, scene
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import ConfigError
from affectkit.faces import Face, FaceTracker
from affectkit.faces.track import appearance_similarity, face_appearance, face_similarity

ANN, BOB, CLEO = (person(seed) for seed in range(3))


def run(tracker: FaceTracker, steps, **options) -> list[list[int]]:
    """Identities in frames of people [(who, x, y), …]."""
    return [
        tracker.update([face(x, y) for _, x, y in people], scene(number, people, **options))
        for number, people in enumerate(steps)
    ]


def test_likeness_in_place_and_size():
    box = (10.0, 20.0, 30.0, 40.0)
    assert face_similarity(box, box) == 1
    assert face_similarity(box, (10, 20, 60, 80)) == pytest.approx((1 - 25 / math.sqrt(1200) / 1.5) / 2)
    assert face_similarity(box, (200, 20, 30, 40)) == 0


def test_looks_tell_people_apart_and_not_the_light():
    def look(people, light=1.0):
        frame = (scene(0, people).float() * light).to(torch.uint8)
        return face_appearance(frame, face(*people[0][1:]))

    ann, bob = look([(ANN, 50, 50)]), look([(BOB, 50, 50)])
    assert ann.shape == (4, 256)
    looks = torch.stack([ann, look([(ANN, 90, 40)], light=0.5), bob])
    alike = appearance_similarity(looks, looks[:2])
    assert alike.shape == (3, 2)
    assert alike[0, 0].item() == pytest.approx(1)
    assert alike[0, 1] == alike[1, 0] > 0.98
    assert alike[2].max() < 0.5


def test_the_correlation_is_that_of_what_both_know():
    rng = torch.Generator().manual_seed(0)
    looks = torch.rand(3, 4, 256, generator=rng) * 255
    looks[:, 3] = (looks[:, 3] > 80).float()
    found = appearance_similarity(looks, looks)
    for one in range(3):
        for other in range(3):
            known = (looks[one, 3] * looks[other, 3]).bool()
            pair = torch.stack([looks[k, :3, known].flatten() for k in (one, other)])
            assert found[one, other].item() == pytest.approx(torch.corrcoef(pair)[0, 1].item(), abs=1e-5)


def test_where_nothing_can_be_compared():
    ann = face_appearance(scene(0, [(ANN, 50, 50)]), face(50, 50))
    grey = face_appearance(torch.full((3, 90, 90), 7, dtype=torch.uint8), face(30, 30))
    gone = face_appearance(scene(0, [(ANN, 50, 50)]), face(500, 50))
    assert not gone.any()
    assert appearance_similarity(torch.stack([ann, grey, gone]), torch.stack([grey, gone])).isnan().all()


@pytest.mark.parametrize(("left", "known"), [(0, True), (10, True), (16, True), (20, False)])
def test_what_is_outside_the_frame_does_not_count(left, known):
    whole = scene(0, [(ANN, 50, 50)])
    looks = [
        face_appearance(whole, face(50, 50)),
        face_appearance(whole[:, :, 50 + left : 90], face(-left, 50)),
    ]
    likeness = appearance_similarity(looks[0][None], looks[1][None]).item()
    assert likeness > 0.9 if known else math.isnan(likeness)


def test_people_keep_their_identity_in_whatever_order_they_are_found():
    tracker = FaceTracker()
    steps = [[(ANN, 20 + 3 * k, 40), (BOB, 100 - 2 * k, 45)] for k in range(8)]
    steps[3].reverse()
    found = run(tracker, steps)
    assert found == [[0, 1], [0, 1], [0, 1], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_people_who_cross_are_not_swapped():
    tracker = FaceTracker()
    steps = []
    for k in range(12):
        ann, bob = (ANN, 20 + 8 * k, 60), (BOB, 108 - 8 * k, 60)
        hidden = abs(ann[1] - bob[1]) < 30  # Bob is behind Ann
        steps.append([ann] if hidden else [ann, bob])
    found = run(tracker, steps)
    assert [len(step) for step in steps].count(1) >= 3
    assert found == [[0] if len(step) == 1 else [0, 1] for step in steps]


def test_somebody_else_in_the_same_place_is_somebody_else():
    assert run(FaceTracker(), [[(ANN, 60, 60)], [(BOB, 60, 60)]]) == [[0], [1]]


@pytest.mark.parametrize(("missing", "identity"), [(1, 0), (4, 0), (5, 1)])
def test_a_face_without_a_look_is_known_by_its_place_for_a_while(missing, identity):
    tracker = FaceTracker(patience=4, memory=100)
    grey = torch.full((3, 90, 90), 7, dtype=torch.uint8)
    assert tracker.update([face(30, 30)], grey) == [0]
    for _ in range(missing):
        assert tracker.update([], grey) == []
    assert tracker.update([face(33, 30)], grey) == [identity]


@pytest.mark.parametrize(("missing", "identity"), [(5, 0), (20, 0), (21, 2)])
def test_whoever_comes_back_elsewhere_is_known_by_the_look_for_longer(missing, identity):
    tracker = FaceTracker(patience=4, memory=20)
    away = [[(BOB, 20, 20)]] * missing
    steps = [[(ANN, 100, 100), (BOB, 20, 20)], *away, [(ANN, 60, 30), (BOB, 20, 20)]]
    found = run(tracker, steps)
    assert found[0] == [1, 0]
    assert found[1:-1] == [[0]] * missing
    assert found[-1] == [{0: 1, 2: 2}[identity], 0]
    assert tracker.active == 2


def test_places_before_a_scene_cut_count_for_nothing():
    tracker = FaceTracker(alike=-1.0)  # looks would not part them
    frames = [scene(0, [(ANN, 60, 60)], ground=20), scene(1, [(BOB, 60, 60)], ground=200)]
    assert tracker.update([face(60, 60)], frames[0]) == [0]
    assert tracker.update([face(60, 60)], frames[1]) == [1]
    assert tracker.update([face(60, 60)], frames[0]) == [0]  # the first shot again: known by her look
    same_light = FaceTracker(alike=-1.0)
    assert same_light.update([face(60, 60)], scene(0, [(ANN, 60, 60)])) == [0]
    assert same_light.update([face(60, 60)], scene(1, [(BOB, 60, 60)])) == [0]


def test_without_pictures_places_decide():
    tracker = FaceTracker(patience=2, memory=50)
    assert tracker.update([face(50, 0), face(0, 0)]) == [1, 0]
    assert tracker.update([face(3, 0), face(48, 0)]) == [0, 1]
    for _ in range(3):
        assert tracker.update([]) == []
    assert tracker.update([face(48, 0)]) == [2]


def test_frames_of_other_sizes_are_no_obstacle():
    tracker = FaceTracker()
    assert tracker.update([face(60, 60)], scene(0, [(ANN, 60, 60)])) == [0]
    assert tracker.update([], torch.full((3, 1, 1), 90, dtype=torch.uint8)) == []
    assert tracker.update([face(70, 60)], scene(2, [(ANN, 70, 60)], side=201)) == [0]


def test_what_is_kept_does_not_grow():
    tracker = FaceTracker.for_video(10.0)
    assert (tracker.patience, tracker.memory) == (5, 50)
    for number in range(300):  # a new face every frame
        tracker.update([face(1000.0 * number, 0)])
        assert tracker.active <= 51
    assert tracker.update([face(0, 50000)]) == [300]


@pytest.mark.parametrize("fps", [math.nan, 0.0, -3.0, math.inf])
def test_an_unknown_rate_counts_as_25(fps):
    assert FaceTracker.for_video(fps).memory == FaceTracker.for_video(25).memory == 125
    assert FaceTracker.for_video(0.1).patience == 1


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 30)] * 2)


@given(st.lists(st.lists(boxes, max_size=5), max_size=8))
def test_nobody_is_twice_in_a_frame_and_new_ones_count_up(steps):
    tracker, known = FaceTracker(patience=1, memory=2), 0
    for step in steps:
        found = tracker.update([Face(tuple(map(float, box)), 0.9) for box in step])
        assert len(set(found)) == len(found) == len(step)
        fresh = sorted(identity for identity in found if identity >= known)
        assert fresh == list(range(known, known + len(fresh)))
        known += len(fresh)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": -1},
        {"patience": 9, "memory": 8},
        {"similarity": 0.0},
        {"similarity": 1.5},
        {"alike": 0.9},
        {"same": 1.1},
        {"cut": 0.0},
    ],
)
def test_numbers_out_of_range(options):
    with pytest.raises(ConfigError, match="out of range"):
        FaceTracker(**options)
