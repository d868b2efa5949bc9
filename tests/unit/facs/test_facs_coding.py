"""The grammar of action-unit cells."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import AnnotationError
from affectkit.facs import ACTION_UNITS, ActionUnit, AUSet, CodedUnit, parse_coding


def au(text):
    return ActionUnit.parse(text)


def aus(text):
    return frozenset(map(au, text.split()))


# --- one atom -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "unit", "placement", "intensity"),
    [
        # CASME II
        ("4", "4", None, ""),
        ("L12", "12L", None, ""),
        ("R4", "4R", None, ""),
        # SAMM
        ("12A", "12", None, "A"),
        ("7E", "7", None, "E"),
        ("12B/C", "12", None, "BC"),
        ("L14A", "14L", None, "A"),
        ("L14C", "14L", None, "C"),
        ("R12B", "12R", None, "B"),
        ("T10", "10", "T", ""),
        ("B12", "12", "B", ""),
        ("A12", "12", "A", ""),  # asymmetric, not an intensity
        ("A12B", "12", "A", "B"),
        ("A7E", "7", "A", "E"),
        ("A/L12", "12L", "A", ""),
        # MMEW's suffixes, DFME's descriptors and movements, our own columns
        ("12L", "12L", None, ""),
        ("10R", "10R", None, ""),
        ("AD31", "31", "AD", ""),
        ("AD39", "39", "AD", ""),
        ("M57", "57", "M", ""),
        ("AU12", "12", None, ""),
        ("AU01", "1", None, ""),
        ("AU12L", "12L", None, ""),
        # loose writing
        (" 12 ", "12", None, ""),
        ("L 12", "12L", None, ""),
        ("12 b", "12", None, "B"),
        ("r12b", "12R", None, "B"),
        ("T10L", "10L", "T", ""),
        ("１２", "12", None, ""),
    ],
)
def test_atoms(cell, unit, placement, intensity):
    coding = parse_coding(cell)
    assert coding.known
    assert coding.text == cell
    assert coding.units == (CodedUnit(au(unit), placement, tuple(intensity)),)


def test_references():
    assert parse_coding("ref(4)").units == (CodedUnit(au("4"), is_reference=True),)
    assert parse_coding("ref(12B)").units == (CodedUnit(au("12"), None, ("B",), True),)
    assert parse_coding("REF (L10)").units == (CodedUnit(au("10L"), is_reference=True),)
    assert parse_coding("7+ref(4)+12").active() == aus("4 7 12")
    assert parse_coding("7+ref(4)+12").active(references=False) == aus("7 12")
    (either,) = parse_coding("ref(R14 or 17)").units
    assert either.is_reference
    assert either.alternatives[0].is_reference


@pytest.mark.parametrize(
    ("cell", "readings"),
    [
        ("L12 or L14", ["12L", "14L"]),
        ("R6 or R12", ["6R", "12R"]),
        ("R14A or 17A or 24B", ["14R", "17", "24"]),
        ("(R6 or R12)", ["6R", "12R"]),
        ("12/14", ["12", "14"]),
        ("12A/L14", ["12", "14L"]),
        ("12A/B or 14", ["12", "14"]),
        ("12A/B/A/L14", ["12", "14L"]),
        ("12or14", ["12", "14"]),
        ("12 OR 14", ["12", "14"]),
    ],
)
def test_alternatives(cell, readings):
    (coded,) = parse_coding(cell).units
    assert [str(unit) for unit in coded.readings] == [f"AU{reading}" for reading in readings]


def test_alternatives_keep_their_own_intensity():
    (coded,) = parse_coding("R14A or 17B/C").units
    assert coded == CodedUnit(au("14R"), None, ("A",), alternatives=(CodedUnit(au("17"), None, ("B", "C")),))


# --- whole cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "active"),
    [
        ("4+7", "4 7"),
        ("4+7+6", "4 6 7"),
        ("R1+R2", "1R 2R"),
        ("L1+L2", "1L 2L"),
        ("R4+R10", "4R 10R"),
        ("1+R2+25", "1 2R 25"),
        ("4+L10", "4 10L"),
        ("L12 + 61", "12L 61"),
        ("12+15 ", "12 15"),
        ("14+17+24", "14 17 24"),
        ("4, 7", "4 7"),
        ("4，7", "4 7"),
        ("4＋7", "4 7"),
        ("4 + soft focus", "4"),
        ("L1+R1", "1L 1R"),
        ("4+4", "4"),
    ],
)
def test_cells(cell, active):
    assert parse_coding(cell).active() == aus(active)


@pytest.mark.parametrize(
    "cell",
    [
        "?",
        "*",
        "",
        "  ",
        "none",
        "None",
        "NULL",
        "nan",
        "NaN",
        " ? ",
        "？",
        None,
        math.nan,
        np.nan,
        pd.NA,
        pd.NaT,
    ],
)
def test_unknown_cells(cell):
    coding = parse_coding(cell)
    assert not coding.known
    assert coding.units == ()
    assert coding.active("all") == frozenset()
    assert coding.occurrence(AUSet.of(1, 2)) == ((0.0, 0.0), (False, False))


@pytest.mark.parametrize("cell", ["0", 0, 0.0, np.int64(0), "soft focus", "Soft Focus"])
def test_cells_that_say_that_nothing_was_active(cell):
    coding = parse_coding(cell)
    assert coding.known
    assert coding.units == ()
    assert coding.occurrence(AUSet.of(1, 2)) == ((0.0, 0.0), (True, True))


@pytest.mark.parametrize(
    "cell", [4, 4.0, "4.0", "4", np.int64(4), np.int8(4), np.float64(4.0), np.float32(4), np.str_("4")]
)
def test_what_spreadsheet_readers_make_of_a_number(cell):
    assert parse_coding(cell).units == parse_coding("4").units == (CodedUnit(au("4")),)


def test_a_column_that_pandas_turned_into_floats():
    column = pd.Series([4, None, 12])
    assert [parse_coding(cell).known for cell in column] == [True, False, True]
    assert parse_coding(column[2]).active() == aus("12")


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("612", "'612' is not a unit"),
        ("1214", "'1214' is not a unit"),
        ("141724", "'141724' is not a unit"),
        (612, "'612' is not a unit"),
        ("3", "FACS has no unit 3"),
        ("99", "FACS has no unit 99"),
        (999, "'999' is not a unit"),
        (-1, "'-1' is not a unit"),
        (4.5, r"'4' is followed by '\.5'"),
        (math.inf, "'inf' is not a unit"),
        ("4+", "a unit is missing"),
        ("+", "a unit is missing"),
        ("4++7", "a unit is missing"),
        ("4 or", "a unit is missing"),
        ("or 4", "'or 4' is not a unit"),
        ("ref()", "a unit is missing"),
        ("()", "a unit is missing"),
        ("1 2", "followed by '2'"),
        ("4x", "followed by 'x'"),
        ("12AB", "followed by 'B'"),
        ("12F", "followed by 'F'"),
        ("L12R", "'L12R' names a side twice"),
        ("(4", "parentheses"),
        ("4)", "parentheses"),
        ("((4))", "parentheses"),
        ("ref(4+7)", r"followed by '\+7'"),
        ("4+?", r"'\?' is not a unit"),
        ("0+4", "FACS has no unit 0"),
        ("smile", "'smile' is not a unit"),
        ("s" * 100, f"'{'s' * 40}…' is not a unit"),
        (True, "not bool"),
        ([4], "not list"),
        (b"4", "not bytes"),
        (np.array([4]), "not ndarray"),
        (Decimal(4), "not Decimal"),
        (Fraction(9, 2), r"'4' is followed by '\.5'"),
        (pytest.param(10**5000, "too large", id="huge")),
    ],
)
def test_what_cannot_be_read(cell, fault):
    with pytest.raises(AnnotationError, match=f"Not an action-unit code: .*{fault}"):
        parse_coding(cell)


def test_errors_name_the_place_and_the_remedy():
    with pytest.raises(AnnotationError) as caught:
        parse_coding("612", path="codes.xlsx", line=17)
    assert str(caught.value).startswith(
        "codes.xlsx, line 17: Not an action-unit code: '612' is not a unit. Write"
    )
    assert caught.value.__cause__ is None


# --- policies -------------------------------------------------------------------------------------


def test_policies_for_alternatives():
    coding = parse_coding("(R6 or R12) + R15 + ref(4)")
    assert coding.active() == aus("6R 15R 4")
    assert coding.active("first", references=False) == aus("6R 15R")
    assert coding.active("all") == aus("6R 12R 15R 4")
    assert coding.active("drop") == coding.active("mask") == aus("15R 4")


SPACE = AUSet.parse("4,6,12,12L,12R,14,17")


@pytest.mark.parametrize(
    ("cell", "policy", "values", "mask"),
    [
        ("4+12", "first", "1 0 1 1 1 0 0", "1 1 1 1 1 1 1"),
        ("L12", "first", "0 0 1 1 0 0 0", "1 1 1 1 1 1 1"),
        ("A12", "first", "0 0 1 1 1 0 0", "1 1 1 1 1 1 1"),
        ("R14 or 17", "first", "0 0 0 0 0 1 0", "1 1 1 1 1 1 1"),
        ("R14 or 17", "all", "0 0 0 0 0 1 1", "1 1 1 1 1 1 1"),
        ("R14 or 17", "drop", "0 0 0 0 0 0 0", "1 1 1 1 1 1 1"),
        ("R14 or 17", "mask", "0 0 0 0 0 0 0", "1 1 1 1 1 0 0"),
        ("17 + (R14 or 17)", "mask", "0 0 0 0 0 0 1", "1 1 1 1 1 0 1"),
        ("L12 or R12", "mask", "0 0 1 0 0 0 0", "1 1 1 0 0 1 1"),  # which side is open, the unit is not
        ("4", "mask", "1 0 0 0 0 0 0", "1 1 1 1 1 1 1"),
        ("?", "mask", "0 0 0 0 0 0 0", "0 0 0 0 0 0 0"),
    ],
)
def test_label_vectors(cell, policy, values, mask):
    expected = tuple(map(float, values.split())), tuple(flag == "1" for flag in mask.split())
    assert parse_coding(cell).occurrence(SPACE, policy) == expected


def test_label_vectors_without_references():
    coding = parse_coding("ref(4)+ref(6 or 14)")
    every = (True,) * 7
    assert coding.occurrence(SPACE)[0] == (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert coding.occurrence(SPACE, references=False) == ((0.0,) * 7, every)
    assert coding.occurrence(SPACE, "mask", references=False) == ((0.0,) * 7, every)


def test_counts_over_a_table():
    """The count differs by policy in the way SAMM's does: first < all, drop < first."""
    cells = ["12", "L14 or L17", "(R6 or R12)+R15", "ref(4)+7", "?", "A12B", "R14A or 14 or 17"]
    counts = {
        policy: sum(len({unit.id for unit in parse_coding(cell).active(policy)}) for cell in cells)
        for policy in ("first", "all", "drop")
    }
    assert counts == {"first": 8, "all": 11, "drop": 5}


