"""Published rules, and the priors derived from them."""

from __future__ import annotations

import pytest

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import (
    ACTION_UNITS,
    AU_SETS,
    DU_2014,
    EMFACS,
    EXPRESSION_SETS,
    OBJECTIVE_CLASSES,
    ActionUnit,
    AUSet,
    ExpressionSet,
    objective_class,
    parse_coding,
    prior,
    pspi,
)

# The recommended P(AU | expression) over the BP4D and DISFA units, row by row as published tables give it.
BP4D12 = """
happiness .05 .05 .05 .51 .05 .05 .85 .05 .05 .05 .05 .05
sadness   .60 .05 .85 .50 .05 .05 .05 .05 .85 .67 .05 .05
anger     .05 .05 .85 .05 .85 .26 .05 .05 .05 .52 .29 .85
surprise  .85 .85 .05 .05 .05 .05 .05 .05 .05 .05 .05 .05
disgust   .05 .05 .31 .05 .05 .85 .05 .05 .05 .85 .05 .26
fear      .85 .57 .85 .05 .05 .05 .05 .05 .05 .05 .05 .05
neutral   .05 .05 .05 .05 .05 .05 .05 .05 .05 .05 .05 .05
"""
DISFA8 = """
happiness .05 .05 .05 .51 .05 .85 .85 .05
sadness   .60 .05 .85 .50 .05 .05 .05 .05
anger     .05 .05 .85 .05 .05 .05 .05 .05
surprise  .85 .85 .05 .05 .05 .05 .85 .85
disgust   .05 .05 .31 .05 .85 .05 .05 .05
fear      .85 .57 .85 .05 .05 .05 .85 .33
neutral   .05 .05 .05 .05 .05 .05 .05 .05
"""


@pytest.mark.parametrize(("units", "text"), [("bp4d12", BP4D12), ("disfa8", DISFA8)])
@pytest.mark.parametrize("expressions", ["basic6", "basic7", "rafdb7", "dfew7"])
def test_recommended_priors(expressions, units, text):
    rows = {name: tuple(map(float, values)) for name, *values in map(str.split, text.strip().splitlines())}
    expected = tuple(rows[name] for name in EXPRESSION_SETS[expressions].classes)
    assert prior(EXPRESSION_SETS[expressions], AU_SETS[units]) == expected


def test_prior_of_a_compound_and_of_sided_units():
    expressions, units = ExpressionSet.parse("happily disgusted,neutral"), AUSet.parse("AU4,AU10,AU12L,AU26")
    assert prior(expressions, units, prototypical=0.9, absent=0.01, neutral=0.02) == (
        (0.32, 0.9, 0.9, 0.01),
        (0.02, 0.02, 0.02, 0.02),
    )


def test_prior_refuses_what_it_does_not_know():
    with pytest.raises(LabelSpaceError, match="No prior is published for 'contempt'"):
        prior(EXPRESSION_SETS["affectnet8"], AU_SETS["disfa8"])
    with pytest.raises(ConfigError, match=r"absent=1\.5 is not a probability"):
        prior(EXPRESSION_SETS["basic6"], AU_SETS["disfa8"], absent=1.5)


def test_du_2014_holds_its_definition():
    """Prototypical means 70 % or more; a variant is under 70 % and at least 20 %."""
    assert len(DU_2014) == 21
    assert set(EXPRESSION_SETS["basic6"].classes) | set(EXPRESSION_SETS["rafdb11"].classes) <= set(DU_2014)
    for category in DU_2014.values():
        assert set(category.prototypical).isdisjoint(category.variants)
        assert set(category.prototypical) | set(category.variants) <= set(ACTION_UNITS)
        assert all(0.20 <= fraction < 0.70 for fraction in category.variants.values())


def test_emfacs():
    assert set(EMFACS) == {*EXPRESSION_SETS["basic6"].classes, "contempt"}
    assert {frozenset({ActionUnit(6), ActionUnit(12)}), frozenset({ActionUnit(12)})} == set(
        EMFACS["happiness"]
    )
    assert all(unit.side for combination in EMFACS["contempt"] for unit in combination)
    assert [len(EMFACS[name]) for name in EMFACS] == [2, 3, 2, 4, 4, 8, 4]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("12", 1),
        ("L12", 1),
        ("6+7+12", 1),
        ("R1+R2", 2),
        ("25+26", 2),
        ("4", 3),
        ("4+7", 3),
        ("17+24", 3),
        ("9+4", 4),
        ("4+5+7+9", 4),
        ("1+4", 5),
        ("15+17", 5),
        ("20", 6),
        ("1+2+4", 6),
        ("14", 7),
        ("4+14", 7),
        ("6+12+15", 7),
    ],
)
def test_objective_class(cell, number):
    assert objective_class(parse_coding(cell).active()) == number


def test_objective_classes_are_disjoint():
    combinations = [combination for members in OBJECTIVE_CLASSES.values() for combination in members]
    assert len(set(combinations)) == len(combinations)
    assert [len(members) for members in OBJECTIVE_CLASSES.values()] == [5, 6, 8, 10, 5, 2]
    assert objective_class([]) == 7


@pytest.mark.parametrize(
    ("intensity", "score"),
    [
        ({}, 0.0),
        ({4: 5, 6: 5, 7: 5, 9: 5, 10: 5, 43: 1}, 16.0),
        ({4: 1, 7: 2, 10: 3}, 6.0),
        ({6: 4, 7: 1, 9: 2, 10: 0.5, 12: 5}, 6.0),
    ],
)
def test_pspi(intensity, score):
    assert pspi(intensity) == score
