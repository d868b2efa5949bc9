import builtins
import dataclasses
import sys

import numpy as np
import pytest

from affectkit.errors import MissingDependencyError
from affectkit.facs.sets import AU_SETS
from affectkit.synth import Face, FaceRenderer, Person, Scene, SkinLook
from affectkit.synth.render import load_kernels

UNITS = tuple(unit.id for unit in AU_SETS["rendered"])


def box(points, indices, margin):
    """Rows and columns around landmarks."""
    p = points[list(indices)]
    (x0, y0), (x1, y1) = p.min(0) - margin, p.max(0) + margin
    return slice(max(int(y0), 0), int(y1) + 1), slice(max(int(x0), 0), int(x1) + 1)


def test_frame_is_deterministic_and_noise_moves(renderer):
    scene = Scene(noise=3.0, seed=5)
    first = []
    for _ in range(2):
        renderer.set(Person(), scene)
        first.append([renderer.render(Face()).image for _ in range(2)])
    np.testing.assert_array_equal(first[0][0], first[1][0])
    np.testing.assert_array_equal(first[0][1], first[1][1])
    assert (first[0][0] != first[0][1]).any()
    other = FaceRenderer(96)
    other.set(Person(), scene)
    np.testing.assert_array_equal(other.render(Face()).image, first[0][0])


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_visible_where_facs_says(show, unit):
    rest, points = show()
    face, _ = show({unit: 1.0})
    change = np.abs(face - rest).mean(-1)
    upper = box(points, [*range(17, 27), *range(36, 48)], 18)
    lower = box(points, [*range(4, 13), *range(31, 36), *range(48, 68)], 4)
    inside, outside = (upper, lower) if unit in (1, 2, 4, 5, 6, 7) else (lower, upper)
    if unit == 9:  # the root of the nose and its sides, between eyes and nostrils
        inside, outside = box(points, (21, 22, 39, 42, 31, 35), 4), box(points, range(55, 60), 3)
    assert change[inside].max() > 25, "a person can see it"
    assert change[inside].mean() > 2 * change[outside].mean()


@pytest.mark.parametrize("unit", UNITS)
def test_units_look_different_from_each_other(show, unit):
    faces = {other: show({other: 0.8})[0] for other in UNITS}
    own = faces.pop(unit)
    assert min(np.abs(own - face).max(-1).max() for face in faces.values()) > 15


def test_intensity_is_monotone(show):
    rest, _ = show()
    for unit in UNITS:
        change = [np.abs(show({unit: level})[0] - rest).mean() for level in (0.2, 0.5, 1.0)]
        assert change[0] < change[1] < change[2], unit


def test_one_sided_unit_shows_on_the_subjects_side(show):
    rest, _ = show()
    left, _ = show({12: (1.0, 0.0)})
    right, _ = show({12: (0.0, 1.0)})
    half = rest.shape[1] // 2
    change = np.abs(left - rest).mean(-1)
    assert change[:, half:].sum() > 4 * change[:, :half].sum(), "the subject's left is the image's right"
    mirrored = np.abs(right - rest).mean(-1)[:, ::-1]
    assert np.corrcoef(change.ravel(), mirrored.ravel())[0, 1] > 0.9


def test_face_is_framed_between_eyes_and_mouth(show, renderer, plain_scene):
    for pose in ({}, {"yaw": 30.0}, {"pitch": -15.0}, {"roll": 10.0}):
        _, points = show(**pose)
        middle = (points[36:48].mean(0) + points[48:60].mean(0)) / 2
        np.testing.assert_allclose(middle, 47.5, atol=1.5)
    _, points = show()
    span = np.linalg.norm(points[36:48].mean(0) - points[48:60].mean(0))
    assert span == pytest.approx(0.40 * 96, rel=0.05)
    renderer.set(Person(), dataclasses.replace(plain_scene, zoom=0.3, shift=(0.1, -0.05)))
    points = renderer.render(Face()).landmarks
    middle = (points[36:48].mean(0) + points[48:60].mean(0)) / 2
    np.testing.assert_allclose(middle, [47.5 + 9.6, 47.5 - 4.8], atol=1.0)


def test_frame_does_not_follow_the_units(show):
    """A crop that followed the mouth would hide that it moves."""
    _, rest = show()
    _, jaw = show({25: 1.0, 26: 1.0})
    np.testing.assert_allclose(jaw[[27, 36, 45]], rest[[27, 36, 45]], atol=0.3)
    assert jaw[8, 1] > rest[8, 1] + 2


def test_pose_turns_as_documented(show):
    _, rest = show()
    _, turned = show(yaw=25.0)
    nose = turned[30] - turned[[36, 45]].mean(0) - (rest[30] - rest[[36, 45]].mean(0))
    assert nose[0] > 2, "to the subject's left is to the image's right"
    _, up = show(pitch=15.0)
    assert (up[30] - up[27])[1] < (rest[30] - rest[27])[1], "looking up shortens the nose"
    _, tilted = show(roll=10.0)
    eyes = tilted[45] - tilted[36]
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(10.0, abs=1.0)


def test_iris_moves_with_the_gaze(show):
    _, points = show()
    eye = box(points, range(42, 48), 0)

    def iris_column(gaze):
        dark = 255 - show(gaze=gaze)[0][eye].mean(-1)
        dark = np.where(dark > 170, dark, 0)
        return (dark.sum(0) @ np.arange(dark.shape[1])) / dark.sum()

    assert iris_column((-0.8, 0.0)) < iris_column((0.0, 0.0)) - 0.5 < iris_column((0.8, 0.0)) - 1.0


def test_skin_light_and_background_show(renderer, plain_scene):
    def render(person=None, **scene):
        renderer.set(person or Person(), dataclasses.replace(plain_scene, **scene))
        return renderer.render(Face()).image.astype(float)

    middle = (slice(40, 60), slice(30, 66))
    dark = Person(skin=SkinLook(tone=(0.15, 0.08, 0.05)))
    assert render(dark)[middle].mean() < 0.7 * render()[middle].mean()
    lit_left = render(key=(-60.0, 10.0))
    assert lit_left[40:60, 20:40].mean() > 1.2 * lit_left[40:60, 56:76].mean()
    assert render(exposure=0.5)[middle].mean() < 0.8 * render()[middle].mean()
    red = render(background=((0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.5, 0.0)), zoom=0.25)
    assert red[2, 2, 0] > 150 > red[2, 2, 1]
    assert red[60, 2, 1] > red[2, 2, 1] + 50
    noisy = render(background_noise=0.7, seed=3, zoom=0.25)
    plain = render(zoom=0.25)
    assert noisy[:30, :8].std() > 3 * plain[:30, :8].std()


def test_missing_numba_names_the_extra(monkeypatch):
    real = builtins.__import__

    def no_numba(name, *args, **kwargs):
        if name == "numba" or name.startswith("numba."):
            raise ImportError("No module named 'numba'")
        return real(name, *args, **kwargs)

    import affectkit.synth

    monkeypatch.delitem(sys.modules, "affectkit.synth.kernels")
    monkeypatch.delattr(affectkit.synth, "kernels", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_numba)
    with pytest.raises(MissingDependencyError, match=r"affectkit\[synth\]"):
        load_kernels()