# --- properties -----------------------------------------------------------------------------------

UNITS = st.builds(ActionUnit, st.sampled_from(sorted(ACTION_UNITS)), st.sampled_from([None, "L", "R"]))
GRADES = st.lists(st.sampled_from("ABCDE"), max_size=2).map(tuple)
PLACEMENTS = st.sampled_from([None, "T", "B", "A", "AD", "M"])


@st.composite
def coded_units(draw):
    reference = draw(st.booleans())
    atoms = st.builds(CodedUnit, UNITS, PLACEMENTS, GRADES, st.just(reference))
    first, *others = draw(st.lists(atoms, min_size=1, max_size=4))
    return CodedUnit(first.unit, first.placement, first.intensity, reference, tuple(others))


@given(st.lists(coded_units(), min_size=1, max_size=5), st.sampled_from(["+", " + ", ",", "，"]))
def test_reading_inverts_writing(units, sign):
    assert parse_coding(sign.join(map(str, units))).units == tuple(units)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="0123456789LRTBAMDEU+,/() orefsoft?*."),
        st.integers(),
        st.floats(),
        st.none(),
        st.booleans(),
        st.binary(),
        st.lists(st.integers()),
        st.fractions(),
        st.complex_numbers(),
    )
)
def test_nothing_but_annotation_errors_is_raised(cell):
    try:
        coding = parse_coding(cell)
    except AnnotationError:
        return
    assert coding.known or not coding.units
    assert coding.active("drop") <= coding.active("first") <= coding.active("all")
    assert parse_coding(coding.text) == coding


@pytest.mark.parametrize("cell", [10**8, 1e8, 612, 1e300, 4.5])
def test_numbers_that_are_no_unit_are_errors_however_they_print(cell):
    with pytest.raises(AnnotationError):
        parse_coding(cell)
