from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectkit.data import canonical_subject, check_disjoint, leave_one_subject_out, split_subjects
from affectkit.errors import ConfigError, SubjectLeakError

people = st.lists(st.text("abc123", min_size=1, max_size=3), min_size=5, max_size=40).filter(
    lambda names: len(set(names)) >= 5
)


def test_leaks_are_named():
    check_disjoint({"train": ["a", "a", None], "val": ["b", None], "test": []})
    with pytest.raises(SubjectLeakError) as caught:
        check_disjoint({"train": ["a", "b"], "val": ["c"], "test": ["d", "b"]})
    assert str(caught.value).startswith("Subject 'b' appears in both 'train' and 'test'.")


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), (" s1", "s1 "), ("anna  k", "anna k"), ("007", "007.00"), ("ｓ１", "s1")],
)
def test_one_subject_written_in_two_ways(one, other):
    assert canonical_subject(one) == canonical_subject(other)
    check_disjoint({"train": [one, other]})
    with pytest.raises(SubjectLeakError, match="appears in both 'train' and 'test'"):
        check_disjoint({"train": ["x", one], "test": [other]})


@pytest.mark.parametrize(
    ("one", "other"),
    [("S01", "s01"), ("001", "1"), ("S1", "S01"), ("s_01", "S01"), ("sub 1", "sub-01"), ("1.0", "01")],
)
def test_subjects_that_look_alike(one, other):
    assert canonical_subject(one) != canonical_subject(other)
    check_disjoint({"train": [one, other], "test": []})
    with pytest.raises(
        SubjectLeakError, match=f"'{one}' in 'train' and '{other}' in 'val' look like"
    ) as caught:
        check_disjoint({"train": [one], "val": [other]})
    assert "rename one" in caught.value.remedy


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "10"),
        ("1", "11"),
        ("100", "1"),
        ("0", "1"),
        ("1-1", "11"),
        ("1_2", "12"),
        ("1.5", "1.05"),
        ("a-1", "b-1"),
    ],
)
def test_subjects_that_differ(one, other):
    check_disjoint({"train": [one], "test": [other]})


@given(people, st.integers(0, 9))
def test_split_subjects(names, seed):
    parts = split_subjects(names, {"train": 0.6, "val": 0.2, "test": 0.2}, seed=seed)
    check_disjoint(parts)
    assert sorted(chain.from_iterable(parts.values())) == sorted(set(names))
    assert parts == split_subjects(reversed(names), {"train": 0.6, "val": 0.2, "test": 0.2}, seed=seed)
    for share, part in zip((0.6, 0.2, 0.2), parts.values(), strict=True):
        assert abs(len(part) - share * len(set(names))) <= 1


def test_seeds_give_other_splits():
    names = [f"s{n}" for n in range(30)]
    assert len({split_subjects(names, {"a": 0.5, "b": 0.5}, seed=seed)["a"] for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("fractions", "fault"),
    [
        ({"a": 0.5, "b": 0.4}, "add up to 1"),
        ({"a": 1.2, "b": -0.2}, "positive"),
        ({"a": 0.99, "b": 0.01}, "'b' would get none of 4"),
    ],
)
def test_impossible_fractions(fractions, fault):
    with pytest.raises(ConfigError, match=fault):
        split_subjects("abcd", fractions)


def test_leave_one_subject_out():
    assert list(leave_one_subject_out(["b", "a", "b", "c"])) == [
        ("a", ("b", "c")),
        ("b", ("a", "c")),
        ("c", ("a", "b")),
    ]
