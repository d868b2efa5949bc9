"""Paired comparison against a bootstrap and a sign-flip test that count one draw after the other."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score

from affectkit.errors import LabelSpaceError
from affectkit.metrics import AUMetrics, ExpressionMetrics, compare, mean_of_folds, pooled

UNITS = ["AU1", "AU12"]


def tables(seed, people, rows=6):
    """Labels, and logits of two models of which the second is better: [people, rows, units] each."""
    rng = np.random.default_rng(seed)
    truth = rng.random((people, rows, 2)) < 0.5
    noise = rng.normal(size=(2, people, rows, 2))
    signal = np.where(truth, 1.0, -1.0)
    return truth, noise[0] + 0.3 * signal, noise[1] + 1.5 * signal


def tally(truth, logits):
    people, rows, _ = truth.shape
    metric = AUMetrics(UNITS, people)
    value = torch.from_numpy(truth.reshape(-1, 2)).float()
    metric.update(
        torch.from_numpy(logits.reshape(-1, 2)),
        value,
        torch.ones_like(value, dtype=torch.bool),
        torch.arange(people).repeat_interleave(rows),
    )
    return metric.tally()


def f1(truth, logits):
    """Mean F1 of the units, and those of each."""
    truth, found = truth.reshape(-1, 2), logits.reshape(-1, 2) >= 0
    each = [f1_score(truth[:, unit], found[:, unit], zero_division=0) for unit in range(2)]
    return np.array([np.mean(each), *each])


NAMES = ["f1_pos", "f1_pos/AU1", "f1_pos/AU12"]


@pytest.mark.parametrize("chunk", [7, 1000])
def test_bootstrap_and_exact_exchanges_equal_the_reference(chunk, monkeypatch):
    monkeypatch.setattr("affectkit.metrics.comparison._CHUNK", chunk)
    people, draws = 5, 40
    truth, first, second = tables(0, people)
    found = compare([(tally(truth, first), tally(truth, second))], draws=draws, seed=7)
    rng = np.random.default_rng(7)
    resampled = []
    for counts in rng.multinomial(people, [1 / people] * people, draws):
        rows = np.repeat(np.arange(people), counts)
        resampled.append(f1(truth[rows], second[rows]) - f1(truth[rows], first[rows]))
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    observed = f1(truth, second) - f1(truth, first)
    exchanged = []
    for swapped in itertools.product([False, True], repeat=people):  # 32 exchanges, fewer than draws
        swap = np.array(swapped)[:, None, None]
        exchanged.append(f1(truth, np.where(swap, first, second)) - f1(truth, np.where(swap, second, first)))
    p = (np.abs(exchanged) >= np.abs(observed) - 1e-12).mean(0)
    for i, name in enumerate(NAMES):
        one = found[name]
        assert (one.first, one.second) == pytest.approx((f1(truth, first)[i], f1(truth, second)[i]))
        assert (one.difference, one.low, one.high, one.p) == pytest.approx(
            (observed[i], low[i], high[i], p[i])
        )
    assert not any(name.startswith("auc") for name in found)


@pytest.mark.parametrize("together", [False, True])
def test_folds_are_pooled_or_averaged(together):
    data = [tables(1, 4), tables(2, 6)]
    draws = 30
    found = compare(
        [(tally(truth, first), tally(truth, second)) for truth, first, second in data],
        pooled=together,
        draws=draws,
        seed=3,
    )
    for side, place in (("first", 1), ("second", 2)):
        tallies = [tally(fold[0], fold[place]) for fold in data]
        wanted = (pooled if together else mean_of_folds)(tallies)
        for name in NAMES:
            assert getattr(found[name], side) == pytest.approx(wanted[name].value)
    if together:
        data = [tuple(np.concatenate(tables) for tables in zip(*data, strict=True))]

    def difference(folds):
        return np.mean([f1(truth, second) - f1(truth, first) for truth, first, second in folds], axis=0)

    rng = np.random.default_rng(3)
    sizes = [len(truth) for truth, _, _ in data]
    drawn = [rng.multinomial(n, [1 / n] * n, draws) for n in sizes]
    flips = rng.integers(0, 2, (draws, sum(sizes)))  # all 1024 are more than the draws
    resampled, exchanged = [], []
    for k in range(draws):
        rows = [np.repeat(np.arange(n), counts[k]) for n, counts in zip(sizes, drawn, strict=True)]
        resampled.append(
            difference([[table[own] for table in fold] for fold, own in zip(data, rows, strict=True)])
        )
        kept = [part[:, None, None] == 1 for part in np.split(flips[k], np.cumsum(sizes)[:-1])]
        exchanged.append(
            difference(
                [
                    (truth, np.where(own, first, second), np.where(own, second, first))
                    for (truth, first, second), own in zip(data, kept, strict=True)
                ]
            )
        )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    p = (1 + (np.abs(exchanged) >= np.abs(difference(data)) - 1e-12).sum(0)) / (1 + draws)
    for i, name in enumerate(NAMES):
        one = found[name]
        assert (one.low, one.high, one.p) == pytest.approx((low[i], high[i], p[i]))


def test_classes_are_compared_with_absent_ones_left_out():
    rng = np.random.default_rng(5)
    truth, group = rng.integers(0, 2, 40), np.repeat(np.arange(8), 5)
    sides = []
    for _ in range(2):
        metric = ExpressionMetrics(["anger", "fear", "joy"], 9)  # nobody shows joy, and a person has no clip
        predicted = rng.integers(0, 2, 40)
        mask = torch.ones(40, dtype=torch.bool)
        metric.update(torch.eye(3)[predicted], torch.from_numpy(truth), mask, torch.from_numpy(group))
        sides.append((metric.tally(), recall_score(truth, predicted, average="macro")))
    found = compare([(sides[0][0], sides[1][0])], draws=300)
    assert (found["uar"].first, found["uar"].second) == pytest.approx((sides[0][1], sides[1][1]))
    assert found["uar"].low <= found["uar"].difference <= found["uar"].high
    assert 0 < found["uar"].p <= 1
    assert "recall/joy" not in found


def test_a_model_compared_with_itself_differs_by_nothing():
    truth, first, _ = tables(0, 4)
    one = compare([(tally(truth, first), tally(truth, first))], draws=50)["f1_pos"]
    assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_one_person_determines_no_interval():
    truth, first, second = tables(0, 1)
    one = compare([(tally(truth, first), tally(truth, second))], draws=10)["f1_pos"]
    assert one.difference > 0
    assert all(map(math.isnan, (one.low, one.high, one.p)))


def test_models_with_different_labels_are_refused():
    truth, first, _ = tables(0, 2)
    other = AUMetrics(["AU1", "AU4"], 2).tally()
    with pytest.raises(LabelSpaceError, match=r"different labels.*AU12.*AU4"):
        compare([(tally(truth, first), other)])
