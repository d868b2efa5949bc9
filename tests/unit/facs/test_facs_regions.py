"""Region centres against values computed by hand, and texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import AnnotationError, LabelSpaceError
from affectkit.facs import (
    ACTION_UNITS,
    AU_SETS,
    FLIP_68,
    REGIONS,
    ActionUnit,
    au_name,
    au_prompt_pair,
    region_centres,
)
from affectkit.facs.regions import POINTS_49, POINTS_66

# Three faces, each given by the landmarks that the hand computations below use.
FRONTAL = {  # inner eye corners (90, 100) and (120, 100): length 30
    8: (105, 210),
    17: (50, 82), 18: (60, 75), 19: (70, 72), 20: (80, 74), 21: (92, 78),
    22: (118, 78), 23: (130, 74), 24: (140, 72), 25: (150, 75), 26: (160, 82),
    32: (98, 140), 34: (112, 140),
    36: (62, 100), 37: (70, 94), 38: (82, 94), 39: (90, 100), 40: (82, 105), 41: (70, 105),
    42: (120, 100), 43: (128, 94), 44: (140, 94), 45: (148, 100), 46: (140, 105), 47: (128, 105),
    48: (80, 170), 50: (98, 160), 51: (105, 162), 52: (112, 160), 54: (130, 170),
    56: (112, 182), 57: (105, 184), 58: (98, 182), 61: (98, 168), 63: (112, 168),
}  # fmt: skip
SHIFTED = {index: (x / 2 + 10, y / 2 - 4) for index, (x, y) in FRONTAL.items()}  # length 15
TILTED = {39: (10, 20), 42: (40, 60), 17: (0, 0), 21: (8, 6), 22: (30, 40), 26: (60, 80),
          38: (6, 12), 43: (44, 66), 41: (5, 30), 46: (50, 80), 48: (-20, 90), 54: (20, 130),
          57: (0, 120), 8: (-30, 160), 56: (4, 124), 58: (-4, 116)}  # across 30, straight 50  # fmt: skip


def face(given):
    return [given.get(index, (0.0, 0.0)) for index in range(68)]


@pytest.mark.parametrize(
    ("table", "number", "landmarks", "centres"),
    [
        # JAA-Net, frontal, r = 30
        ("jaanet", 1, FRONTAL, [(92, 63), (118, 63)]),
        ("jaanet", 2, FRONTAL, [(60, 65), (150, 65)]),
        ("jaanet", 4, FRONTAL, [(70, 82), (140, 82)]),
        ("jaanet", 6, FRONTAL, [(70, 135), (140, 135)]),
        ("jaanet", 7, FRONTAL, [(82, 94), (128, 94)]),
        ("jaanet", 9, FRONTAL, [(98, 125), (112, 125)]),
        ("jaanet", 10, FRONTAL, [(98, 168), (112, 168)]),
        ("jaanet", 12, FRONTAL, [(80, 170), (130, 170)]),
        ("jaanet", 14, FRONTAL, [(80, 170), (130, 170)]),
        ("jaanet", 15, FRONTAL, [(80, 170), (130, 170)]),
        ("jaanet", 17, FRONTAL, [(98, 197), (112, 197)]),
        ("jaanet", 23, FRONTAL, [(105, 162), (105, 184)]),
        ("jaanet", 26, FRONTAL, [(98, 197), (112, 197)]),
        # affectkit's own additions
        ("affectkit", 5, FRONTAL, [(76, 94), (134, 94)]),
        ("affectkit", 16, FRONTAL, [(105, 194.5)]),
        ("affectkit", 18, FRONTAL, [(105, 162), (105, 184)]),
        ("affectkit", 20, FRONTAL, [(75.5, 170), (134.5, 170)]),
        ("affectkit", 27, FRONTAL, [(105, 197)]),
        ("affectkit", 43, FRONTAL, [(76, 299 / 3), (134, 299 / 3)]),
        # FG-Net
        ("fgnet", 1, FRONTAL, [(92, 78), (118, 78)]),
        ("fgnet", 2, FRONTAL, [(50, 82), (160, 82)]),
        ("fgnet", 4, FRONTAL, [(70.4, 76.2), (139.6, 76.2)]),
        ("fgnet", 6, FRONTAL, [(76, 389 / 3), (134, 389 / 3)]),
        ("fgnet", 9, FRONTAL, [(90, 100), (120, 100)]),
        ("fgnet", 10, FRONTAL, [(98, 160), (112, 160)]),
        ("fgnet", 17, FRONTAL, [(98, 197), (112, 197)]),
        ("fgnet", 26, FRONTAL, [(98, 182), (112, 182)]),
        # half the size, moved: r = 15
        ("jaanet", 1, SHIFTED, [(56, 27.5), (69, 27.5)]),
        ("jaanet", 6, SHIFTED, [(45, 63.5), (80, 63.5)]),
        ("affectkit", 20, SHIFTED, [(47.75, 81), (77.25, 81)]),
        ("fgnet", 17, SHIFTED, [(59, 94.5), (66, 94.5)]),
        # a tilted head: JAA-Net measures 30 across, FG-Net 50 straight
        ("jaanet", 1, TILTED, [(8, -9), (30, 25)]),
        ("jaanet", 6, TILTED, [(5, 60), (50, 110)]),
        ("affectkit", 27, TILTED, [(-15, 140)]),
        ("affectkit", 20, TILTED, [(-24.5, 90), (24.5, 130)]),
        ("fgnet", 1, TILTED, [(8, 6), (30, 40)]),
        ("fgnet", 17, TILTED, [(-4, 141), (4, 149)]),
    ],
)
def test_centres(table, number, landmarks, centres):
    found = region_centres(ActionUnit(number), face(landmarks), table)
    assert found == tuple(pytest.approx(centre) for centre in centres)


def test_a_side_selects_the_subjects_side():
    points = face(FRONTAL)
    assert region_centres(ActionUnit(12, "L"), points) == ((130, 170),)
    assert region_centres(ActionUnit(12, "R"), points) == ((80, 170),)
    assert region_centres(ActionUnit(24, "L"), points) == region_centres(ActionUnit(24), points)


def test_every_named_unit_of_the_face_has_a_default_region():
    for name in ("bp4d12", "disfa12", "casme2_8", "samm_4", "rendered", "openface18"):
        for unit in AU_SETS[name]:
            assert region_centres(unit, face(FRONTAL))


def test_errors():
    with pytest.raises(LabelSpaceError, match="'dlib' is not a table of regions"):
        region_centres(ActionUnit(1), face(FRONTAL), "dlib")
    with pytest.raises(LabelSpaceError, match=r"fgnet has no region for AU18\. It has: AU1, AU2"):
        region_centres(ActionUnit(18), face(FRONTAL), "fgnet")
    with pytest.raises(AnnotationError, match="landmarks is 5"):
        region_centres(ActionUnit(1), face(FRONTAL)[:5])


POINT = st.tuples(st.floats(0, 200), st.floats(0, 200))


@given(
    st.lists(POINT, min_size=68, max_size=68),
    st.sampled_from([(name, unit) for name, table in REGIONS.items() for unit in table.centres]),
    st.sampled_from([None, "L", "R"]),
)
def test_centres_of_a_flipped_face_are_the_flipped_centres(points, entry, side):
    table, number = entry
    unit = ActionUnit(number, side)
    flipped = [(200 - points[i][0], points[i][1]) for i in FLIP_68]
    expected = [(200 - x, y) for x, y in region_centres(unit, points, table)]
    found = region_centres(unit.mirrored(), flipped, table)
    assert len(found) == len(expected)
    assert all(any(centre == pytest.approx(other, abs=1e-9) for other in expected) for centre in found)
    assert all(any(centre == pytest.approx(other, abs=1e-9) for other in found) for centre in expected)


def test_flip_68():
    assert sorted(FLIP_68) == list(range(68))
    assert [FLIP_68[i] for i in FLIP_68] == list(range(68))
    pairs = {
        0: 16,
        7: 9,
        8: 8,
        17: 26,
        21: 22,
        27: 27,
        30: 30,
        31: 35,
        33: 33,
        36: 45,
        37: 44,
        38: 43,
        39: 42,
    }
    pairs |= {40: 47, 41: 46, 48: 54, 51: 51, 55: 59, 57: 57, 60: 64, 62: 62, 65: 67, 66: 66}
    assert {index: FLIP_68[index] for index in pairs} == pairs
    assert {index for index in range(68) if FLIP_68[index] == index} == {
        8,
        27,
        28,
        29,
        30,
        33,
        51,
        57,
        62,
        66,
    }


# --- texts ----------------------------------------------------------------------------------------


def test_prompts():
    unit = ActionUnit(12, "R")
    assert au_name(unit) == "right lip corner puller"
    assert au_prompt_pair(ActionUnit(15)) == (
        "a face with AU15 (lip corner depressor) activated: lip corners drawn down",
        "a face without AU15 (lip corner depressor)",
    )


def test_prompts_are_unique():
    assert len({au_prompt_pair(ActionUnit(number)) for number in ACTION_UNITS}) == len(ACTION_UNITS)


def test_shorter_mark_ups_stand_in_the_68():
    """IntraFace's 49 points lack the jaw and the inner mouth corners, DISFA's 66 those corners only."""
    assert [point for point in range(68) if point not in POINTS_66] == [60, 64]
    assert [point for point in range(68) if point not in POINTS_49] == [*range(17), 60, 64]
    assert list(POINTS_49) == sorted(POINTS_49)
    assert list(POINTS_66) == sorted(POINTS_66)
    assert (len(POINTS_49), len(POINTS_66)) == (49, 66)
    # The corners of the first eye and of the mouth, counted within each mark-up.
    assert (POINTS_49[19], POINTS_49[22], POINTS_49[31], POINTS_49[37]) == (36, 39, 48, 54)
    assert (POINTS_66[36], POINTS_66[39], POINTS_66[48], POINTS_66[54]) == (36, 39, 48, 54)
