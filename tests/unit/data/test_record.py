from __future__ import annotations

from pathlib import Path

import pytest

from affectkit.data import ClipRecord
from affectkit.errors import AnnotationError


def record(**known):
    return ClipRecord("s1/a", Path("a.mp4"), **known)


def test_what_is_not_annotated_is_none():
    plain = record()
    assert plain.key_frames == (None, None, None)
    assert (plain.subject, plain.au, plain.expression, plain.stop, dict(plain.extra)) == (
        None,
        None,
        None,
        None,
        {},
    )
    assert hash(plain) == hash(record())


@pytest.mark.parametrize(
    "known",
    [
        {"onset": 3, "apex": 3, "offset": 3},
        {"onset": 3, "offset": 9},
        {"apex": 9, "num_frames": 10},
        {"start": 5, "stop": 8, "onset": 5, "offset": 7, "num_frames": 8},
        {"start": 5},
    ],
)
def test_sound(known):
    assert record(**known).clip == "s1/a"


@pytest.mark.parametrize(
    ("known", "fault"),
    [
        ({"onset": 4, "apex": 3}, "out of order"),
        ({"apex": 9, "offset": 3}, "out of order"),
        ({"onset": 4, "offset": 3}, "out of order"),
        ({"start": -1}, "covers no frame"),
        ({"start": 5, "stop": 5}, "covers no frame"),
        ({"num_frames": 0}, "covers no frame"),
        ({"stop": 9, "num_frames": 8}, "its media has 8"),
        ({"apex": 8, "num_frames": 8}, "outside"),
        ({"apex": 7, "stop": 7}, "outside"),
        ({"start": 4, "onset": 3}, "outside"),
    ],
)
def test_contradictions_are_refused(known, fault):
    with pytest.raises(AnnotationError, match=fault) as caught:
        record(**known)
    assert caught.value.path == Path("a.mp4")
    assert "s1/a" in str(caught.value)
