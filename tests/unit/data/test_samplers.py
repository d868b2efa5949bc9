from __future__ import annotations

import itertools
import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.data import Draw, EvalSampler, ReplaySampler, derive_seed
from affectkit.errors import ConfigError


def replay(length, *, batch, steps, world=1, rank=0, seed=0, epoch=0):
    sampler = ReplaySampler(
        range(length), batch_size=batch, steps_per_epoch=steps, seed=seed, num_replicas=world, rank=rank
    )
    sampler.set_epoch(epoch)
    assert len(sampler) == batch * steps
    return list(sampler)


@given(
    length=st.integers(1, 40),
    batch=st.integers(1, 4),
    steps=st.integers(1, 6),
    world=st.integers(1, 4),
    epoch=st.integers(0, 5),
)
def test_global_batches_do_not_depend_on_the_number_of_processes(length, batch, steps, world, epoch):
    alone = replay(length, batch=batch * world, steps=steps, epoch=epoch)
    ranks = [
        replay(length, batch=batch, steps=steps, world=world, rank=rank, epoch=epoch) for rank in range(world)
    ]
    together = list(itertools.chain.from_iterable(zip(*ranks, strict=True)))
    assert together == alone
    size = batch * world
    for step in range(steps):
        parts = [draws[step * batch : (step + 1) * batch] for draws in ranks]
        assert Counter(itertools.chain.from_iterable(parts)) == Counter(
            alone[step * size : (step + 1) * size]
        )


@given(length=st.integers(1, 30), batch=st.integers(1, 5), steps=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_clip_is_drawn_once_a_pass_across_epochs(length, batch, steps, seed):
    epochs = -(-3 * length // (batch * steps))
    stream = [d for e in range(epochs) for d in replay(length, batch=batch, steps=steps, seed=seed, epoch=e)]
    for start in range(0, 3 * length, length):
        assert sorted(draw.index for draw in stream[start : start + length]) == list(range(length))
    seeds = [draw.seed for draw in stream]
    assert len(set(seeds)) == len(seeds)
    assert all(draw.valid for draw in stream)


def test_a_resumed_run_goes_on_as_the_uninterrupted_one():
    whole = ReplaySampler(range(10), batch_size=4, steps_per_epoch=3, seed=7)
    draws = []
    for epoch in range(4):
        whole.set_epoch(epoch)
        draws.append(list(whole))
    assert replay(10, batch=4, steps=3, seed=7, epoch=3) == draws[3]
    assert draws[0] != draws[1]
    assert replay(10, batch=4, steps=3, seed=8) != draws[0]


def test_passes_are_reshuffled():
    order = [draw.index for draw in replay(50, batch=50, steps=2)]
    assert order[:50] != order[50:]
    assert order[:50] != list(range(50))


@given(length=st.integers(1, 20), world=st.integers(1, 5))
def test_evaluation_counts_every_clip_once(length, world):
    ranks = [list(EvalSampler(range(length), num_replicas=world, rank=rank)) for rank in range(world)]
    assert len({len(draws) for draws in ranks}) == 1
    draws = list(itertools.chain.from_iterable(zip(*ranks, strict=True)))
    assert [draw.index for draw in draws if draw.valid] == list(range(length))
    assert len(draws) - length < world
    assert {draw.seed for draw in draws} == {None}


CLASSES = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 5, 5, -1])


def test_classes_are_drawn_in_turn():
    def draws(world, rank):
        sampler = ReplaySampler(
            range(15),
            batch_size=6 // world,
            steps_per_epoch=5,
            classes=CLASSES,
            num_replicas=world,
            rank=rank,
        )
        return [draw.index for draw in sampler]

    whole = draws(1, 0)
    assert len(whole) == 30  # two passes
    for start in (0, 6, 15, 21):
        counted = Counter(CLASSES[whole[start : start + 6]].tolist())
        assert counted == {0: 2, 2: 2, 5: 2}
    first = Counter(whole[:15])
    assert 14 not in first
    assert all(first[index] <= 1 for index in range(9))  # five of nine
    assert sorted(first[index] for index in (9, 10, 11)) == [1, 2, 2]
    assert sorted(first[index] for index in (12, 13)) == [2, 3]
    assert [CLASSES[index] for index in whole[:15]] != [CLASSES[index] for index in whole[15:]]
    assert [draw for both in zip(draws(2, 0), draws(2, 1), strict=True) for draw in both] == whole


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"classes": CLASSES[:3]}, "15 clips need as many classes"),
        ({"classes": torch.full((15,), -1)}, "not all of them below 0"),
        ({"classes": CLASSES, "weights": torch.ones(15)}, "by weights or by classes"),
    ],
)
def test_impossible_classes(options, fault):
    with pytest.raises(ConfigError, match=fault):
        ReplaySampler(range(15), batch_size=1, steps_per_epoch=1, **options)


def test_evaluation_of_nothing():
    assert list(EvalSampler([])) == []


def test_the_process_group_is_found(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        sampler = EvalSampler(range(3))
    finally:
        torch.distributed.destroy_process_group()
    assert (sampler.num_replicas, sampler.rank) == (1, 0)


@pytest.mark.parametrize(
    ("length", "batch", "steps", "fault"),
    [(0, 1, 1, "no clip"), (3, 0, 1, "batch_size 0"), (3, 1, 0, "steps_per_epoch 0")],
)
def test_impossible_settings(length, batch, steps, fault):
    with pytest.raises(ConfigError, match=fault):
        ReplaySampler(range(length), batch_size=batch, steps_per_epoch=steps)


def test_derived_seeds():
    seeds = {derive_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert derive_seed(0, "frames") == derive_seed(0, "frames") != derive_seed(0, "pass")
    torch.Generator().manual_seed(max(seeds))


def test_draws_are_plain_tuples():
    assert Draw(3) == (3, None, True)
    assert pickle.loads(pickle.dumps(Draw(3, 5, False))) == Draw(3, 5, False)
