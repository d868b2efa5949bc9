"""Action units and their table."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import LabelSpaceError
from affectkit.facs import ACTION_UNITS, ActionUnit

UNITS = st.builds(ActionUnit, st.sampled_from(sorted(ACTION_UNITS)), st.sampled_from([None, "L", "R"]))


@given(UNITS)
def test_parse_inverts_str_and_column(unit):
    assert ActionUnit.parse(str(unit)) == unit
    assert ActionUnit.parse(unit.column) == unit
    assert pickle.loads(pickle.dumps(unit)) == unit


@given(UNITS)
def test_mirroring_twice_is_the_identity(unit):
    assert unit.mirrored().mirrored() == unit
    assert unit.mirrored().id == unit.id
    assert (unit.mirrored() == unit) == (unit.side is None)


@pytest.mark.parametrize(
    ("text", "number", "side"),
    [
        ("AU12", 12, None),
        ("12", 12, None),
        ("au12l", 12, "L"),
        ("AU12R", 12, "R"),
        ("AU01", 1, None),
        (" 4r ", 4, "R"),
    ],
)
def test_spellings(text, number, side):
    assert ActionUnit.parse(text) == ActionUnit(number, side)


@pytest.mark.parametrize("text", ["", "AU", "AU3", "AU0", "AU99", "AU120", "12X", "L12", "AU1,AU2", "١٢"])
def test_what_is_no_unit(text):
    with pytest.raises(LabelSpaceError):
        ActionUnit.parse(text)


@given(st.text())
def test_parse_raises_only_its_own_error(text):
    with contextlib.suppress(LabelSpaceError):
        assert ActionUnit.parse(text).id in ACTION_UNITS


def test_constructor_checks_number_and_side():
    with pytest.raises(LabelSpaceError, match="no action unit 3"):
        ActionUnit(3)
    with pytest.raises(LabelSpaceError, match="'left' is not a side"):
        ActionUnit(12, "left")


def test_order_is_by_number_then_unsided_left_right():
    mixed = [ActionUnit(12, "R"), ActionUnit(2), ActionUnit(12), ActionUnit(12, "L"), ActionUnit(1)]
    assert [str(unit) for unit in sorted(mixed)] == ["AU1", "AU2", "AU12", "AU12L", "AU12R"]
    assert ActionUnit(1) < ActionUnit(2) <= ActionUnit(2)
    assert ActionUnit(12, "R") > ActionUnit(12)


def test_covers():
    both, left, right = ActionUnit(12), ActionUnit(12, "L"), ActionUnit(12, "R")
    assert both.covers(left)
    assert left.covers(both)
    assert left.covers(left)
    assert not left.covers(right)
    assert not both.covers(ActionUnit(14))
    assert left.unsided() == both
    assert both.unsided() is both


def test_table_holds_what_the_corpora_code():
    bp4d = {1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40)}
    samm = {2, 4, 7, 8, 12, 21, 31, 43, 56, 61}
    disfa, casme2 = {25, 26}, {38}
    assert bp4d | samm | disfa | casme2 <= set(ACTION_UNITS)
    assert set(ACTION_UNITS).isdisjoint({0, 3, 47, 48, 49, 67, 70, 71, 72, 73, 74})


def test_table_is_complete_and_names_are_unique():
    names = [facts.name for facts in ACTION_UNITS.values()]
    assert len(set(names)) == len(names)
    for facts in ACTION_UNITS.values():
        texts = [facts.name, facts.region, facts.cue, *facts.muscles]
        assert all(text and text == text.strip() for text in texts)
        assert facts.name == facts.name.lower()


@pytest.mark.parametrize(
    ("number", "name", "muscles", "area"),
    [
        (1, "inner brow raiser", ("frontalis, medial part",), "upper"),
        (2, "outer brow raiser", ("frontalis, lateral part",), "upper"),
        (4, "brow lowerer", ("corrugator supercilii", "depressor supercilii", "procerus"), "upper"),
        (9, "nose wrinkler", ("levator labii superioris alaeque nasi",), "mid"),
        (12, "lip corner puller", ("zygomaticus major",), "lower"),
        (24, "lip pressor", ("orbicularis oris",), "lower"),
        (43, "eyes closed", ("levator palpebrae superioris, relaxed",), "upper"),
        (51, "head turn left", (), "head"),
        (54, "head down", (), "head"),
        (56, "head tilt right", (), "head"),
        (61, "eyes turn left", (), "eye"),
        (66, "cross-eye", (), "eye"),
        (40, "sniff", (), "other"),
    ],
)
def test_facts(number, name, muscles, area):
    unit = ActionUnit(number)
    assert (unit.name, unit.facts.muscles, unit.facts.area) == (name, muscles, area)


def test_areas_are_those_of_the_grouping():
    numbers = {
        area: {n for n, f in ACTION_UNITS.items() if f.area == area} for area in ("upper", "mid", "lower")
    }
    assert numbers["upper"] == {1, 2, 4, 5, 6, 7, 41, 42, 43, 44, 45, 46}
    assert numbers["mid"] == {9, 10, 11, 38, 39}
    assert set(range(12, 29)) <= numbers["lower"]


def test_units_and_table_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ActionUnit(1).id = 2
    with pytest.raises(TypeError):
        ACTION_UNITS[3] = ACTION_UNITS[1]
