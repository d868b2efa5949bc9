import hashlib
from importlib import resources

import numpy as np
import pytest

from affectkit.facs.sets import AU_SETS
from affectkit.synth.rig import (
    LEFT_EYE,
    RIG_UNITS,
    RIGHT_EYE,
    SKIN,
    TEETH,
    landmark_points,
    load_rig,
    unit_weights,
)
from affectkit.synth.skin import WRINKLES

MESH_SHA256 = "1c39fb23ca1618b81c33bdde305810f1b4eea0e50b6093741ec2a9639924403a"


@pytest.fixture(scope="module")
def rig():
    return load_rig()


@pytest.fixture(scope="module")
def move(rig):
    """How the 68 points of the mean head move (mm; x to the subject's left, y back, z up)."""
    rest = rig.deform(rig.mean, unit_weights(rig, {}))[rig.landmarks]

    def _move(units):
        return (rig.deform(rig.mean, unit_weights(rig, units))[rig.landmarks] - rest) * 1e3

    return _move


def test_mesh_and_notice_are_those_that_the_notice_describes():
    assets = resources.files("affectkit.synth") / "assets"
    assert hashlib.sha256((assets / "facs_head.npz").read_bytes()).hexdigest() == MESH_SHA256
    notice = (assets / "NOTICE").read_text(encoding="utf-8")
    assert MESH_SHA256 in notice
    assert "CC0" in notice


def test_rig_shows_every_labelled_unit():
    assert {unit.id for unit in AU_SETS["rendered"]} <= set(RIG_UNITS)
    assert len(AU_SETS["rendered"]) >= 16
    assert set(WRINKLES) <= set(RIG_UNITS)


def test_arrays_fit_together(rig):
    v = len(rig.mean)
    assert rig.identity.shape == (20, v, 3)
    assert rig.actions.shape == (len(rig.action_names), v, 3)
    assert rig.material.shape == rig.occlusion.shape == (v,)
    assert rig.uv.shape == (v, 2)
    assert rig.faces.min() == 0
    assert rig.faces.max() == v - 1
    assert (rig.material[rig.faces] == rig.material[rig.faces[:, :1]]).all(), "a face has one material"


def test_triangles_of_the_face_and_the_teeth_look_forward(rig):
    corners = rig.mean[rig.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    teeth = rig.material[rig.faces[:, 0]] == TEETH
    assert (normal[teeth, 1] < 0).all()
    nose = rig.landmarks[30]
    assert (normal[(rig.faces == nose).any(axis=1), 1] < 0).all()


def test_landmarks_are_symmetric_and_on_skin(rig):
    assert (rig.material[rig.landmarks] == SKIN).all()
    points = landmark_points()
    pairs = [
        (0, 16),
        (17, 26),
        (21, 22),
        (31, 35),
        (36, 45),
        (39, 42),
        (41, 46),
        (48, 54),
        (60, 64),
        (61, 63),
    ]
    for left, right in pairs:
        np.testing.assert_allclose(points[left] * [-1, 1], points[right])
        np.testing.assert_allclose(
            rig.mean[rig.landmarks[left]] * [-1, 1, 1], rig.mean[rig.landmarks[right]], atol=1.5e-3
        )
    assert len(set(rig.landmarks.tolist())) >= 66


def test_landmarks_lie_where_they_were_chosen(rig):
    away = rig.mean[rig.landmarks][:, (0, 2)] * 1e3 - landmark_points()
    assert np.abs(away).max() < 5.5, "the mesh has a vertex every few millimetres"
    assert np.abs(away[36:]).max() < 2.0, "eyes and lips are finer"
    depth = rig.mean[rig.landmarks, 1] * 1e3
    assert (depth[17:] < -110).all(), "on the face, not inside it"


def test_person_is_linear_and_zero_is_the_mean(rig):
    np.testing.assert_array_equal(rig.person(()), rig.mean)
    c = np.array([1.0, -0.5, 2.0])
    expected = rig.mean + sum(k * rig.identity[i] for i, k in enumerate(c))
    np.testing.assert_allclose(rig.person(c), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "points", "axis", "sign"),
    [
        (1, (21, 22), 2, +1),  # inner brows rise
        (2, (17, 18, 25, 26), 2, +1),  # outer brows rise
        (4, (20, 21, 22, 23), 2, -1),  # brows lower
        (5, (37, 38, 43, 44), 2, +1),  # upper lids rise
        (7, (40, 41, 46, 47), 2, +1),  # lower lids rise
        (10, (50, 51, 52), 2, +1),  # upper lip rises
        (12, (48, 54), 2, +1),  # corners rise
        (15, (48, 54), 2, -1),  # corners fall
        (16, (56, 57, 58), 2, -1),  # lower lip falls
        (17, (56, 57, 58), 2, +1),  # lower lip rises
        (18, (51, 57), 1, -1),  # lips come forward
        (26, (7, 8, 9), 2, -1),  # chin falls
        (45, (37, 38, 43, 44), 2, -1),  # upper lids close
    ],
)
def test_unit_moves_its_points_as_facs_says(move, unit, points, axis, sign):
    shift = move({unit: 1.0})[list(points), axis] * sign
    assert (shift > 0.5).all(), shift


