from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.data import AllFrames, OnsetApex, UniformSegments, Window
from affectkit.errors import AnnotationError, ConfigError

lengths = st.integers(1, 300)
counts = st.integers(1, 40)
seeds = st.none() | st.integers(0, 2**40)


def generator(seed):
    return None if seed is None else torch.Generator().manual_seed(seed)


def test_all_frames():
    assert AllFrames()(3, rng=generator(0), onset=1, apex=2, offset=2) == [0, 1, 2]


@given(length=lengths, count=counts, seed=seeds)
def test_uniform_segments(length, count, seed):
    positions = UniformSegments(count)(length, rng=generator(seed))
    assert positions == UniformSegments(count)(length, rng=generator(seed), apex=0)
    assert len(positions) == count
    for k, position in enumerate(positions):
        assert (
            int(k * length / count) <= position < max((k + 1) * length / count, int(k * length / count) + 1)
        )
        assert 0 <= position < length


def test_uniform_segments_without_jitter_take_the_middle():
    assert UniformSegments(4)(16) == [2, 6, 10, 14]
    assert UniformSegments(4)(2) == [0, 0, 1, 1]
    assert UniformSegments(1)(9) == [4]


@given(length=lengths, count=counts, seed=seeds)
def test_short_clips_may_hold_their_last_frame(length, count, seed):
    positions = UniformSegments(count, short="hold")(length, rng=generator(seed))
    if length < count:
        assert positions == [*range(length), *[length - 1] * (count - length)]
    else:
        assert positions == UniformSegments(count)(length, rng=generator(seed))


def test_short_clips_do_one_of_two_things():
    assert UniformSegments(5, "hold")(3) == [0, 1, 2, 2, 2]
    assert UniformSegments(5, "spread")(3) == [0, 0, 1, 2, 2]
    assert UniformSegments(5, "hold")(5) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="short 'loop'"):
        UniformSegments(5, "loop")


def test_uniform_jitter_reaches_every_frame_of_its_segment():
    rng = generator(0)
    seen = Counter(position for _ in range(300) for position in UniformSegments(3)(12, rng=rng))
    assert set(seen) == set(range(12))
    assert min(seen.values()) > 40


@given(length=lengths, count=counts, stride=st.integers(1, 5), seed=seeds)
def test_window(length, count, stride, seed):
    positions = Window(count, stride)(length, rng=generator(seed))
    assert positions[0] >= 0
    assert positions[-1] < length
    assert all(b - a == stride for a, b in pairwise(positions))
    span = (count - 1) * stride + 1
    assert len(positions) == (count if span <= length else -(-length // stride))


def test_window_starts_anywhere_in_training_and_centred_in_evaluation():
    rng = generator(0)
    assert {Window(3)(6, rng=rng)[0] for _ in range(100)} == {0, 1, 2, 3}
    assert Window(3)(6) == [1, 2, 3]


def test_onset_to_apex():
    assert OnsetApex()(20, onset=4, apex=10) == [4, 10]
    assert OnsetApex(4)(20, rng=generator(0), onset=4, apex=10, offset=12) == [4, 6, 8, 10]
    assert OnsetApex(3)(20, onset=5, apex=5) == [5, 5, 5]
    for known in ({"onset": 3}, {"apex": 3}, {}):
        with pytest.raises(AnnotationError, match="no onset or no apex"):
            OnsetApex()(20, **known)


def test_the_apex_is_jittered_in_training_only():
    sampler = OnsetApex(jitter=2)
    assert sampler(20, onset=4, apex=10) == [4, 10]
    found = {tuple(sampler(20, rng=generator(seed), onset=4, apex=10)) for seed in range(60)}
    assert found == {(4, apex) for apex in range(8, 13)}
    # Never before the frame behind the onset, never behind the clip, and not moved off an onset that is the apex.
    assert {sampler(20, rng=generator(seed), onset=4, apex=5)[1] for seed in range(60)} == {5, 6, 7}
    assert {sampler(11, rng=generator(seed), onset=4, apex=10)[1] for seed in range(60)} == {8, 9, 10}
    assert sampler(5, rng=generator(1), onset=4, apex=4) == [4, 4]
    assert OnsetApex(3, jitter=1)(20, rng=generator(1), onset=0, apex=4)[0] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformSegments(0),
        lambda: Window(0),
        lambda: Window(2, 0),
        lambda: OnsetApex(1),
        lambda: OnsetApex(jitter=-1),
    ],
)
def test_counts_must_be_positive(make):
    with pytest.raises(ConfigError, match="must be at least"):
        make()
