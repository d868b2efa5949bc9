"""MixUp against the mixed loss it stands for, and what padding and missing labels do to it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from affectkit.data import Clip, ClipBatch, ClipMixup, Target, collate
from affectkit.errors import ConfigError, LabelSpaceError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(batch: int, seed: int, alpha: float = 0.4) -> tuple[float, list[int]]:
    """λ and partners, drawn as the class draws them."""
    generator = rng(seed)
    number = int(torch.randint(2**62, (), generator=generator))
    return random.Random(number).betavariate(alpha, alpha), torch.randperm(
        batch, generator=generator
    ).tolist()


def make(lengths: list[int], per_frame: bool = True, space: str = "AU6,AU12") -> ClipBatch:
    generator = rng(9)
    clips = []
    for length in lengths:
        frames = torch.randint(0, 256, (length, 3, 4, 4), generator=generator, dtype=torch.uint8)
        value = torch.randint(0, 2, (length, 2) if per_frame else (2,), generator=generator).float()
        clips.append(Clip.make(frames, {"au": Target.make(value, space=space)}))
    return collate(clips)


@pytest.mark.parametrize("per_frame", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_frames_and_losses_are_mixed_alike(seed, per_frame):
    batch = make([3, 3, 3, 3], per_frame)
    share, partner = draw(4, seed)
    frames, target = ClipMixup(0.4)(batch, "au", rng(seed))
    assert frames.dtype == torch.float32
    assert 0 < share < 1
    expected = share * batch.frames / 255 + (1 - share) * batch.frames[partner] / 255
    assert torch.allclose(frames, expected, atol=1e-6)
    value = batch.targets["au"].value
    logits = torch.randn(value.shape, generator=rng(3))

    def bce(labels: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels)

    mixed = share * bce(value) + (1 - share) * bce(value[partner])
    assert torch.allclose(bce(target.value), mixed, atol=1e-6)
    assert target.mask.all()


def test_shares_follow_the_beta_distribution():
    """Beta(0.4, 0.4) has mean 1/2 and variance 1/7.2."""
    shares = torch.tensor([draw(2, seed)[0] for seed in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / 7.2, abs=0.01)


def test_a_label_that_either_clip_lacks_is_masked():
    batch = make([2, 2, 2])
    target = batch.targets["au"]
    mask = target.mask.clone()
    mask[1, 0, 1] = False
    batch = replace(batch, targets={"au": Target.make(target.value, mask, space=target.space)})
    seed = next(s for s in range(99) if draw(3, s)[1] == [1, 2, 0])
    mixed = ClipMixup()(batch, "au", rng(seed))[1]
    expected = torch.ones(3, 2, 2, dtype=torch.bool)
    expected[0, 0, 1] = expected[1, 0, 1] = False  # clip 0 takes from clip 1
    assert torch.equal(mixed.mask, expected)
    assert (mixed.value[~mixed.mask] == 0).all()


def test_padding_mixes_into_nothing():
    batch = make([3, 1])
    seed = next(s for s in range(99) if draw(2, s)[1] == [1, 0])
    share, _ = draw(2, seed)
    frames, target = ClipMixup()(batch, "au", rng(seed))
    assert torch.allclose(frames[0, 1:], batch.frames[0, 1:] / 255)
    assert torch.allclose(target.value[0, 1:], batch.targets["au"].value[0, 1:])
    first = batch.targets["au"].value[:, 0]
    assert torch.allclose(target.value[0, 0], share * first[0] + (1 - share) * first[1], atol=1e-6)
    assert target.mask.tolist() == [[[True] * 2] * 3, [[True] * 2, [False] * 2, [False] * 2]]


def test_without_a_generator_torchs_own_decides():
    batch = make([2, 2, 2])
    torch.manual_seed(5)
    first = ClipMixup()(batch, "au")
    torch.manual_seed(5)
    assert torch.equal(ClipMixup()(batch, "au")[0], first[0])
    assert not torch.equal(ClipMixup()(batch, "au")[0], first[0])


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ConfigError, match="positive alpha, not 0"):
        ClipMixup(0)
    with pytest.raises(LabelSpaceError, match="no target 'intensity'"):
        ClipMixup()(make([2]), "intensity")
    with pytest.raises(LabelSpaceError, match=r"intensity:AU6,AU12 under 'au'"):
        ClipMixup()(make([2], space="intensity:AU6,AU12"), "au")
