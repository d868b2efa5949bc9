"""Reliability of labels: files of raters, cross-fitting over people, acceptance, refined labels and the curriculum."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from affectkit.data import ClipLabels, ClipRecord
from affectkit.errors import AnnotationError, ConfigError, DatasetNotFoundError
from affectkit.methods.engagement import (
    QUESTIONS,
    Curriculum,
    Ratings,
    assess,
    cross_fit,
    keep_if_skilled,
    read_labels,
    read_ratings,
    write_questions,
)
from affectkit.methods.engagement.reliability import fold_of, rate_others

PEOPLE = tuple(f"s{number // 4}" for number in range(48))


def rated(seed=0, clips=48, missing=0.1, count=4):
    """Answers that depend on the label, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, clips)
    answers = labels[:, None] / count + 0.25 * rng.standard_normal((clips, 3))
    answers[rng.uniform(size=answers.shape) < missing] = np.nan
    return make(np.clip(answers, 0, 1), count), torch.from_numpy(labels)


def make(answers, count=4, given=None):
    answers = torch.as_tensor(np.asarray(answers), dtype=torch.float64)
    none = torch.full((len(answers), count), torch.nan, dtype=torch.float64)
    names = tuple(map(str, range(len(answers))))
    questions = tuple("abcdef"[: answers.shape[1]])
    return Ratings(names, questions, answers, answers.isfinite().double(), none if given is None else given)


def test_people_are_dealt_evenly_and_stay_together():
    folds = fold_of(PEOPLE, 5, seed=3)
    assert {len({int(folds[k]) for k in range(48) if PEOPLE[k] == person}) for person in set(PEOPLE)} == {1}
    sizes = [len({PEOPLE[k] for k in range(48) if folds[k] == fold}) for fold in range(5)]
    assert sorted(sizes) == [2, 2, 2, 3, 3]
    assert not torch.equal(folds, fold_of(PEOPLE, 5, seed=4))


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 1000), person=st.integers(0, 11), ordered=st.booleans(), change=st.integers(1, 3))
def test_no_clip_is_rated_by_a_model_that_saw_its_person(seed, person, ordered, change):
    ratings, labels = rated(seed)
    own = torch.tensor([name == f"s{person}" for name in PEOPLE])
    before = cross_fit(ratings, labels, PEOPLE, ordered=ordered)
    after = cross_fit(ratings, torch.where(own, (labels + change) % 4, labels), PEOPLE, ordered=ordered)
    assert torch.equal(before[own], after[own])
    assert not torch.equal(before[~own], after[~own])  # others were fitted on the changed labels


