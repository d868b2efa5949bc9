"""Clips of great variety."""

import numpy as np
import pytest

from affectkit.synth.render import FaceRenderer
from affectkit.synth.rig import RIG_UNITS
from affectkit.synth.sampling import CONTRADICTIONS
from affectkit.synth.varied import VARIED_UNITS, degrade, sample_varied_clip, sample_varied_units


def plans(count=200, frames=8):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield sample_varied_clip(rng, sample_varied_units(rng), frames=frames, fps=8.0)


def test_intensities_are_those_of_the_rendered_sides():
    column = {str(unit): k for k, unit in enumerate(VARIED_UNITS)}
    for plan in plans(40):
        for face, row in zip(plan.faces, plan.intensities, strict=True):
            for unit in RIG_UNITS:
                left, right = face.units.get(unit, (0.0, 0.0))
                assert row[column[f"AU{unit}"]] == pytest.approx(max(left, right))
                if f"AU{unit}L" in column:
                    assert row[column[f"AU{unit}L"]] == pytest.approx(max(left - right, 0))
                    assert row[column[f"AU{unit}R"]] == pytest.approx(max(right - left, 0))


def test_every_unit_head_turn_and_gaze_occurs():
    all_plans = list(plans())
    strength = np.concatenate([plan.intensities for plan in all_plans])
    assert (strength.max(axis=0) > 0.4).all()
    assert strength.max() <= 1.0
    faces = [face for plan in all_plans for face in plan.faces]
    assert max(abs(face.yaw) for face in faces) == pytest.approx(40, abs=5)
    assert max(abs(face.pitch) for face in faces) > 22
    assert max(abs(face.gaze[0]) for face in faces) > 0.8


def test_units_that_contradict_each_other_do_not_act_together():
    for seed in range(300):
        active = set(sample_varied_units(np.random.default_rng(seed)))
        assert not any(set(pair) <= active for pair in CONTRADICTIONS)


def test_some_pictures_are_covered_or_blurred_and_the_rest_unchanged():
    image = FaceRenderer(64).render(next(plans(1)).faces[0]).image
    images, points = np.stack([image, image]), np.full((2, 68, 2), 32.0, np.float32)
    results = [degrade(np.random.default_rng(seed), images, points) for seed in range(60)]
    changed = [not np.array_equal(result, images) for result in results]
    assert 0.3 < np.mean(changed) < 0.65
    assert all(result.shape == images.shape and result.dtype == np.uint8 for result in results)
