"""The score of units, expressions, valence and arousal, against scikit-learn and the definition of concordance."""

import numpy as np
import pytest
import torch
from helpers.wild import HEADS, UNITS, Wild, evaluate
from sklearn.metrics import f1_score

from affectkit.cli import folds
from affectkit.datasets import find_corpus
from affectkit.metrics import AUMetrics, DimensionMetrics, ExpressionMetrics
from affectkit.models import AUIntensityHead
from affectkit.tasks.evaluation import Evaluation
from affectkit.tasks.score import Part, find_parts, join_parts
from affectkit.tasks.states import plain_states

CHOSEN = {"au": {"AU1": 0.3, "AU12": 0.6, "AU4": 0.5}}


def concordance(x, y):
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def expected(seen, people, thresholds=(0.5, 0.5, 0.5)):
    """The score and its baseline by the definitions, on the clips of some people."""
    rows = [(logits, targets) for subject, logits, targets in seen if subject in people]

    def table(name, target):
        outputs = torch.cat([logits[name][0] for logits, _ in rows])
        value = torch.cat([targets[target].value[0] for _, targets in rows])
        mask = torch.cat([targets[target].mask[0] for _, targets in rows])
        return outputs, value.numpy(), mask.numpy()

    outputs, value, mask = table("va", "va")
    outputs = outputs.numpy()
    ccc = np.mean([concordance(outputs[mask[:, i], i], value[mask[:, i], i]) for i in range(2)])
    outputs, value, mask = table("emotion", "expression")
    f1_classes = f1_score(value[mask], outputs.argmax(-1).numpy()[mask], average="macro")
    majority = np.full(mask.sum(), np.bincount(value[mask]).argmax())
    trivial = f1_score(value[mask], majority, average="macro")
    outputs, value, mask = table("au", "au")
    active = outputs.sigmoid().numpy() >= np.array(thresholds)
    f1_units = np.mean([f1_score(value[mask[:, i], i], active[mask[:, i], i]) for i in range(3)])
    trivial += np.mean([f1_score(value[mask[:, i], i], np.ones(mask[:, i].sum())) for i in range(3)])
    return ccc + f1_classes + f1_units, trivial


def test_the_score_is_that_of_its_definition_with_interval_and_baseline():
    data = Wild(split="test")
    evaluation, seen = evaluate(data)
    people = list(data.subjects)
    assert evaluation.values()["toy/mtl/score"].item() == pytest.approx(expected(seen, people)[0], abs=1e-6)
    found = evaluation.results(rule="val", thresholds=CHOSEN, protocol=lambda name: f"{name}: test split")
    rows = found["toy/mtl"]
    assert [(row.name, row.threshold_rule) for row in rows] == [("mtl/score", "fixed"), ("mtl/score", "val")]
    for row, thresholds in zip(rows, ((0.5, 0.5, 0.5), (0.3, 0.6, 0.5)), strict=True):
        score, trivial = expected(seen, people, thresholds)
        assert row.estimate.value == pytest.approx(score, abs=1e-6)
        assert row.baseline == pytest.approx(trivial, abs=1e-6)
        assert -1 <= row.estimate.low < row.estimate.value < row.estimate.high <= 3
        assert (row.protocol, row.resampled) == ("toy: test split", "subjects")
    women = found["toy/mtl/sex=female"][0]
    assert women.estimate.value == pytest.approx(expected(seen, [people[0], people[2]])[0], abs=1e-6)
    assert women.protocol == "toy: test split; sex=female alone, 2 subjects"


def test_a_person_is_left_out_of_all_targets_at_once():
    data = Wild(split="test")
    evaluation, seen = evaluate(data)
    metrics = {name: evaluation.metrics["toy", name] for name in HEADS}
    parts = find_parts(HEADS, metrics)
    assert parts == {"va": "ccc", "emotion": "uf1", "au": "f1_pos"}
    whole = join_parts([Part(type(metrics[n]), result, metrics[n].tally()) for n, result in parts.items()])
    without = whole.without_each()["score"]
    people = list(data.subjects)
    for left_out, score in zip(people, without.tolist(), strict=True):
        others = [person for person in people if person != left_out]
        assert score == pytest.approx(expected(seen, others)[0], abs=1e-6)


def test_a_corpus_without_one_of_the_targets_has_no_score():
    data = Wild(split="test")
    two = {name: HEADS[name] for name in ("va", "au")}
    evaluation, _ = evaluate(data, two)
    assert not any("mtl" in name for name in evaluation.values())
    assert "toy/mtl" not in evaluation.results(rule="fixed", thresholds={}, protocol=str)
    graded = {**HEADS, "au": AUIntensityHead(4, f"intensity:{UNITS}", target="au")}
    metrics = {"va": DimensionMetrics(["valence"], 1), "emotion": ExpressionMetrics(["a", "b"], 1)}
    assert find_parts(graded, {**metrics, "au": AUMetrics(["AU1"], 1)})
    assert find_parts(graded, {**metrics, "au": DimensionMetrics(["AU1"], 1)}) == {}


def test_a_target_without_labels_leaves_the_score_undefined():
    evaluation = Evaluation(HEADS, [Wild(split="test")], "cpu")
    assert evaluation.values()["toy/mtl/score"].isnan()
    (row,) = evaluation.results(rule="fixed", thresholds={}, protocol=str)["toy/mtl"]
    assert row.to_dict()["value"] is None
    assert row.to_dict()["ci"] == [None, None]


def saved(name, evaluation, thresholds):
    counts = plain_states(evaluation.metric_states(), evaluation.datasets)
    return {"fold": name, "thresholds": thresholds, "people": {}, "counts": counts}


@pytest.mark.parametrize("protocol", ["CASME2", "BP4D"])  # one pools predictions, one takes the mean of folds
def test_all_folds_have_one_score(protocol):
    datasets = [Wild(split="test"), Wild(split="train")]
    pairs = [evaluate(data) for data in datasets]
    states = [
        saved(name, evaluation, CHOSEN) for name, (evaluation, _) in zip(("one", "two"), pairs, strict=True)
    ]
    rules = find_corpus(protocol).find_protocol()
    results = folds.reduce_folds(states, rules)
    assert list(results) == ["toy/va", "toy/emotion", "toy/au", "toy/mtl"]
    rows = {row.threshold_rule: row for row in results["toy/mtl"]}
    chosen = (0.3, 0.6, 0.5)
    if rules.reduction == "pooled":
        seen = [one for _, its in pairs for one in its]
        wanted = expected(seen, {subject for subject, _, _ in seen}, chosen)[0]
    else:
        wanted = np.mean(
            [
                expected(its, list(data.subjects), chosen)[0]
                for data, (_, its) in zip(datasets, pairs, strict=True)
            ]
        )
    assert rows["val"].estimate.value == pytest.approx(wanted, abs=1e-6)
    assert rows["val"].protocol.startswith(f"{rules.description}; 2 folds, ")
    for state in states:
        state["thresholds"] = {}
    assert [row.threshold_rule for row in folds.reduce_folds(states, rules)["toy/mtl"]] == ["fixed"]
    for state in states:
        for count in state["counts"]:
            del count["adds"]  # folds of earlier versions
    assert "toy/mtl" not in folds.reduce_folds(states, rules)