def test_classes_are_those_of_scikit_learn():
    ratings, labels = rated(missing=0.0)
    found = cross_fit(ratings, labels, PEOPLE, ordered=False)
    folds = fold_of(PEOPLE, 5)
    for fold in range(5):
        inside = (folds != fold).numpy()
        known = ratings.answers.numpy()
        values = (known - known[inside].mean(0)) / known[inside].std(0)
        values = np.concatenate([values, np.ones((48, 1))], axis=1)  # a penalty on the intercept, too
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000, fit_intercept=False)
        model.fit(values[inside], labels[inside])
        expected = model.predict_proba(values[~inside])
        np.testing.assert_allclose(found[~inside].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("ordered", [True, False])
def test_clips_outside_training_are_rated_by_a_model_of_all_training_clips(ordered):
    ratings, labels = rated(missing=0.0)
    fold = fold_of(PEOPLE, 2)
    train = [name for name, own in zip(ratings.clips, fold.tolist(), strict=True) if own]
    other = [*(name for name in ratings.clips if name not in train), "unknown"]
    found = rate_others(ratings.select(train), labels[fold == 1], ratings.select(other), ordered=ordered)
    expected = cross_fit(ratings, labels, PEOPLE, ordered=ordered, folds=2)[fold == 0]
    torch.testing.assert_close(found[:-1], expected)
    assert found[-1].isnan().all()
    direct = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    others = make(np.zeros((1, 3)), given=direct)
    assert torch.equal(rate_others(ratings, labels, others, ordered=ordered), direct)


def test_levels_follow_the_answers_in_order():
    ratings, labels = rated(missing=0.0)
    found = cross_fit(ratings, labels, PEOPLE, ordered=True)
    torch.testing.assert_close(found.sum(1), torch.ones(48, dtype=torch.float64))
    expected_level = found @ torch.arange(4.0, dtype=torch.float64)
    assert np.corrcoef(expected_level, ratings.answers.mean(1))[0, 1] > 0.9
    assert (found.argmax(1) == labels).double().mean() > 0.5


def test_an_answer_without_weight_counts_as_not_given():
    ratings, labels = rated(missing=0.0)
    gone = ratings.answers.clone()
    gone[5, 1] = torch.nan
    weight = ratings.weights.clone()
    weight[5, 1] = 0.0
    # The clip's own fold does not use its answers for the mean.
    one = cross_fit(make(gone), labels, PEOPLE, ordered=True)[5]
    other = Ratings(ratings.clips, ratings.questions, ratings.answers, weight, ratings.given)
    torch.testing.assert_close(one, cross_fit(other, labels, PEOPLE, ordered=True)[5])


def test_given_distributions_replace_the_model_and_unrated_clips_keep_their_label():
    ratings, labels = rated()
    given_ = ratings.given.clone()
    given_[2] = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    answers = ratings.answers.clone()
    answers[7] = torch.nan
    found = cross_fit(make(answers, given=given_), labels, PEOPLE, ordered=True)
    assert found[2].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert found[7].argmax() == labels[7]
    assert found[7].max() == 1
    direct = cross_fit(make(np.zeros((48, 0)), given=given_), labels, PEOPLE, ordered=True)
    assert torch.equal(direct[2], found[2])
    unknown = cross_fit(make(answers), labels.index_fill(0, torch.tensor([7]), -1), PEOPLE, ordered=True)
    assert unknown[7].max() < 1


def test_two_levels_and_labels_that_a_fold_lacks():
    ratings, labels = rated(count=2)
    found = cross_fit(ratings, labels, PEOPLE, ordered=True)
    assert (found.argmax(1) == labels).double().mean() > 0.6
    ratings, labels = rated()
    assert cross_fit(ratings, labels.clamp(max=2), PEOPLE, ordered=True)[:, 3].max() < 0.2


def test_one_person_cannot_be_rated():
    ratings, labels = rated()
    with pytest.raises(ConfigError, match="one person"):
        cross_fit(ratings, labels, ["s"] * 48, ordered=True)


def test_a_rater_without_skill_is_ignored():
    ratings, labels = rated()
    skilled = cross_fit(ratings, labels, PEOPLE, ordered=True)
    assert keep_if_skilled(skilled, labels) is skilled
    arbitrary = cross_fit(make(np.random.default_rng(1).uniform(size=(48, 3))), labels, PEOPLE, ordered=True)
    kept = keep_if_skilled(arbitrary, labels)
    assert assess(labels, kept, ordered=True).accepted.all()


def test_reliability_acceptance_and_refined_labels_of_levels():
    p = torch.tensor([[0.1, 0.6, 0.2, 0.1], [0.7, 0.2, 0.05, 0.05], [0.0, 0.1, 0.2, 0.7], [0.25] * 4])
    labels = torch.tensor([1, 1, 1, -1])
    found = assess(labels, p.double(), ordered=True)
    torch.testing.assert_close(found.value[:3], torch.tensor([0.75, 0.575, 0.2], dtype=torch.float64))
    assert found.accepted.tolist() == [True, True, False, False]
    alpha = [0.12 * 0.25, 0.12 * 0.425, 0.6 * 0.8]
    one_hot = torch.tensor([0.05, 0.9, 0.05, 0.0])
    expected = torch.stack([(1 - a) * one_hot + a * row for a, row in zip(alpha, p, strict=False)]).double()
    torch.testing.assert_close(found.soft[:3], expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(found.soft[3], torch.zeros(4, dtype=torch.float64))
    strict = assess(labels, p.double(), ordered=True, threshold=0.6)
    assert strict.accepted.tolist() == [True, False, False, False]


def test_labels_at_the_end_of_a_scale_have_one_neighbour():
    found = assess(torch.tensor([0]), torch.tensor([[1.0, 0.0, 0.0]]).double(), ordered=True)
    torch.testing.assert_close(found.soft, torch.tensor([[0.95, 0.05, 0.0]]).double())


def test_classes_have_no_neighbours():
    p = torch.tensor([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1]], dtype=torch.float64)
    found = assess(torch.tensor([0, 0]), p, ordered=False)
    assert found.value.tolist() == [0.5, 0.4]
    assert found.accepted.tolist() == [True, False]
    expected = 0.94 * torch.tensor([0.9, 0.05, 0.05]).double() + 0.06 * p[0]
    torch.testing.assert_close(found.soft[0], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.soft.sum(1), torch.ones(2, dtype=torch.float64))


def levels_of(count=20):
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    return assess(torch.arange(count) % 4, p / p.sum(1, keepdim=True), ordered=True, threshold=0.7)


def test_rejected_clips_enter_by_falling_reliability():
    found = levels_of()
    before = torch.zeros(20, dtype=torch.bool)
    for epoch in range(10):
        weight = Curriculum().weights(found, epoch, 10)
        here = weight > 0
        assert here[found.accepted].all()
        assert (here | ~before).all()
        entered, waiting = here & ~found.accepted, ~here & ~found.accepted
        if epoch < 4:
            assert not entered.any()
        if entered.any() and waiting.any():
            assert found.value[entered].min() >= found.value[waiting].max()
        torch.testing.assert_close(weight[here], found.value[here].clamp(min=0.3))
        before = here
    assert before.all()


def test_other_curricula():
    found = levels_of()
    for epoch in (0, 9):
        assert torch.equal(Curriculum("accepted").weights(found, epoch, 10) > 0, found.accepted)
        assert (Curriculum("none").weights(found, epoch, 10) > 0).all()
    assert Curriculum("none", floor=0.0).weights(found, 0, 1).min() < 0.3
    assert Curriculum(first=0.0, ramp=0.0).entered(0, 5) == 1


@pytest.mark.parametrize(
    ("options", "fault"), [({"stages": "one"}, "stages='one'"), ({"ramp": 2.0}, "in \\[0, 1\\]")]
)
def test_curricula_that_do_not_exist(options, fault):
    with pytest.raises(ConfigError, match=fault):
        Curriculum(**options)


def test_reliabilities_are_written(tmp_path):
    found = levels_of(4)
    clips = ClipLabels(tuple(("d", str(k)) for k in range(4)), tuple("abcd"), found.labels)
    found.write(tmp_path / "r.csv", clips, ["w", "x", "y", "z"])
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["w", "x", "y", "z"]
    assert [row["accepted"] == "1" for row in rows] == found.accepted.tolist()
    assert [float(row["reliability"]) for row in rows] == pytest.approx(found.value.tolist(), abs=1e-4)
    assert [float(rows[2][name]) for name in "wxyz"] == pytest.approx(found.rated[2].tolist(), abs=1e-4)


def test_questions_are_written_for_every_clip(tmp_path):
    clips = [ClipRecord(name, tmp_path / f"{name}.mp4") for name in "ab"]
    assert write_questions(tmp_path / "new" / "questions.csv", clips) == 20
    with (tmp_path / "new" / "questions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["question"] for row in rows[:10]] == list(QUESTIONS)
    assert rows[10] == {
        "clip": "b", "path": str(tmp_path / "b.mp4"), "question": "looks_at_screen",
        "text": QUESTIONS["looks_at_screen"],
    }  # fmt: skip


def written(tmp_path, text):
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    return path


def test_answers_of_several_raters_are_averaged_by_weight(tmp_path):
    text = "clip,question,answer,weight\na,x,0,1\na,x,1,0.5\na,y,1,\nb,y,,1\nb,x,0.5,0\n"
    found = read_ratings(written(tmp_path, text), 2)
    assert (found.clips, found.questions) == (("a", "b"), ("x", "y"))
    torch.testing.assert_close(found.answers[0], torch.tensor([1 / 3, 1.0]).double())
    assert found.answers[1].isnan().all()
    assert found.weights.tolist() == [[1, 1], [0, 0]]
    assert found.given.isnan().all()
    chosen = found.select(["c", "a"])
    assert chosen.answers[0].isnan().all()
    assert torch.equal(chosen.answers[1], found.answers[0])
    assert chosen.weights[0].tolist() == [0, 0]


def test_distributions_are_read(tmp_path):
    found = read_ratings(written(tmp_path, "clip,p0,p1\na,0.25,0.75\nb,,\n"), 2)
    assert found.given[0].tolist() == [0.25, 0.75]
    assert found.given[1].isnan().all()
    assert found.answers.shape == (2, 0)


@pytest.mark.parametrize(
    ("text", "fault", "line"),
    [
        ("clip,question\na,x\n", "The columns are clip, question", 1),
        ("clip,question,answer\n,x,1\n", "The clip is empty", 2),
        ("clip,question,answer\na,x,1\na,y,2\n", "Column 'answer' holds 2", 3),
        ("clip,question,answer,weight\na,x,1,-1\n", "Column 'weight' holds -1", 2),
        ("clip,p0,p1\na,0.5,0.6\n", "The probabilities sum to 1.100", 2),
    ],
)
def test_faults_of_ratings_name_file_and_line(tmp_path, text, fault, line):
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_ratings(written(tmp_path, text), 2)
    assert caught.value.line == line


def test_true_labels_are_read(tmp_path):
    path = written(tmp_path, "clip,label\na,high\nb,low\n")
    assert read_labels(path, ("low", "high")) == {"a": 1, "b": 0}
    with pytest.raises(AnnotationError, match="The label is 'high'"):
        read_labels(path, ("low", "medium"))
    with pytest.raises(AnnotationError, match="The column label is missing"):
        read_labels(written(tmp_path, "clip,level\na,high\n"), ("low", "high"))
    with pytest.raises(DatasetNotFoundError):
        read_ratings(tmp_path / "none.csv", 2)
