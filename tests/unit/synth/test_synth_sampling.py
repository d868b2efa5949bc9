import numpy as np
import pytest

from affectkit.facs.expressions import EXPRESSION_SETS
from affectkit.facs.rules import prior
from affectkit.facs.sets import AU_SETS
from affectkit.synth.sampling import CONTRADICTIONS, draw_units, sample_clip, sample_person, sample_scene

UNITS = tuple(unit.id for unit in AU_SETS["rendered"])
TABLE = prior(EXPRESSION_SETS["basic7"], AU_SETS["rendered"])


@pytest.mark.parametrize("row", range(7))
def test_units_follow_the_table(row):
    rng = np.random.default_rng(row)
    n = 3000
    count = dict.fromkeys(UNITS, 0)
    for _ in range(n):
        for unit in draw_units(rng, TABLE[row], UNITS):
            count[unit] += 1
    for unit, p in zip(UNITS, TABLE[row], strict=True):
        share = count[unit] / n
        error = 4 * np.sqrt(p * (1 - p) / n)
        assert share < p + error
        if p > 0.05 or not any(unit in pair for pair in CONTRADICTIONS):
            assert share > p - error, (unit, share, p)


def test_of_two_that_contradict_the_unit_outside_the_table_gives_way():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert draw_units(rng, [1.0, 1.0], (24, 25), independent=1.0) == (25,)
        assert set(draw_units(rng, [0.9, 0.05], (24, 25))) != {24, 25}
    assert draw_units(rng, [1.0, 1.0], (24, 25)) == (24, 25), "what the table says stays"


@pytest.mark.parametrize("regime", ["macro", "micro"])
@pytest.mark.parametrize("frames", [4, 11, 40])
def test_clip_rises_to_an_apex(regime, frames):
    low, high = {"macro": (0.4, 1.0), "micro": (0.1, 0.45)}[regime]
    for seed in range(20):
        plan = sample_clip(
            np.random.default_rng(seed), (4, 12), UNITS, frames=frames, fps=50.0, regime=regime
        )
        assert len(plan.faces) == len(plan.intensities) == frames
        assert 0 <= plan.onset <= plan.apex <= plan.offset < frames
        active = [UNITS.index(4), UNITS.index(12)]
        assert not np.delete(plan.intensities, active, axis=1).any()
        assert plan.intensities.max() <= high
        if frames > 4:
            assert plan.intensities[plan.apex].max() >= low
        shown = plan.faces[plan.apex].units[12]
        assert np.mean(shown) == pytest.approx(plan.intensities[plan.apex, active[1]], rel=0.13)
        if regime == "micro":
            moving = np.flatnonzero(plan.intensities.sum(1))
            assert moving.size <= 0.5 * 50 + 1


def test_neutral_clip_is_at_rest():
    plan = sample_clip(np.random.default_rng(1), (), UNITS, frames=12)
    assert plan.intensities.max() == 0
    assert 0 <= plan.onset <= plan.apex <= plan.offset == 11
    assert all(set(face.units) <= {45} for face in plan.faces)


def test_blinks_come_every_few_seconds():
    closed = [
        any(45 in face.units for face in sample_clip(np.random.default_rng(s), (), UNITS, frames=50).faces)
        for s in range(200)
    ]
    assert 0.35 < np.mean(closed) < 0.65


def test_people_and_scenes_differ_and_repeat():
    people = [sample_person(np.random.default_rng(s)) for s in range(60)]
    assert sample_person(np.random.default_rng(0)) == people[0]
    light = np.array([sum(p.skin.tone) for p in people])
    assert light.min() < 0.5 < 1.4 < light.max()
    scenes = [sample_scene(np.random.default_rng(s)) for s in range(60)]
    assert sample_scene(np.random.default_rng(0)) == scenes[0]
    assert {scene.background_noise > 0 for scene in scenes} == {True, False}
    assert np.std([scene.key[0] for scene in scenes]) > 15
