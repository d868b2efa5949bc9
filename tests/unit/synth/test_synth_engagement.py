"""Rendered people in front of a screen: behaviour follows the degree, labels and answers have known errors."""

import csv

import numpy as np
import pytest
import torch

from affectkit.datasets import RenderedDataset
from affectkit.errors import ConfigError
from affectkit.methods.engagement import QUESTIONS
from affectkit.synth import render_corpus
from affectkit.synth.engagement import ENGAGEMENT_LEVELS, give_level, sample_behaviour
from affectkit.synth.ratings import disturb


def cues(degree, clips=150):
    rng = np.random.default_rng(0)
    return [sample_behaviour(rng, degree, frames=50, fps=5.0).cues() for _ in range(clips)]


def test_behaviour_follows_the_degree():
    low, high = (
        {name: np.mean([own[name] for own in cues(degree)]) for name in QUESTIONS if name != "upright"}
        for degree in (0.3, 3.7)
    )
    for name in ("looks_at_screen", "follows_actively"):
        assert high[name] > low[name] + 0.3
    for name in ("head_turned_away", "eyes_closed", "yawns", "leaves_picture", "restless"):
        assert low[name] > high[name] + 0.1
    assert abs(low["talks"] - high["talks"]) < 0.15  # at every level


def test_the_rater_answers_questions_of_the_library():
    assert set(cues(1.0, 1)[0]) == set(QUESTIONS) - {"upright"}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25])
def test_labels_are_wrong_at_the_given_rate_by_one_level_near_borders(rate):
    rng = np.random.default_rng(1)
    degrees = rng.uniform(0, 4, 20_000)
    given = np.array([give_level(rng, e, rng.standard_normal(), rate) for e in degrees])
    wrong = given != degrees.astype(int)
    assert wrong.mean() == pytest.approx(rate, abs=0.012)
    assert (abs(given - degrees.astype(int)) <= 1).mean() > 0.995
    if rate:
        border = abs(degrees - np.round(degrees)) < 0.15
        inner = abs(degrees - np.floor(degrees) - 0.5) < 0.15
        assert wrong[border].mean() > 1.5 * wrong[inner].mean()


def test_a_bias_moves_all_labels_of_a_person():
    rng = np.random.default_rng(2)
    given = {bias: np.mean([give_level(rng, 2.0, bias) for _ in range(500)]) for bias in (-2.0, 2.0)}
    assert given[2.0] > given[-2.0] + 0.5


def test_arbitrary_answers_are_as_frequent_as_stated():
    rng = np.random.default_rng(3)
    changed = [disturb(rng, {"yawns": 2.0}, noise=0.2)["yawns"] != 2.0 for _ in range(4000)]
    assert np.mean(changed) == pytest.approx(0.2, abs=0.02)


def test_a_rendered_corpus_has_levels_truth_and_answers(tmp_path):
    root = render_corpus(
        tmp_path / "c", identities=4, clips=4, frames_per_clip=5, size=32, seed=5, regime="engagement",
        fps=2.0, num_workers=1, progress=False,
    )  # fmt: skip
    dataset = RenderedDataset(root)
    assert set(dataset.spaces) == {"au", "intensity", "engagement"}
    with (root / "truth.csv").open() as file:
        truth = {row["clip"]: ENGAGEMENT_LEVELS.index(row["label"]) for row in csv.DictReader(file)}
    given = {r.clip: int(dataset.labels(r, [0])["engagement"].value) for r in dataset.clips}
    assert set(truth) == set(given)
    assert sorted(truth.values()) == sorted([0, 1, 2, 3] * 4)
    for record in RenderedDataset(root, split="test").clips:
        assert given[record.clip] == truth[record.clip]
    assert max(abs(given[clip] - truth[clip]) for clip in given) <= 1
    with (root / "ratings.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert {row["clip"] for row in answers} == set(given)
    assert {row["question"] for row in answers} < set(QUESTIONS)
    assert all(0 <= float(row["answer"]) <= 1 for row in answers)


def test_frames_without_a_face_show_none_and_are_masked(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    behaviour = next(
        own for own in (sample_behaviour(rng, 0.0, frames=6, fps=2.0) for _ in range(200))
        if 0 < own.present.sum() < 6
    )  # fmt: skip
    monkeypatch.setattr("affectkit.synth.engagement.sample_behaviour", lambda *_, **__: behaviour)
    root = render_corpus(
        tmp_path / "c", identities=3, clips=1, frames_per_clip=6, size=48, seed=5, regime="engagement",
        fps=2.0, num_workers=1, progress=False, media="frames",
    )  # fmt: skip
    clip = RenderedDataset(root)[0]
    here = torch.from_numpy(behaviour.present)
    assert torch.equal(clip.landmarks_mask.all(1), here)
    assert torch.equal(clip.targets["au"].mask.all(1), here)
    assert torch.equal(clip.targets["intensity"].mask.all(1), here)
    centre = clip.frames[:, :, 16:32, 16:32].float()
    spread = centre.flatten(1).std(1)
    assert spread[~here].max() < spread[here].min()


def test_wrong_expressions_are_planted_in_training_only(tmp_path):
    root = render_corpus(
        tmp_path / "c",
        identities=12,
        clips=7,
        frames_per_clip=4,
        size=16,
        seed=5,
        num_workers=1,
        progress=False,
    )
    plain, wrong = (RenderedDataset(root, split="train", wrong=share) for share in (0.0, 0.4))
    label = [
        [int(one.labels(r, [0])["expression"].value) for r in one.clips] for one in (plain, wrong, wrong)
    ]
    changed = np.mean([a != b for a, b in zip(label[0], label[1], strict=True)])
    assert 0.2 < changed < 0.6
    assert label[1] == label[2]
    for split in ("test", "all"):
        one, other = RenderedDataset(root, split=split, wrong=1.0), RenderedDataset(root, split=split)
        for record in one.clips:
            same = [data.labels(record, [0])["expression"].value for data in (one, other)]
            assert same[0] == same[1]
    with pytest.raises(ConfigError, match=r"wrong=1\.5"):
        RenderedDataset(root, wrong=1.5)
    with (root / "ratings.csv").open() as file:
        assert {row["question"] for row in csv.DictReader(file)} == {f"AU{u.id}" for u in plain.units}
