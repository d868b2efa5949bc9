"""Association tables and prompt texts: published ones cell by cell, derived ones by their rule, files by faults."""

from __future__ import annotations

import pytest

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs import (
    AU_SETS,
    EXPRESSION_SETS,
    AUSet,
    ExpressionSet,
    association,
    prompt_text,
    prompt_texts,
    typical_units,
    unit_texts,
)

# One line a class in index order, one sign a unit in label order: "#" is 1.00 and "." is 0.02.
BP4D7 = """
happiness ...#..#.....
sadness   #.#.....#...
neutral   ............
anger     ..#.#.....#.
surprise  ##..........
disgust   .....#...#..
fear      ###.#.......
"""
BP4D11 = """
happiness      ...#..#.....
sadness        #.#.....#...
neutral        ............
anger          ..#.#.....#.
surprise       ##..........
disgust        .....#..#...
fear           ###.#.......
contempt       ......##....
anxiety        #.#.........
helplessness   #.#.....#...
disappointment #.#.....#...
"""
DISFA7 = """
happiness ...#.#..
sadness   #.#.....
neutral   ........
anger     ..#.....
surprise  ##....##
disgust   ....#...
fear      ###...##
"""
DISFA11 = """
happiness      ...#.#..
sadness        #.#.....
neutral        ........
anger          ..#.....
surprise       ##.....#
disgust        ....#...
fear           ###....#
contempt       .....#..
anxiety        #.#...#.
helplessness   #.#....#
disappointment #.#...#.
"""
TABLES = {
    "ssm_bp4d7": (BP4D7, "dfew7", "bp4d12"),
    "ssm_bp4d11": (BP4D11, "mafw11", "bp4d12"),
    "ssm_disfa7": (DISFA7, "dfew7", "disfa8"),
    "ssm_disfa11": (DISFA11, "mafw11", "disfa8"),
}
UNITS = [
    "inner brow raiser", "outer brow raiser", "brow lowerer", "cheek raiser", "lid tightener", "upper lip raiser",
    "lip corner puller", "dimpler", "lip corner depressor", "chin raiser", "lip tightener", "lip presser",
]  # fmt: skip
TEXTS = {
    ("ssm_bp4d", "dfew7"): """
happiness, cheek raiser, lip corner puller
sadness, inner brow raiser, brow lowerer, lip corner depressor
neutral, no active AUs
anger, brow lowerer, lid tightener, lip tightener
surprise, inner brow raiser, outer brow raiser
disgust, upper lip raiser
fear, inner brow raiser, outer brow raiser, brow lowerer
""",
    ("ssm_disfa", "dfew7"): """
happiness, cheek raiser, lip corner puller
sadness, inner brow raiser, brow lowerer
neutral, relaxed facial muscles, straight mouth, smooth forehead, unremarkable eyebrows
anger, brow lowerer
surprise, inner brow raiser, outer brow raiser, jaw drop
disgust, nose wrinkler
fear, inner brow raiser, outer brow raiser, brow lowerer, jaw drop
""",
    ("ssm_mafw", "mafw11"): """
happiness, cheek raiser, lip corner puller
sadness, inner brow raiser, brow lowerer, lip corner depressor
neutral, relaxed facial muscles, no significant action units
anger, brow lowerer, upper lid raiser, lip tightener, lips part
surprise, inner brow raiser, outer brow raiser, upper lid raiser, jaw drop
disgust, nose wrinkler, upper lip raiser, lip corner depressor
fear, inner brow raiser, outer brow raiser, brow lowerer, upper lid raiser, jaw drop, lip stretcher
contempt, unilateral lip corner tightener
anxiety, inner brow raiser, brow lowerer, lip stretcher, lips part
helplessness, inner brow raiser, brow lowerer, lip corner depressor, jaw drop
disappointment, inner brow raiser, brow lowerer, slight lip corner depressor, lips part
""",
}


@pytest.mark.parametrize("name", TABLES)
def test_published_priors_cell_by_cell(name):
    text, classes, units = TABLES[name]
    rows = dict(map(str.split, text.strip().splitlines()))
    assert tuple(rows) == EXPRESSION_SETS[classes].classes
    expected = tuple(tuple({"#": 1.0, ".": 0.02}[sign] for sign in signs) for signs in rows.values())
    assert association(EXPRESSION_SETS[classes], AU_SETS[units], name) == expected


def test_published_priors_follow_the_callers_order_and_choice():
    expressions, units = ExpressionSet.parse("fear,happiness"), AUSet.parse("AU12L,AU7,AU1")
    assert association(expressions, units, "ssm_bp4d7") == ((0.02, 1.0, 1.0), (1.0, 0.02, 0.02))


def test_published_priors_refuse_what_they_do_not_cover():
    with pytest.raises(LabelSpaceError, match=r"'ssm_bp4d7' lacks contempt, AU5, AU9\. .*'facs'"):
        association(ExpressionSet.parse("fear,contempt"), AUSet.of(1, 5, 9), "ssm_bp4d7")


