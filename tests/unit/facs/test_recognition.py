"""Emotions from action units by rule."""

import itertools
import math

import pytest

from affectkit.errors import LabelSpaceError
from affectkit.facs import AUSet
from affectkit.facs.recognition import OBJECTIVE_SET, class_rules
from affectkit.facs.rules import OBJECTIVE_CLASSES, objective_class

UNITS = AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20)


def certain(units: AUSet, active: set[int]) -> list[float]:
    return [0.99 if unit.id in active else 0.01 for unit in units]


@pytest.mark.parametrize("number", sorted(OBJECTIVE_CLASSES))
def test_certain_units_give_the_published_objective_class(number: int) -> None:
    rules = class_rules(UNITS)
    for combination in OBJECTIVE_CLASSES[number]:
        active = {unit.id for unit in combination}
        if active <= {unit.id for unit in UNITS}:
            expected = OBJECTIVE_SET.classes[objective_class(combination) - 1]
            assert rules.decide(certain(UNITS, active)) == expected


def test_what_no_rule_claims_is_class_seven() -> None:
    assert class_rules(UNITS).decide(certain(UNITS, {1, 12})) == "class vii"
    assert class_rules(UNITS).decide(certain(UNITS, set())) == "class vii"


def test_scores_are_the_stated_means_of_logarithms() -> None:
    units, a = AUSet.of(4, 7, 12), [0.7, 0.4, 0.2]
    rules = class_rules(units, "happiness,anger,other")

    def score(active: set[int]) -> float:
        inside = [math.log(a[i]) for i in active]
        outside = [math.log(1 - a[i]) for i in {0, 1, 2} - active]
        return sum(sum(part) / len(part) for part in (inside, outside) if part)

    happiness, anger = [{2}, {1, 2}], [{0}, {0, 1}]  # 12, 7+12; 4, 4+7
    rest = [
        set(chosen)
        for size in range(4)
        for chosen in itertools.combinations(range(3), size)
        if set(chosen) not in happiness + anger
    ]
    expected = [max(map(score, sets)) for sets in (happiness, anger, rest)]
    assert rules.scores(a) == pytest.approx(expected)


def test_many_units_take_the_likeliest_combination_for_the_rest() -> None:
    units = AUSet.of(1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23)
    rules = class_rules(units, "happiness,other")
    assert rules.decide(certain(units, {12})) == "happiness"
    assert rules.decide(certain(units, {14, 23})) == "other"
    assert rules.scores(certain(units, {12}))[1] == -math.inf


def test_projection_drops_rules_and_lists_what_cannot_be_decided() -> None:
    rules = class_rules(AUSet.parse("casme2_8"), "casme2_5")
    assert rules.undecidable == ("disgust", "repression")
    assert rules.rest == "other"
    assert rules.scores([0.5] * 8)[rules.labels.index("disgust")] == -math.inf
    assert class_rules(UNITS).undecidable == ()


@pytest.mark.parametrize(
    ("emotion", "active"),
    [
        *(("happiness", {12}), ("surprise", {1, 2}), ("anger", {4, 7})),
        *(("disgust", {10}), ("sadness", {15}), ("fear", {20})),
    ],
)
def test_emotions_take_the_rules_of_the_class_they_were_the_origin_of(emotion: str, active: set[int]) -> None:
    rules = class_rules(UNITS, "happiness,surprise,anger,disgust,sadness,fear")
    assert rules.rest is None
    assert rules.decide(certain(UNITS, active)) == emotion


def test_objective_classes_go_by_name() -> None:
    assert class_rules(UNITS, "objective7") == class_rules(UNITS)
    five = class_rules(UNITS, "objective")
    assert five.labels == ("class i", "class ii", "class iii", "class iv", "class v")
    assert five.rest is None
    assert five.decide(certain(UNITS, {20})) != "class vi"


def test_megc_classes_take_the_rules_of_their_emotions() -> None:
    rules = class_rules(UNITS, "megc3")
    assert rules.rest is None
    assert rules.decide(certain(UNITS, {6, 12})) == "positive"
    assert rules.decide(certain(UNITS, {1, 2})) == "surprise"
    assert [rules.decide(certain(UNITS, active)) for active in ({4}, {10}, {15}, {20})] == ["negative"] * 4


def test_faults_are_named() -> None:
    with pytest.raises(LabelSpaceError, match="No rule covers"):
        class_rules(AUSet.of(14, 28), "megc3")
    with pytest.raises(LabelSpaceError, match="2 probabilities do not fit 12 units"):
        class_rules(UNITS).scores([0.1, 0.2])
