"""Results by group of people, from one test and from all folds of a cross-validation."""

from types import SimpleNamespace

import pytest
import torch
from helpers.toy import ToyDataset

from affectkit.cli import folds
from affectkit.data import Draw, collate
from affectkit.datasets import BP4D, find_corpus
from affectkit.metrics import AUMetrics, ExpressionMetrics, estimate
from affectkit.models import AUHead
from affectkit.tasks.evaluation import Evaluation, groups_of


class Known(ToyDataset):
    """The toy corpus, whose people have a sex but for the last."""

    def people(self):
        return {"sex": ("female", "male", "female", None), "camera": ("left",) * 4}


def test_bp4d_says_the_sex_of_its_people():
    corpus = SimpleNamespace(subjects=("F001", "M001", "X001"))
    assert BP4D.people(corpus) == {"sex": ("female", "male", None)}
    assert ToyDataset().people() == {}


def test_groups_are_of_attributes_that_differ():
    assert groups_of({"sex": ["f", None, "m", "f"], "side": ["left", "left", None, "left"]}) == {
        "sex=f": [0, 3],
        "sex=m": [2],
    }
    assert groups_of({}) == {}


def test_a_tally_of_some_groups_counts_them_alone():
    metric, alone = ExpressionMetrics(["a", "b"], 3), ExpressionMetrics(["a", "b"], 2)
    scores, truth = torch.eye(2)[[0, 1, 1, 0, 0, 1]], torch.tensor([0, 1, 0, 0, 1, 1])
    mask, group = torch.ones(6, dtype=torch.bool), torch.tensor([0, 0, 1, 1, 2, 2])
    metric.update(scores, truth, mask, group)
    kept = group != 1
    alone.update(scores[kept], truth[kept], mask[kept], group[kept] // 2)
    found, wanted = estimate(metric.tally().only([0, 2])), estimate(alone.tally())
    assert found.keys() == wanted.keys()
    for name, each in found.items():
        assert each == pytest.approx(wanted[name], nan_ok=True)


def test_a_test_is_also_given_group_by_group():
    data = Known(split="all")
    data.subjects = data.subjects[:4]
    data.clips = [record for record in data.clips if record.subject in data.subjects]
    evaluation = Evaluation({"au": AUHead(4, "AU1,AU12")}, [data], "cpu")
    logits = {}
    rng = torch.Generator().manual_seed(0)
    women = AUMetrics(["AU1", "AU12"], 2)
    for index in range(len(data)):
        batch = collate([data[Draw(index)]])
        logits["au"] = torch.randn(1, 3, 2, generator=rng)
        evaluation.update(0, logits, batch)
        target = batch.targets["au"].project("AU1,AU12")
        if batch.meta["subject"][0] in ("s00", "s02"):
            group = torch.tensor([int(batch.meta["subject"][0] == "s02")])
            women.update(logits["au"], target.value, target.mask, group)
    chosen = {"au": {"AU1": 0.3, "AU12": 0.6}}
    found = evaluation.results(rule="val", thresholds=chosen, protocol=lambda name: f"{name}: test split")
    assert list(found) == ["toy/au", "toy/au/sex=female", "toy/au/sex=male"]
    rows = {(row.name, row.threshold_rule): row for row in found["toy/au/sex=female"]}
    for rule, thresholds in (("fixed", 0.5), ("val", chosen["au"])):
        wanted = estimate(women.tally(thresholds).only([0, 1]))
        assert rows["au/f1_pos", rule].estimate == wanted["f1_pos"]
        assert rows["au/f1_pos/AU12", rule].estimate == wanted["f1_pos/AU12"]
    assert rows["au/f1_pos", "fixed"].protocol == "toy: test split; sex=female alone, 2 subjects"
    assert found["toy/au"][0].protocol == "toy: test split"


def fold(name, people, scores):
    metric = ExpressionMetrics(["a", "b"], len(people))
    truth = torch.tensor([0, 1] * len(people))
    group = torch.arange(len(people)).repeat_interleave(2)
    metric.update(torch.eye(2)[scores], truth, torch.ones(len(truth), dtype=torch.bool), group)
    metric.persistent(True)
    count = {"dataset": "d", "head": "e", "space": "a,b", "over": "subjects", "num_groups": len(people)}
    return {
        "fold": name,
        "thresholds": {},
        "people": {"sex": people},
        "counts": [{**count, "state": metric.state_dict()}],
    }


@pytest.mark.parametrize("protocol", ["CASME2", "BP4D"])  # one pools predictions, one takes the mean of folds
def test_all_folds_are_also_given_group_by_group(protocol):
    states = [
        fold("one", ["female", "male"], [0, 1, 0, 0]),
        fold("two", ["female"], [1, 1]),
        fold("three", ["male"], [1, 0]),
    ]
    found = folds.reduce_folds(states, find_corpus(protocol).find_protocol())
    assert list(found) == ["d/e", "d/e/sex=female", "d/e/sex=male"]
    accuracy = {
        key: next(row for row in rows if row.name == "e/war").estimate.value for key, rows in found.items()
    }
    assert accuracy["d/e/sex=female"] == pytest.approx(0.75)
    assert accuracy["d/e/sex=male"] == pytest.approx(0.25)
    assert "sex=male alone, 2 people" in found["d/e/sex=male"][0].protocol
    for state in states:
        del state["people"]  # folds of earlier versions
    assert list(folds.reduce_folds(states, find_corpus(protocol).find_protocol())) == ["d/e"]