@pytest.mark.parametrize(
    ("expression", "units"),
    [
        ("happiness", (6, 12, 25)),
        ("Sad", (1, 4, 15, 17)),
        ("anger", (4, 7, 17, 24)),
        ("surprise", (1, 2, 5, 25, 26)),
        ("disgust", (9, 10, 17)),
        ("fear", (1, 2, 4, 5, 20, 25)),
        ("contempt", (12, 14)),
        ("happily disgusted", (6, 9, 10, 12, 25)),
        ("neutral", ()),
        ("other", ()),
    ],
)
def test_derived_priors_list_what_more_than_half_of_the_subjects_showed(expression, units):
    assert typical_units(expression) == units
    pair = ExpressionSet.parse(f"{expression},{'boredom'}")
    row, other = association(pair, AU_SETS["rendered"])
    assert row == tuple(1.0 if unit.id in units else 0.02 for unit in AU_SETS["rendered"])
    assert set(other) == {0.02}


@pytest.mark.parametrize(("style", "classes"), TEXTS)
def test_published_texts_letter_by_letter(style, classes):
    assert prompt_texts(EXPRESSION_SETS[classes], AU_SETS["bp4d12"], style) == TEXTS[
        style, classes
    ].strip().split("\n")
    assert unit_texts(AU_SETS["bp4d12"], style) == UNITS


def test_published_disfa_unit_texts():
    expected = [*UNITS[:4], "nose wrinkler", "lip corner puller", "lips part", "jaw drop"]
    assert unit_texts(AU_SETS["disfa8"], "ssm_disfa") == expected


def test_derived_texts_speak_of_the_coded_units():
    assert unit_texts(AUSet.parse("AU24,AU12L")) == ["lip pressor", "left lip corner puller"]
    assert prompt_text("surprise", AU_SETS["disfa8"]) == (
        "surprise, inner brow raiser, outer brow raiser, lips part, jaw drop"
    )
    assert prompt_text("surprise") == (
        "surprise, inner brow raiser, outer brow raiser, upper lid raiser, lips part, jaw drop"
    )
    assert prompt_text("surprise", AUSet.parse("AU1L,AU1R")) == "surprise, inner brow raiser"
    assert prompt_text("neutral") == "neutral, relaxed face, no active units"
    assert prompt_text("helplessness") == "helplessness"


def test_unknown_styles_and_classes_are_refused():
    with pytest.raises(ConfigError, match=r"no prompt style 'ssm'.*facs, ssm_bp4d"):
        unit_texts(AU_SETS["disfa8"], "ssm")
    with pytest.raises(LabelSpaceError, match="'ssm_bp4d' have no text for 'contempt'"):
        prompt_texts(EXPRESSION_SETS["affectnet8"], None, "ssm_bp4d")
    with pytest.raises(ConfigError, match=r"no prior 'ssm_bp4d8'.*ssm_bp4d7"):
        association(EXPRESSION_SETS["basic7"], AU_SETS["disfa8"], "ssm_bp4d8")


GOOD = "\ufeffExpression, AU01,au12,AU4\nHappy,0.1,0.9,0\n\nneutral,.02,.02,.02\nanger,1e-1,0,1\n"


def write(folder, text: str | bytes) -> str:
    path = folder / "prior.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_file_is_read_by_names_whatever_else_it_holds(tmp_path):
    source = write(tmp_path, GOOD)
    expressions, units = ExpressionSet.parse("anger,happiness"), AUSet.parse("AU12,AU1R")
    assert association(expressions, units, source) == ((0.0, 0.1), (0.9, 0.1))


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("", 1, "not the header"),
        (GOOD.replace(",", ";"), 1, "not the header"),
        (GOOD.replace("Expression", "emotion"), 1, "not the header"),
        (GOOD.replace("AU4", "AU3"), 1, "no action unit 3"),
        (GOOD.replace("AU4", "smile"), 1, "'smile' is not an action unit"),
        (GOOD.replace("AU4", "12"), 1, "AU12 twice"),
        (GOOD.replace("au12", "AU12L"), 1, "no column for AU12"),
        (GOOD.replace("anger,", ","), 5, "names no class"),
        (GOOD.replace("neutral", "happiness"), 4, "'happiness' has a second row"),
        (GOOD.replace(".02,.02,.02", ".02,.02"), 4, "2 of 3 numbers"),
        (GOOD.replace("0.9", "high"), 2, "'high' under AU12 is not a number"),
        (GOOD.replace("0.9", ""), 2, "'' under AU12 is not a number"),
        (GOOD.replace("0.9", "nan"), 2, "'nan' under AU12"),
        (GOOD.replace("0.9", "1.1"), 2, "'1.1' under AU12 is not a number from 0 to 1"),
        (GOOD.replace("0.9", "-0.1"), 2, "'-0.1' under AU12"),
        (GOOD.replace("anger", "rage"), None, "no row for anger"),
        (GOOD.replace("anger", '"anger'), None, "cannot be read"),
        (b"expression,AU1\nf\xe9ar,1\n", None, "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_where_it_is_damaged(tmp_path, text, line, fault):
    source = write(tmp_path, text)
    with pytest.raises(AnnotationError, match=fault) as caught:
        association(ExpressionSet.parse("anger,happiness"), AUSet.of(12, 1), source)
    assert str(caught.value.path) == source
    assert caught.value.line == line
