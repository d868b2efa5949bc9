"""Levels and dimensions, and how any kind of label is written and read."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import (
    VALENCE_AROUSAL,
    AUSet,
    Dimensions,
    ExpressionSet,
    LabelSpace,
    Levels,
    label_space,
    register_space,
)

WORDS = st.from_regex(r"[a-z0-9][a-z0-9 '_-]{0,8}[a-z0-9]", fullmatch=True).map(lambda x: " ".join(x.split()))
NAMES = st.lists(WORDS, min_size=2, max_size=6, unique=True).map(tuple)
NUMBERS = st.floats(-1e6, 1e6)
RANGES = st.tuples(NUMBERS, NUMBERS).filter(lambda x: x[0] < x[1])


@given(st.one_of(st.builds(Levels, NAMES), st.builds(lambda x, y: Dimensions(x, *y), NAMES, RANGES)))
def test_names_read_back(space):
    assert label_space(space.name) == space == type(space).parse(f" {space} ")
    assert hash(label_space(space.name)) == hash(space)
    assert pickle.loads(pickle.dumps(space)) == space
    assert space.columns == space.labels
    assert space.flip_permutation() == tuple(range(len(space)))


def test_levels():
    space = label_space("levels: Not Engaged, barely  engaged,engaged")
    assert space.name == "levels:not engaged,barely engaged,engaged"
    assert Levels.named() == ()
    assert (space.indexed, space.soft, space.value_range) == (True, True, (0, 2))
    assert space.project(label_space(space.name)) == (0, 1, 2)
    assert space.join(space) == space
    for other in ("levels:low,high", "levels:engaged,barely engaged,not engaged", "basic7"):
        with pytest.raises(LabelSpaceError, match="cannot be read as"):
            space.project(label_space(other))


def test_dimensions():
    assert label_space("va") is VALENCE_AROUSAL
    assert label_space("dimensions:valence,arousal") == VALENCE_AROUSAL
    assert Dimensions(("valence", "arousal"), -1, 1).name == "va"
    wide = label_space("dimensions[0, 9]:arousal")
    assert (wide.name, wide.labels, wide.value_range) == ("dimensions[0,9]:arousal", ("arousal",), (0, 9))
    assert (wide.indexed, wide.soft) == (False, False)
    assert VALENCE_AROUSAL.project(label_space("dimensions:arousal,dominance")) == (1, None)
    joined = VALENCE_AROUSAL.join(label_space("dimensions:dominance,arousal"))
    assert joined.name == "dimensions:valence,arousal,dominance"
    for other in ("dimensions[0,1]:valence,arousal", "AU1"):
        for mix in (VALENCE_AROUSAL.project, VALENCE_AROUSAL.join):
            with pytest.raises(LabelSpaceError, match="cannot be read as"):
                mix(label_space(other))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("levels:low", "too few"),
        ("levels:low,low", "more than once"),
        ("levels:low,", "'' is not a valid"),
        ("levels:low,a:b", "'a:b' is not a valid"),
        ("dimensions:", "'' is not a valid"),
        ("dimensions[1,0]:valence", "empty or infinite"),
        ("dimensions[0,inf]:valence", "empty or infinite"),
        ("dimensions[0,x]:valence", "does not name dimensions"),
        ("dimensions[0]:valence", "does not name dimensions"),
        ("angles:yaw,pitch", "no kind of label named 'angles'"),
        ("valence,AU1", "is not a label space"),
    ],
)
def test_what_cannot_be_read(text, fault):
    with pytest.raises(LabelSpaceError, match=fault):
        label_space(text)
    with pytest.raises(LabelSpaceError):
        (Levels if text.startswith("levels") else Dimensions).parse(text)


def test_other_texts_are_no_levels():
    with pytest.raises(LabelSpaceError, match="not a scale"):
        Levels.parse("low,high")
    with pytest.raises(LabelSpaceError, match="not an action unit"):
        AUSet.parse("va")
    assert ExpressionSet.parse("basic6").join(ExpressionSet.parse("rafdb7")).name == "basic6"
    with pytest.raises(LabelSpaceError, match="categories"):
        ExpressionSet.parse("basic6").project(VALENCE_AROUSAL)


def test_a_kind_is_registered_once():
    with pytest.raises(ConfigError, match="levels"):

        @register_space
        @dataclass(frozen=True)
        class Again(Levels):
            pass

    assert issubclass(Levels, LabelSpace)
