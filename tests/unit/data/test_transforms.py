from __future__ import annotations

import statistics
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from affectkit.data import (
    CenterCrop,
    Clip,
    ColorJitter,
    Compose,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Target,
)
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.regions import FLIP_68

ALL = [
    Resize(12),
    CenterCrop(10),
    RandomCrop(10),
    RandomResizedCrop(9, scale=(0.3, 1), ratio=(0.5, 2)),
    RandomRotation(30),
    HorizontalFlip(1.0),
    HorizontalFlip(0.5),
    ColorJitter(0.5, 0.5, 0.5),
    Compose([RandomCrop(12), HorizontalFlip(), ColorJitter(), Resize(8)]),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_clip(seed=0, frames=3, height=16, width=20):
    rng = generator(seed)
    pixels = torch.randint(0, 256, (frames, 3, height, width), generator=rng, dtype=torch.uint8)
    # Quarters of pixels are exact in float32, so flips can be compared bit by bit.
    points = torch.randint(0, 64, (frames, 68, 2), generator=rng) / 4
    seen = torch.rand(frames, 68, generator=rng) > 0.2
    units = Target.make(
        torch.randint(0, 2, (frames, 5), generator=rng).float(),
        torch.rand(frames, 5, generator=rng) > 0.3,
        space="AU1,AU12L,AU4,AU12R,AU6",
    )
    face = Target.make(torch.tensor(3), space="basic7")
    return Clip.make(pixels, {"au": units, "expression": face}, landmarks=points, landmarks_mask=seen)


def assert_same(one, other):
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.landmarks, other.landmarks)
    assert torch.equal(one.landmarks_mask, other.landmarks_mask)
    for name, target in one.targets.items():
        assert torch.equal(target.value, other.targets[name].value)
        assert torch.equal(target.mask, other.targets[name].mask)


