"""Sets of action units and of expressions, and the spaces over both."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import LabelSpaceError
from affectkit.facs import (
    ACTION_UNITS,
    AU_SETS,
    CROSSWALKS,
    EXPRESSION_SETS,
    ActionUnit,
    AUIntensitySet,
    AUSet,
    ExpressionSet,
    LabelSpace,
    canonical_expression,
    crosswalk,
    label_space,
)

UNITS = st.builds(ActionUnit, st.sampled_from(sorted(ACTION_UNITS)), st.sampled_from([None, "L", "R"]))
AU_SPACES = st.builds(
    lambda cls, units: cls(tuple(units)),
    st.sampled_from([AUSet, AUIntensitySet]),
    st.lists(UNITS, min_size=1, max_size=12, unique=True),
)
NAMED = st.sampled_from(list(AU_SETS.values()))
WORDS = sorted({name for item in EXPRESSION_SETS.values() for name in item.classes})
EXPRESSIONS = st.one_of(
    st.builds(
        ExpressionSet, st.lists(st.sampled_from(WORDS), min_size=2, max_size=9, unique=True).map(tuple)
    ),
    st.sampled_from(list(EXPRESSION_SETS.values())),
)


# --- action units ---------------------------------------------------------------------------------


@given(st.one_of(AU_SPACES, NAMED))
def test_au_names_read_back(units):
    assert type(units).parse(str(units)) == units
    assert label_space(units.name) == units
    assert pickle.loads(pickle.dumps(units)) == units
    assert hash(type(units).parse(units.name)) == hash(units)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("bp4d12", "AU1 AU2 AU4 AU6 AU7 AU10 AU12 AU14 AU15 AU17 AU23 AU24"),
        ("disfa8", "AU1 AU2 AU4 AU6 AU9 AU12 AU25 AU26"),
        ("disfa12", "AU1 AU2 AU4 AU5 AU6 AU9 AU12 AU15 AU17 AU20 AU25 AU26"),
        ("gft10", "AU1 AU2 AU4 AU6 AU10 AU12 AU14 AU15 AU23 AU24"),
        ("affwild2_12", "AU1 AU2 AU4 AU6 AU7 AU10 AU12 AU15 AU23 AU24 AU25 AU26"),
        ("casme_4", "AU1 AU4 AU9 AU14"),
        ("casme2_8", "AU1 AU2 AU4 AU7 AU12 AU14 AU15 AU17"),
        ("samm_4", "AU2 AU4 AU7 AU12"),
        ("mmew_8", "AU1 AU2 AU4 AU5 AU7 AU10 AU12 AU14"),
        ("4dme_8", "AU1 AU2 AU4 AU6 AU7 AU12 AU17 AU45"),
        ("cd6me_12", "AU1 AU2 AU4 AU5 AU6 AU7 AU9 AU10 AU12 AU14 AU15 AU17"),
        ("bp4d5", "AU6 AU10 AU12 AU14 AU17"),
    ],
)
def test_registered_sets(name, labels):
    assert AU_SETS[name].labels == tuple(labels.split())
    assert AU_SETS[name].name == name
    assert AU_SETS[name].kind == "occurrence"


def test_the_numbers_in_the_names_are_the_sizes():
    sizes = {"bp4d34": 34, "openface17": 17, "openface18": 18, "fera2015_11": 11, "rendered": 18}
    assert {name: len(AU_SETS[name]) for name in sizes} == sizes
    assert len({units.units for units in AU_SETS.values()}) == len(AU_SETS)


def test_texts_of_a_set():
    units = AUSet.parse("1, au02 ,12L")
    assert units.name == str(units) == "AU1,AU2,AU12L"
    assert units.labels == ("AU1", "AU2", "AU12L")
    assert units.columns == ("AU01", "AU02", "AU12L")
    assert list(units) == [ActionUnit(1), ActionUnit(2), ActionUnit(12, "L")]
    assert ActionUnit(12) not in units
    assert ActionUnit(2) in units
    assert units.index(ActionUnit(2)) == 1
    with pytest.raises(LabelSpaceError, match=r"AU12 is not in the set AU1,AU2,AU12L\. It holds: AU1"):
        units.index(ActionUnit(12))


def test_intensity_is_another_space():
    intensity = AU_SETS["disfa8"].as_intensity()
    assert (intensity.name, intensity.kind) == ("intensity:disfa8", "intensity")
    assert intensity != AU_SETS["disfa8"]
    assert intensity.as_occurrence() == AU_SETS["disfa8"]
    assert AUIntensitySet.parse("intensity:AU1,AU2").as_occurrence().name == "AU1,AU2"
    assert intensity.columns[:2] == ("AU01_i", "AU02_i")
    assert (intensity.value_range, AU_SETS["disfa8"].value_range) == ((0, 5), (0, 1))
    for mix in (intensity.join, intensity.project):
        with pytest.raises(LabelSpaceError, match="cannot be read as disfa8"):
            mix(AU_SETS["disfa8"])
    with pytest.raises(LabelSpaceError, match="begin with 'intensity:'"):
        AUIntensitySet.parse("disfa8")


@pytest.mark.parametrize("text", ["", "disfa9", "AU1,", "AU1,AU1", "AU1;AU2", "intensity:", "AU1,AU3"])
def test_what_is_no_set(text):
    with pytest.raises(LabelSpaceError, match="disfa8"):
        AUSet.parse(text)


def test_empty_and_doubled_sets_are_refused():
    with pytest.raises(LabelSpaceError, match="empty"):
        AUSet(())
    with pytest.raises(LabelSpaceError, match=r"more than once: AU4, AU12L\."):
        AUSet(tuple(map(ActionUnit.parse, ["4", "12L", "4", "12L", "1"])))


def test_union_keeps_the_first_order_then_ascends():
    first, second = AUSet.of(12, 4, 1), AUSet.parse("26,4,12L,2")
    assert first.join(second).labels == ("AU12", "AU4", "AU1", "AU2", "AU12L", "AU26")
    assert AU_SETS["bp4d12"].join(AU_SETS["disfa8"]).name == (
        "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU14,AU15,AU17,AU23,AU24,AU9,AU25,AU26"
    )


@given(AU_SPACES, AU_SPACES)
def test_union_holds_both_and_projects_back(first, second):
    first, second = first.as_occurrence(), second.as_occurrence()
    both = first.join(second)
    assert set(both) == set(first) | set(second)
    assert both.units[: len(first)] == first.units
    for part in (first, second):
        assert tuple(both.labels[place] for place in both.project(part)) == part.labels


def test_project_tells_what_is_absent():
    assert AU_SETS["disfa8"].project(AU_SETS["samm_4"]) == (1, 2, None, 5)
    assert AUSet.parse("AU12L").project(AUSet.of(12)) == (None,)


def test_flip_permutation():
    units = AUSet.parse("AU12L,AU4,AU14R,AU12R,AU14L")
    assert units.flip_permutation() == (3, 1, 4, 0, 2)
    with pytest.raises(LabelSpaceError, match="AU12R is not in the set AU12L"):
        AUSet.parse("AU12L").flip_permutation()


@given(st.sets(UNITS, min_size=1), st.randoms())
def test_flipping_labels_twice_is_the_identity(chosen, random):
    order = sorted({side for unit in chosen for side in (unit, unit.mirrored())})
    random.shuffle(order)
    units = AUSet(tuple(order))
    flip = units.flip_permutation()
    flipped = [units.labels[i] for i in flip]
    assert flipped == [str(unit.mirrored()) for unit in units]
    assert [flipped[i] for i in flip] == list(units.labels)


# --- expressions ----------------------------------------------------------------------------------


@given(EXPRESSIONS)
def test_expression_names_read_back(expressions):
    assert ExpressionSet.parse(str(expressions)) == expressions
    assert label_space(expressions.name) == expressions
    assert pickle.loads(pickle.dumps(expressions)) == expressions


def test_registered_expression_sets():
    assert EXPRESSION_SETS["rafdb7"].labels == (
        "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral",
    )  # fmt: skip
    assert EXPRESSION_SETS["dfew7"].labels == (
        "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear",
    )  # fmt: skip
    assert EXPRESSION_SETS["affectnet8"].classes[5:] == ("disgust", "anger", "contempt")
    assert EXPRESSION_SETS["mafw11"].classes[7:] == ("contempt", "anxiety", "helplessness", "disappointment")
    assert EXPRESSION_SETS["rafdb11"].classes[8] == "angrily surprised"
    assert set(EXPRESSION_SETS["basic7"].classes) - set(EXPRESSION_SETS["basic6"].classes) == {"neutral"}
    assert len({item.classes for item in EXPRESSION_SETS.values()}) == len(EXPRESSION_SETS)
    sizes = {name: len(item) for name, item in EXPRESSION_SETS.items()}
    assert all(name.endswith(str(size)) for name, size in sizes.items())


def test_index_takes_the_corpora_spellings():
    assert EXPRESSION_SETS["samm_5"].index("Happiness") == 1
    assert EXPRESSION_SETS["casme2_5"].index("others") == 4
    assert EXPRESSION_SETS["affectnet8"].index(" Happy ") == 1
    with pytest.raises(LabelSpaceError, match=r"'tense' is not a class of megc3\. It holds: negative"):
        EXPRESSION_SETS["megc3"].index("tense")


@given(st.sampled_from([*WORDS, "Happy", "SAD", " Others ", "Fearful", "surprised", "Happily  Surprised"]))
def test_canonical_expression_is_idempotent(text):
    once = canonical_expression(text)
    assert canonical_expression(once) == once
    assert once in WORDS


@pytest.mark.parametrize(
    ("classes", "fault"),
    [
        (("happiness",), "two classes"),
        (("happiness", "happiness"), "more than once"),
        (("happiness", "Anger"), "'Anger' is not the name"),
        (("happiness", "sad"), "'sad' is not the name"),
        (("happiness", "a,b"), "'a,b' is not the name"),
        (("happiness", "au12"), "'au12' is not the name"),
        (("happiness", ""), "'' is not the name"),
        (("happiness", "1"), "'1' is not the name"),
        (("happiness", "Überraschung"), "'Überraschung' is not the name"),
        (("happiness", "u\u0308ber"), "is not the name"),
        (("happiness", "a/b"), "'a/b' is not the name"),
    ],
)
def test_bad_expression_sets(classes, fault):
    with pytest.raises(LabelSpaceError, match=fault):
        ExpressionSet(classes)


def test_classes_of_every_script():
    classes = ("überraschung", "高兴", "радость", "खुशी", "none", "fear_of 2")
    space = ExpressionSet(classes)
    assert ExpressionSet.parse(space.name) == space
    assert space.index("U\u0308BERRASCHUNG") == 0
    assert ExpressionSet.parse("Überraschung, 高兴").classes == classes[:2]


def test_expression_parse():
    assert ExpressionSet.parse(" basic6 ") is EXPRESSION_SETS["basic6"]
    assert ExpressionSet.parse("Happy, Sad").classes == ("happiness", "sadness")
    with pytest.raises(LabelSpaceError, match="rafdb7"):
        ExpressionSet.parse("happy")


# --- crosswalks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "indices"),
    [
        # The counts of MEGC 2019 fix these: 88 = 61 + 27 and 92 = 57 + 12 + 9 + 8 + 6 negative clips.
        ("casme2_5", "megc3", (1, 0, 0, 2, None)),
        ("casme2_7", "megc3", (1, 0, 0, 2, None, None, None)),
        ("samm_5", "megc3", (0, 1, 0, 2, None)),
        ("samm_8", "megc3", (0, 1, 0, 2, None, 0, 0, 0)),
        ("rafdb7", "basic6", (3, 5, 4, 0, 1, 2, None)),
        ("rafdb7", "basic7", (4, 6, 5, 1, 2, 3, 0)),
        ("rafdb11", "basic6", (None,) * 11),
        ("rafdb11", "rafce14", (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11)),
        ("affectnet8", "affectnet7", (0, 1, 2, 3, 4, 5, 6, None)),
        ("casme2_7", "casme2_5", (0, 1, 2, 3, 4, None, None)),
        ("samm_8", "samm_5", (0, 1, 2, 3, 4, None, None, None)),
        ("casme2_5", "samm_5", (1, None, None, 3, None)),  # CASME II's "other" may be SAMM's anger
        ("casme2_5", "casme2_7", (0, 1, 2, 3, None)),  # its "other" may be what the longer list names
    ],
)
def test_crosswalks(source, target, indices):
    assert crosswalk(EXPRESSION_SETS[source], EXPRESSION_SETS[target]) == indices


@given(EXPRESSIONS)
def test_crosswalk_to_itself_is_the_identity(expressions):
    assert crosswalk(expressions, expressions) == tuple(range(len(expressions)))


@given(EXPRESSIONS, EXPRESSIONS)
def test_crosswalk_keeps_names_or_masks(source, target):
    indices = crosswalk(source, target)
    assert len(indices) == len(source)
    if (source.name, target.name) not in CROSSWALKS:
        for name, index in zip(source.classes, indices, strict=True):
            assert index is None or target.classes[index] == name
            assert index is not None or name == "other" or name not in target.classes


def test_published_crosswalks_name_real_classes():
    for (source, target), names in CROSSWALKS.items():
        shared = set(names) & set(EXPRESSION_SETS[source].classes)
        assert shared
        assert {names[name] for name in shared} <= set(EXPRESSION_SETS[target].classes)


# --- spaces ---------------------------------------------------------------------------------------


@given(st.one_of(AU_SPACES, EXPRESSIONS))
def test_both_are_label_spaces(space):
    assert isinstance(space, LabelSpace)
    assert len(space) == len(space.labels) == len(set(space.labels))
    assert space.kind in {"occurrence", "intensity", "categories"}
    assert len(space.columns) == len(space)


@pytest.mark.parametrize("text", ["", "disfa9", "happy", "AU1,happiness", "intensity:basic7"])
def test_what_is_no_space(text):
    with pytest.raises(LabelSpaceError, match=r"not a label space.*rafdb7.*disfa8"):
        label_space(text)


@given(st.text(max_size=40))
def test_label_space_raises_only_its_own_error(text):
    try:
        space = label_space(text)
    except LabelSpaceError:
        return
    assert label_space(space.name) == space


def test_clips_of_films_carry_over_to_the_basic_classes():
    basic = EXPRESSION_SETS["basic7"]
    assert crosswalk(EXPRESSION_SETS["dfew7"], basic) == (1, 2, 0, 3, 4, 5, 6)
    assert crosswalk(EXPRESSION_SETS["mafw11"], basic) == (1, 2, 0, 3, 4, 5, 6, None, None, None, None)
    assert crosswalk(basic, EXPRESSION_SETS["mafw11"]) == (2, 0, 1, 3, 4, 5, 6)