@pytest.mark.parametrize("unit", [12, 14, 20])
def test_corners_are_drawn_apart(move, unit):
    shift = move({unit: 1.0})
    assert shift[54, 0] > 1.0
    assert shift[48, 0] < -1.0


def test_lips_pucker_inwards(move):
    shift = move({18: 1.0})
    assert shift[54, 0] < -1.0
    assert shift[48, 0] > 1.0


def gap(points):
    """Distance of the inner lips at the middle, mm more than at rest."""
    return points[62, 2] - points[66, 2]


def test_jaw_drops_with_lips_together_until_they_part(move):
    closed, parted, both = (gap(move(units)) for units in ({26: 1.0}, {25: 1.0}, {25: 1.0, 26: 1.0}))
    assert closed < 3.0 < parted < both


@pytest.mark.parametrize("unit", [u for u in RIG_UNITS if u not in (10, 16, 17, 18, 22, 23, 24, 25, 26, 28)])
def test_sides_are_the_subjects_own_and_mirror_each_other(move, unit):
    left, right = move({unit: (1.0, 0.0)}), move({unit: (0.0, 1.0)})
    image_right = [*range(10, 17), *range(22, 27), *range(42, 48), 53, 54, 55]
    image_left = [*range(7), *range(17, 22), *range(36, 42), 48, 49, 59]
    assert np.abs(left[image_right]).sum() > 4 * np.abs(left[image_left]).sum()
    assert np.abs(right[image_left]).sum() > 4 * np.abs(right[image_right]).sum()
    total = np.abs(left).sum(), np.abs(right).sum()
    assert total[0] == pytest.approx(total[1], rel=0.25)


def test_sides_add_up_to_the_whole(rig):
    for unit in (1, 12, 17):
        both = unit_weights(rig, {unit: 1.0})
        halves = unit_weights(rig, {unit: (1.0, 0.0)}) + unit_weights(rig, {unit: (0.0, 1.0)})
        np.testing.assert_allclose(both, halves, atol=1e-6)


def test_blink_wins_over_raised_lids(rig):
    weights = dict(zip(rig.action_names, unit_weights(rig, {5: 1.0, 7: 1.0, 45: 1.0}).tolist(), strict=True))
    assert weights["eyeBlinkLeft"] == 1.0
    assert weights["eyeWideLeft"] == 0.0


def test_lids_follow_the_gaze_and_the_balls_stay(rig):
    up, down = (unit_weights(rig, {}, (0.0, g)) for g in (0.8, -0.8))
    assert up[rig.action_names.index("eyeLookUpLeft")] == pytest.approx(0.8)
    assert down[rig.action_names.index("eyeLookDownRight")] == pytest.approx(0.8)
    balls = (rig.material == LEFT_EYE) | (rig.material == RIGHT_EYE)
    np.testing.assert_array_equal(rig.deform(rig.mean, up)[balls], rig.mean[balls])


def test_upper_teeth_stay_and_lower_teeth_follow_the_jaw(rig):
    teeth = np.flatnonzero(rig.material == TEETH)
    upper, lower = teeth[: len(teeth) // 2], teeth[len(teeth) // 2 :]
    shift = (rig.deform(rig.mean, unit_weights(rig, {26: 1.0, 25: 1.0})) - rig.mean) * 1e3
    assert np.abs(shift[upper]).max() == 0.0
    assert (shift[lower, 2] < -3.0).all()
