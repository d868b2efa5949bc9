"""Targets of every kind of label: shapes, missing entries, distributions, and labels of clips from their frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.data import Clip, ClipBatch, ClipMixup, HorizontalFlip, Target, collate
from affectkit.errors import LabelSpaceError
from affectkit.facs import label_space

nan = float("nan")
LEVELS = "levels:low,medium,high"
SPACES = ["AU1,AU12", "intensity:AU1,AU12", "happiness,anger,other", LEVELS, "va", "dimensions[0,9]:mood"]


def random(space, leading, seed=0, soft=False):
    """A target with some entries missing."""
    rng = torch.Generator().manual_seed(seed)
    kind = label_space(space)
    low, high = kind.value_range
    if kind.indexed and soft:
        value = torch.rand(*leading, len(kind), generator=rng)
        value = value / value.sum(-1, keepdim=True)
        return Target.make(value, torch.rand(leading, generator=rng) < 0.7, space=space)
    if kind.indexed:
        return Target.make(torch.randint(-1, int(high) + 1, leading, generator=rng), space=space)
    value = low + (high - low) * torch.rand(*leading, len(kind), generator=rng)
    return Target.make(value.where(torch.rand(value.shape, generator=rng) < 0.7, nan), space=space)


class TestShapes:
    def test_dimensions_are_numbers_within_the_range(self):
        target = Target.make(torch.tensor([-0.5, nan]), space="va")
        assert (target.value.tolist(), target.mask.tolist()) == ([-0.5, 0.0], [True, False])
        assert (target.indexed, target.soft, target.leading) == (False, False, 0)
        for value, space in (([1.5, 0.0], "va"), ([-0.5], "dimensions[0,9]:mood"), ([0.5], "va")):
            with pytest.raises(LabelSpaceError):
                Target.make(torch.tensor(value), space=space)

    def test_levels_are_indices(self):
        target = Target.make(torch.tensor([2, -1]), space=LEVELS)
        assert (target.value.tolist(), target.mask.tolist()) == ([2, 0], [True, False])
        assert (target.indexed, target.soft, target.leading) == (True, False, 1)
        for value in ([3], [2.0], [[0.5, 0.5]]):
            with pytest.raises(LabelSpaceError):
                Target.make(torch.tensor(value), space=LEVELS)

    def test_distributions_have_an_axis_that_the_mask_lacks(self):
        value = torch.tensor([[0.25, 0.75, 0.0], [nan, 0.5, 0.5], [1.0, 0.0, 0.0]])
        target = Target.make(value, torch.tensor([True, True, False]), space=LEVELS)
        assert target.value.tolist() == [[0.25, 0.75, 0.0], [0, 0, 0], [0, 0, 0]]
        assert target.mask.tolist() == [True, False, False]
        assert (target.soft, target.leading) == (True, 1)
        assert target.likeliest().value.tolist() == [1, 0, 0]
        for wrong in ([0.5, 0.6, 0.0], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]):
            with pytest.raises(LabelSpaceError):
                Target(torch.tensor(wrong), torch.tensor(True), LEVELS)
        with pytest.raises(LabelSpaceError):
            Target(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(False), LEVELS)

    @given(st.sampled_from(SPACES), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 9))
    def test_soft_and_back(self, space, leading, seed):
        target = random(space, leading, seed)
        soft = target.as_soft()
        assert soft.soft == target.indexed == (soft is not target)
        assert soft.leading == target.leading == len(leading)
        again = soft.likeliest()
        assert torch.equal(again.value, target.value)
        assert torch.equal(again.mask, target.mask)
        assert soft.as_soft() is soft
        assert target.likeliest() is target


class TestProjection:
    def test_dimensions_move_by_name(self):
        target = Target.make(torch.tensor([0.5, -0.5]), space="va")
        moved = target.project("dimensions:arousal,dominance,valence")
        assert (moved.value.tolist(), moved.mask.tolist()) == ([-0.5, 0.0, 0.5], [True, False, True])
        for other in ("dimensions[0,1]:valence", LEVELS, "AU1"):
            with pytest.raises(LabelSpaceError):
                target.project(other)

    def test_distributions_lose_what_the_other_space_lacks(self):
        value = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.0, 0.0, 0.0]])
        target = Target(value, torch.tensor([True, True, False]), "happiness,contempt,anger")
        moved = target.project("anger,fear,happiness")
        torch.testing.assert_close(moved.value, torch.tensor([[1 / 3, 0, 2 / 3], [0, 0, 0], [0, 0, 0]]))
        assert moved.mask.tolist() == [True, False, False]  # of the second, contempt is the likeliest

    def test_classes_that_become_one_add_up(self):
        value = torch.tensor([0.25, 0.25, 0.25, 0.0, 0.25, 0.0, 0.0])
        moved = Target(value, torch.tensor(True), "casme2_7").project("megc3")
        torch.testing.assert_close(moved.value, torch.tensor([2 / 3, 1 / 3, 0.0]))

    @given(st.integers(0, 9))
    def test_a_certain_distribution_moves_as_its_class(self, seed):
        target = random("basic7", (6,), seed)
        hard, soft = target.project("rafdb7"), target.as_soft().project("rafdb7")
        assert torch.equal(soft.likeliest().value, hard.value)
        assert torch.equal(soft.mask, hard.mask)


class TestOverFrames:
    def test_units_are_the_strongest(self):
        target = Target.make(torch.tensor([[[0.0, nan], [2.0, nan], [1.0, nan]]]), space=SPACES[1])
        clip = target.over_frames()
        assert (clip.value.tolist(), clip.mask.tolist()) == ([[2, 0]], [[True, False]])

    def test_levels_and_classes_must_agree(self):
        value = torch.tensor([[2, 2, -1], [2, 1, -1], [-1, -1, -1]])
        for space in (LEVELS, SPACES[2]):
            clip = Target.make(value, space=space).over_frames()
            assert (clip.value.tolist(), clip.mask.tolist()) == ([2, 0, 0], [True, False, False])

    def test_dimensions_and_distributions_are_means(self):
        target = Target.make(torch.tensor([[[-1.0, nan], [0.5, 0.5], [nan, nan]]]), space="va")
        assert target.over_frames().value.tolist() == [[-0.25, 0.5]]
        value = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [nan, nan, nan]], [[nan] * 3] * 3])
        clip = Target.make(value, space=LEVELS).over_frames()
        assert (clip.value.tolist(), clip.mask.tolist()) == ([[0.75, 0.0, 0.25], [0, 0, 0]], [True, False])


def clip_of(target, frames=2):
    return Clip.make(torch.zeros(frames, 3, 4, 4, dtype=torch.uint8), {"t": target})


class TestBatches:
    @given(st.sampled_from(SPACES), st.booleans(), st.booleans())
    def test_every_kind_is_padded_by_frame_and_kept_by_clip(self, space, by_frame, soft):
        targets = [random(space, (k,) if by_frame else (), k, soft) for k in (2, 3)]
        batch = collate([clip_of(target, k) for target, k in zip(targets, (2, 3), strict=True)])
        joined = batch.targets["t"]
        assert joined.leading == (2 if by_frame else 1)
        for row, (target, k) in enumerate(zip(targets, (2, 3), strict=True)):
            value, mask = joined.value[row], joined.mask[row]
            assert torch.equal(value[:k] if by_frame else value, target.value)
            assert torch.equal(mask[:k] if by_frame else mask, target.mask)
            assert not (by_frame and mask[k:].any())

    def test_a_batch_with_distributions_has_no_indices(self):
        soft = Target.make(torch.tensor([0.5, 0.5, 0.0]), space=LEVELS)
        hard = Target.make(torch.tensor(2), space=LEVELS)
        empty = Clip.make(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
        joined = collate([clip_of(hard), empty, clip_of(soft)]).targets["t"]
        assert joined.value.tolist() == [[0, 0, 1], [0, 0, 0], [0.5, 0.5, 0]]
        assert joined.mask.tolist() == [True, False, True]

    def test_spaces_meet_or_do_not(self):
        def meet(*spaces):
            return collate([clip_of(random(space, ())) for space in spaces]).targets["t"].space

        assert meet("va", "dimensions:dominance") == "dimensions:valence,arousal,dominance"
        assert meet(LEVELS, LEVELS) == LEVELS
        for other in ("levels:low,high", "va"):
            with pytest.raises(LabelSpaceError, match="different names"):
                meet(LEVELS, other)

    @pytest.mark.parametrize("space", SPACES[2:])
    def test_a_mirrored_face_feels_the_same(self, space):
        clip = clip_of(random(space, ()))
        flipped = HorizontalFlip(1.0)(clip, torch.Generator().manual_seed(0))
        assert flipped.targets["t"] is clip.targets["t"]


def mixed(target, seed=0) -> tuple[ClipBatch, Target, float]:
    batch = collate([clip_of(one) for one in target])
    _, found = ClipMixup(0.4)(batch, "t", torch.Generator().manual_seed(seed))
    return batch, found


class TestMixup:
    @pytest.mark.parametrize("space", [SPACES[2], LEVELS])
    @pytest.mark.parametrize("leading", [(), (2,)])
    def test_classes_become_distributions_over_two(self, space, leading):
        batch, found = mixed([Target.make(torch.full(leading, k), space=space) for k in (0, 2)])
        assert found.soft
        assert found.mask.all()
        for row, own in enumerate((0, 2)):
            share = found.value[row].reshape(-1, 3)
            torch.testing.assert_close(share.sum(-1), torch.ones(len(share)))
            assert (share[:, 1] == 0).all()
            assert (share == share[0]).all()
            assert share[0, own] > 0
        assert batch.targets["t"].value.dtype == torch.int64

    def test_a_class_that_a_partner_lacks_is_masked(self):
        targets = [Target.make(torch.tensor(k), space=LEVELS) for k in (1, -1, -1, -1)]
        for seed in range(5):
            _, found = mixed(targets, seed)
            assert found.mask.sum() <= 1
            assert (found.value[~found.mask] == 0).all()

    @pytest.mark.parametrize("space", ["va", "intensity:AU1,AU12"])
    def test_values_whose_loss_is_not_linear_are_not_mixed(self, space):
        with pytest.raises(LabelSpaceError, match="may be soft"):
            mixed([random(space, ()) for _ in range(2)])