def spot_clip(x, y, height=40, width=60):
    """Frames black but for a bright blob at (x, y), where all landmarks are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    blob = 255 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    points = torch.tensor([float(x), float(y)]).expand(2, 68, 2).clone()
    return Clip.make(blob.round().to(torch.uint8).expand(2, 3, height, width).contiguous(), landmarks=points)


def spot(frames):
    """Centre of the light in each frame, (x, y)."""
    light = frames.float().mean(1)
    rows, columns = torch.meshgrid(
        torch.arange(light.shape[-2]).float(), torch.arange(light.shape[-1]).float(), indexing="ij"
    )
    total = light.sum((1, 2))
    return torch.stack([(light * columns).sum((1, 2)), (light * rows).sum((1, 2))], -1) / total[:, None]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
class TestEvery:
    def test_one_draw_decides_all(self, transform):
        clip = make_clip()
        assert_same(transform(clip, generator(3)), transform(clip, generator(3)))

    def test_evaluation_is_deterministic_and_flips_nothing(self, transform):
        clip = make_clip()
        before = clip.frames.clone()
        result = transform(clip)
        assert_same(result, transform(clip))
        assert torch.equal(clip.frames, before)  # inputs stay as they are (they may be cached)
        assert torch.equal(result.targets["au"].value, clip.targets["au"].value)

    def test_form_is_kept(self, transform):
        clip = make_clip()
        before = clip.frames.clone()
        for seed in range(5):
            result = transform(clip, generator(seed))
            assert result.frames.dtype == torch.uint8
            assert result.frames.shape[:2] == (3, 3)
            assert result.landmarks.isfinite().all()
            assert (result.landmarks[~result.landmarks_mask] == 0).all()
            assert result.landmarks_mask.sum() == clip.landmarks_mask.sum()
            assert result.targets["au"].mask.sum() == clip.targets["au"].mask.sum()
            assert result.targets["expression"] is clip.targets["expression"]
        assert torch.equal(clip.frames, before)

    def test_the_same_for_all_frames(self, transform):
        clip = make_clip(frames=1)
        still = Clip.make(clip.frames.expand(3, -1, -1, -1).contiguous())
        moved = transform(still, generator(1)).frames
        assert torch.equal(moved[0], moved[1])
        assert torch.equal(moved[0], moved[2])

    def test_landmarks_stay_on_the_face(self, transform):
        clip = spot_clip(31, 18)
        for seed in range(4):
            moved = transform(clip, generator(seed))
            point = moved.landmarks[:, 0]
            inside = (point > 3).all() and (point < torch.tensor(moved.frames.shape[-2:]).flip(0) - 4).all()
            if inside and not isinstance(transform, Compose | ColorJitter):
                assert (spot(moved.frames) - point).abs().max() < 0.35


class TestFlip:
    @given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9))
    def test_twice_is_the_identity(self, seed, frames, width):
        clip = make_clip(seed, frames=frames, width=width)
        flip = HorizontalFlip(1.0)
        assert_same(flip(flip(clip, generator()), generator()), clip)

    def test_sides_change_places(self):
        clip = make_clip()
        flipped = HorizontalFlip(1.0)(clip, generator())
        order = [0, 3, 2, 1, 4]  # AU12L and AU12R
        assert torch.equal(flipped.targets["au"].value, clip.targets["au"].value[:, order])
        assert torch.equal(flipped.targets["au"].mask, clip.targets["au"].mask[:, order])
        assert torch.equal(flipped.frames, clip.frames.flip(-1))
        eye, other = 36, FLIP_68[36]
        assert other == 45
        assert torch.equal(flipped.landmarks_mask[:, eye], clip.landmarks_mask[:, other])
        seen = clip.landmarks_mask[:, other]
        assert torch.equal(flipped.landmarks[seen, eye, 0], 19 - clip.landmarks[seen, other, 0])
        assert torch.equal(flipped.landmarks[seen, eye, 1], clip.landmarks[seen, other, 1])

    def test_a_side_without_partner_cannot_be_flipped(self):
        target = Target.make(torch.ones(1), space="AU12L")
        clip = Clip.make(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), {"au": target})
        with pytest.raises(LabelSpaceError, match="AU12R"):
            HorizontalFlip(1.0)(clip, generator())

    def test_probability(self):
        clip = make_clip()
        rng = generator()
        flips = [not torch.equal(HorizontalFlip(0.3)(clip, rng).frames, clip.frames) for _ in range(300)]
        assert 0.2 < statistics.mean(flips) < 0.4
        assert HorizontalFlip(0.0)(clip, rng) is clip
        with pytest.raises(ConfigError, match="not a probability"):
            HorizontalFlip(1.5)


class TestGeometry:
    def test_resize_keeps_the_aspect(self):
        clip = make_clip(height=16, width=20)
        result = Resize(8)(clip)
        assert list(result.frames.shape) == [3, 3, 8, 10]
        goal = F.interpolate(clip.frames.float(), (8, 10), mode="bilinear", antialias=True)
        assert (result.frames.float() - goal).abs().max() <= 1
        assert Resize(16)(clip).frames.shape == clip.frames.shape
        assert torch.equal(Resize(16)(clip).frames, clip.frames)

    def test_centre_crop(self):
        clip = make_clip(height=16, width=20)
        result = CenterCrop(10)(clip, generator())
        assert torch.equal(result.frames, clip.frames[..., 3:13, 5:15])
        seen = clip.landmarks_mask
        assert torch.equal(result.landmarks[seen], clip.landmarks[seen] - torch.tensor([5.0, 3.0]))
        assert torch.equal(RandomCrop(10)(clip).frames, result.frames)

    def test_random_crops_reach_every_place(self):
        rows = torch.arange(5, dtype=torch.uint8)[:, None]
        frames = (10 * rows + torch.arange(6, dtype=torch.uint8)).expand(1, 3, 5, 6).contiguous()
        rng = generator()
        corners = {int(RandomCrop(4)(Clip.make(frames), rng).frames[0, 0, 0, 0]) for _ in range(200)}
        assert corners == {0, 1, 2, 10, 11, 12}

    def test_random_resized_crop_in_evaluation_is_the_centre_square(self):
        clip = make_clip(height=16, width=20)
        goal = F.interpolate(clip.frames[..., 2:18].float(), (8, 8), mode="bilinear", antialias=True)
        assert (RandomResizedCrop(8)(clip).frames.float() - goal).abs().max() <= 1

    def test_random_resized_crop_keeps_to_its_area(self):
        """A picture of its own coordinates shows how much of it was cut out."""
        ramp = torch.arange(200).expand(1, 3, 200, 200).to(torch.uint8)
        rng = generator()
        for _ in range(50):
            cut = RandomResizedCrop(50, scale=(0.25, 0.5), ratio=(1, 1))(Clip.make(ramp), rng)
            width = (int(cut.frames[0, 0, 0, -1]) - int(cut.frames[0, 0, 0, 0])) * 50 / 49
            assert 0.22 < (width / 200) ** 2 < 0.53

    @pytest.mark.parametrize(
        ("make", "fault"),
        [
            (lambda: Resize(0), "at least 1"),
            (lambda: CenterCrop(0), "at least 1"),
            (lambda: RandomCrop(0), "at least 1"),
            (lambda: RandomResizedCrop(0), "at least 1"),
            (lambda: RandomResizedCrop(8, scale=(0.9, 0.2)), "must ascend"),
            (lambda: RandomResizedCrop(8, scale=(0.0, 1.0)), "must ascend"),
            (lambda: RandomResizedCrop(8, ratio=(2.0, 1.0)), "must ascend"),
            (lambda: CenterCrop(17)(make_clip()), "too small for a crop of 17"),
        ],
    )
    def test_impossible_sizes(self, make, fault):
        with pytest.raises(ConfigError, match=fault):
            make()


class TestColorJitter:
    def test_against_its_definition(self):
        clip = make_clip()
        result = ColorJitter(0.4, 0.3, 0.2)(clip, generator(5)).frames
        draws = 2 * torch.rand(3, generator=generator(5)) - 1
        b, c, s = (1 + draws * torch.tensor([0.4, 0.3, 0.2])).tolist()
        x = clip.frames.double()
        y = (x * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(1, keepdim=True)
        goal = (b * (c * (s * x + (1 - s) * y) + (1 - c) * y.mean())).clamp(0, 255)
        assert (result.double() - goal).abs().max() <= 0.5 + 1e-3

    def test_nothing_to_do(self):
        clip = make_clip()
        assert torch.equal(ColorJitter(0, 0, 0)(clip, generator()).frames, clip.frames)
        assert ColorJitter()(clip) is clip
        with pytest.raises(ConfigError, match="must lie in"):
            ColorJitter(brightness=2)


def test_fast_enough_for_the_hot_path():
    """A generous bound on a busy machine; benchmarks tell the real cost."""
    clip = make_clip(frames=4, height=96, width=96)
    transform = Compose([RandomCrop(88), HorizontalFlip(), ColorJitter()])
    rng = generator()
    times = []
    for _ in range(30):
        start = time.perf_counter()
        transform(clip, rng)
        times.append(time.perf_counter() - start)
    assert min(times) < 2e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rotation_moves_pixels_and_landmarks_alike(seed):
    clip = spot_clip(44, 12)
    turned = RandomRotation(40)(clip, generator(seed))
    assert turned.frames.shape == clip.frames.shape
    torch.testing.assert_close(spot(turned.frames), turned.landmarks[:, 0], atol=0.2, rtol=0)
    centre = torch.tensor([59, 39]) / 2
    before, after = clip.landmarks[0, 0] - centre, turned.landmarks[0, 0] - centre
    assert after.norm().item() == pytest.approx(before.norm().item(), abs=1e-3)
    angle = 40 * (2 * float(torch.rand((), generator=generator(seed))) - 1)
    cosine = torch.dot(before, after) / before.norm() ** 2
    assert torch.rad2deg(cosine.arccos()).item() == pytest.approx(abs(angle), abs=0.05)
    assert RandomRotation(40)(clip) is clip


def test_rotation_blackens_corners_and_keeps_the_rest():
    white = Clip.make(torch.full((2, 3, 20, 30), 200, dtype=torch.uint8))
    turned = RandomRotation(45)(white, generator(3)).frames
    assert turned[:, :, 0, 0].max() < 100
    assert (turned[:, :, 6:14, 10:20] == 200).all()
    assert torch.equal(RandomRotation(0)(white, generator(3)).frames, white.frames)
    for degrees in (-1, 181):
        with pytest.raises(ConfigError, match="degrees"):
            RandomRotation(degrees)


def test_a_clip_with_signals_of_unknown_sides_is_not_mirrored():
    clip = Clip.make(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), signals={"gaze_angle_x": torch.zeros(1, 1)})
    with pytest.raises(ConfigError, match="gaze_angle_x"):
        HorizontalFlip(p=1.0)(clip, torch.Generator())
