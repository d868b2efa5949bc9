from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affectkit.data import Clip, ClipBatch, Target, collate, concat
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import crosswalk, label_space

nan = float("nan")
UNITS = ["AU1,AU2,AU4", "AU12,AU4", "AU6,AU12L,AU12R"]
FACES = ["basic7", "rafdb7", "basic6"]


@st.composite
def targets(draw, leading=(), units=None, faces=None, classes=None):
    """A target of random values and masks."""
    classes = draw(st.booleans()) if classes is None else classes
    space = (
        draw(st.sampled_from(FACES if faces is None else faces))
        if classes
        else draw(st.sampled_from(units or UNITS))
    )
    size = len(label_space(space))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    if classes:
        return Target.make(torch.randint(-2, size, leading, generator=rng), space=space)
    value = torch.rand(*leading, size, generator=rng)
    return Target.make(value.where(value > 0.3, nan), space=space)


@st.composite
def clips(draw, per_frame, length=None):
    T = draw(st.integers(1, 4)) if length is None else length
    leading = (T,) if per_frame else ()
    known = {}
    if draw(st.booleans()):
        known["au"] = draw(targets(leading, classes=False))
    if draw(st.booleans()):
        known["expression"] = draw(targets((), classes=True))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    points = torch.rand(T, 68, 2, generator=rng)
    return Clip.make(
        torch.randint(0, 256, (T, 3, 4, 5), generator=rng, dtype=torch.uint8),
        known,
        landmarks=points.where(points > 0.2, nan) if draw(st.booleans()) else None,
        key_frames=draw(st.tuples(*[st.integers(-1, T - 1)] * 3)),
        valid=draw(st.booleans()),
        subject=draw(st.integers(0, 9)),
        meta=draw(st.dictionaries(st.sampled_from("ab"), st.integers())),
    )


def assert_sound(target):
    assert target.value.shape == target.mask.shape
    assert target.mask.dtype == torch.bool
    assert torch.isfinite(target.value).all()
    assert (target.value[~target.mask] == 0).all()


class TestTarget:
    def test_make_masks_what_is_missing(self):
        units = Target.make(
            torch.tensor([[1.0, nan, 0.25]]), torch.tensor([[True, True, False]]), space=UNITS[0]
        )
        assert units.value.tolist() == [[1, 0, 0]]
        assert units.mask.tolist() == [[True, False, False]]
        faces = Target.make(torch.tensor([3, -1]), space="basic7")
        assert (faces.value.tolist(), faces.mask.tolist()) == ([3, 0], [True, False])
        assert faces.indexed
        assert not units.indexed

    @given(targets((2, 3)) | targets(()))
    def test_masked_entries_are_zero(self, target):
        assert_sound(target)

    @pytest.mark.parametrize(
        ("value", "mask", "space"),
        [
            (torch.zeros(3), torch.zeros(3, dtype=torch.bool), "AU1,AU2"),  # as many labels as the space
            (torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), "AU1,AU2"),
            (torch.zeros(2), torch.zeros(2), "AU1,AU2"),
            (torch.zeros(2), torch.zeros(1, dtype=torch.bool), "AU1,AU2"),
            (torch.zeros(7), torch.zeros(7, dtype=torch.bool), "basic7"),
            (torch.ones(2), torch.tensor([True, False]), "AU1,AU2"),
            (torch.tensor([nan, 1]), torch.tensor([True, True]), "AU1,AU2"),
            (torch.tensor([nan, 1]), torch.tensor([False, True]), "AU1,AU2"),
            (torch.tensor([5.5, 1]), torch.tensor([True, True]), "intensity:AU1,AU2"),
            (torch.tensor([-0.5, 1]), torch.tensor([True, True]), "AU1,AU2"),
            (torch.tensor([7]), torch.tensor([True]), "basic7"),
            (torch.tensor([-1]), torch.tensor([True]), "basic7"),
            (torch.zeros(2), torch.zeros(2, dtype=torch.bool), "no such space"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, value, mask, space):
        with pytest.raises(LabelSpaceError):
            Target(value, mask, space)

    def test_values_on_an_accelerator_are_not_looked_at(self):
        value = torch.full((2,), nan, device="meta")
        assert Target(value, value.bool(), "AU1,AU2").space == "AU1,AU2"

    @given(targets((2,)), st.sampled_from(UNITS + FACES))
    def test_projection_moves_or_masks(self, target, space):
        source, goal = label_space(target.space), label_space(space)
        if source.kind != goal.kind:
            with pytest.raises(LabelSpaceError):
                target.project(space)
            return
        moved = target.project(space)
        assert_sound(moved)
        assert moved.space == space
        if target.indexed:
            route = crosswalk(source, goal)
            for value, mask, old, known in zip(
                moved.value, moved.mask, target.value, target.mask, strict=True
            ):
                index = route[old] if known else None
                assert (int(value), bool(mask)) == ((0, False) if index is None else (index, True))
        else:
            for place, unit in enumerate(goal):
                if unit in source:
                    assert torch.equal(moved.value[:, place], target.value[:, source.index(unit)])
                    assert torch.equal(moved.mask[:, place], target.mask[:, source.index(unit)])
                else:
                    assert not moved.mask[:, place].any()

    def test_projection_to_itself_is_itself(self):
        target = Target.make(torch.tensor([1.0]), space="AU12")
        assert target.project("AU12") is target

    def test_occurrence_is_not_intensity(self):
        with pytest.raises(LabelSpaceError, match="occurrence"):
            Target.make(torch.tensor([1.0]), space="AU12").project("intensity:AU12")


class TestClip:
    def test_missing_parts_are_masked(self):
        clip = Clip.make(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
        assert clip.frame_mask.tolist() == [True, True]
        assert list(clip.landmarks.shape) == [2, 68, 2]
        assert not clip.landmarks_mask.any()
        assert clip.key_frames.tolist() == [-1, -1, -1]
        assert (clip.targets, clip.meta, clip.valid, clip.subject) == ({}, {}, True, 0)

    def test_landmarks_are_masked_by_nan_and_by_mask(self):
        points = torch.ones(1, 68, 2, dtype=torch.float64)
        points[0, 3, 1] = nan
        mask = torch.ones(1, 68, dtype=torch.bool)
        mask[0, 5] = False
        clip = Clip.make(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), landmarks=points, landmarks_mask=mask)
        assert clip.landmarks.dtype == torch.float32
        assert (~clip.landmarks_mask).nonzero()[:, 1].tolist() == [3, 5]
        assert clip.landmarks[0, [3, 5]].abs().sum() == 0


class TestBatches:
    @given(st.lists(st.booleans().flatmap(lambda _: clips(per_frame=True)), min_size=1, max_size=4))
    def test_collate_keeps_every_clip(self, given_clips):
        batch = collate(given_clips)
        longest = max(len(clip.frames) for clip in given_clips)
        assert batch.frames.dtype == torch.uint8
        assert list(batch.frames.shape) == [len(given_clips), longest, 3, 4, 5]
        assert (
            list(batch.frame_mask.shape)
            == list(batch.landmarks_mask.shape[:2])
            == [len(given_clips), longest]
        )
        assert len(batch) == len(given_clips)
        for target in batch.targets.values():
            assert_sound(target)
        assert (batch.landmarks[~batch.landmarks_mask] == 0).all()
        for row, clip in enumerate(given_clips):
            T = len(clip.frames)
            assert torch.equal(batch.frames[row, :T], clip.frames)
            assert not batch.frames[row, T:].any()
            assert batch.frame_mask[row].tolist() == [True] * T + [False] * (longest - T)
            assert torch.equal(batch.landmarks[row, :T], clip.landmarks)
            assert not batch.landmarks_mask[row, T:].any()
            assert torch.equal(batch.key_frames[row], clip.key_frames)
            assert (bool(batch.valid[row]), int(batch.subject[row])) == (clip.valid, clip.subject)
            assert {
                key: values[row] for key, values in batch.meta.items() if values[row] is not None
            } == clip.meta
            for name, joined in batch.targets.items():
                value, mask = joined.value[row], joined.mask[row]
                if name not in clip.targets:
                    assert not mask.any()
                    continue
                own = clip.targets[name].project(joined.space)
                if name == "au":
                    assert not mask[T:].any()
                    value, mask = value[:T], mask[:T]
                assert torch.equal(value, own.value)
                assert torch.equal(mask, own.mask)

    @given(st.lists(clips(per_frame=False, length=2), min_size=2, max_size=5), st.data())
    def test_concat_of_parts_is_the_whole(self, given_clips, data):
        cut = data.draw(st.integers(1, len(given_clips) - 1))
        whole = collate(given_clips)
        joined = concat([collate(given_clips[:cut]), collate(given_clips[cut:])])
        assert whole.meta == joined.meta
        assert whole.targets.keys() == joined.targets.keys()
        for name, target in whole.targets.items():
            again = joined.targets[name].project(target.space)
            if target.indexed:  # on the way, a part's own space may have masked what the whole one knows
                assert not (again.mask & ~target.mask).any()
                assert torch.equal(again.value, target.value.where(again.mask, 0))
            else:
                assert torch.equal(again.value, target.value)
                assert torch.equal(again.mask, target.mask)
        for field in (
            "frames",
            "frame_mask",
            "landmarks",
            "landmarks_mask",
            "key_frames",
            "valid",
            "subject",
        ):
            assert torch.equal(getattr(whole, field), getattr(joined, field))

    def test_spaces_meet_in_their_union(self):
        def clip(name, target):
            return Clip.make(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), {name: target})

        one = clip("au", Target.make(torch.tensor([1.0, 0.0]), space="AU4,AU1"))
        two = clip("au", Target.make(torch.tensor([1.0, 1.0]), space="AU12,AU4"))
        batch = collate([one, two, clip("expression", Target.make(torch.tensor(0), space="rafdb7"))])
        assert batch.targets["au"].space == "AU4,AU1,AU12"
        assert batch.targets["au"].value.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
        assert batch.targets["au"].mask.tolist() == [[True, True, False], [True, False, True], [False] * 3]
        assert batch.targets["expression"].mask.tolist() == [False, False, True]

        basic = clip("expression", Target.make(torch.tensor(4), space="basic7"))  # anger
        raf = clip("expression", Target.make(torch.tensor(0), space="rafdb7"))  # surprise
        joined = collate([basic, raf]).targets["expression"]
        assert (joined.space, joined.value.tolist()) == (
            "basic7",
            [4, label_space("basic7").index("surprise")],
        )

    def test_what_cannot_be_joined(self):
        def clip(target, size=2, frames=1):
            return Clip.make(torch.zeros(frames, 3, size, size, dtype=torch.uint8), {"au": target})

        whole = Target.make(torch.ones(1), space="AU12")
        with pytest.raises(ConfigError, match="different frame shapes"):
            collate([clip(whole), clip(whole, size=3)])
        with pytest.raises(ConfigError, match="different frame shapes"):
            concat([collate([clip(whole)]), collate([clip(whole, frames=2)])])
        with pytest.raises(LabelSpaceError, match="per frame in one clip"):
            collate([clip(whole), clip(Target.make(torch.ones(1, 1), space="AU12"))])
        with pytest.raises(LabelSpaceError):
            collate([clip(whole), clip(Target.make(torch.ones(1), space="intensity:AU12"))])

    def test_moving(self, monkeypatch):
        clip = Clip.make(
            torch.zeros(1, 3, 2, 2, dtype=torch.uint8),
            {"au": Target.make(torch.ones(1), space="AU12")},
            meta={"clip": "a"},
        )
        batch = collate([clip])
        there = batch.to("meta")
        devices = [value.device.type for value in vars(there).values() if isinstance(value, torch.Tensor)]
        assert set(devices) == {"meta"}
        assert len(devices) == 8
        assert there.targets["au"].value.device.type == there.targets["au"].mask.device.type == "meta"
        assert there.meta == {"clip": ["a"]}

        pinned = []
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(1) or tensor)
        assert isinstance(batch.pin_memory(), ClipBatch)
        assert len(pinned) == 10

    def test_frozen_and_picklable(self):
        batch = collate([Clip.make(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))])
        with pytest.raises(dataclasses.FrozenInstanceError):
            batch.frames = batch.frames
        assert torch.equal(pickle.loads(pickle.dumps(batch)).frames, batch.frames)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_pinned_copies_reach_the_gpu(self):
        clip = Clip.make(
            torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2),
            {"au": Target.make(torch.ones(1), space="AU12")},
        )
        batch = collate([clip]).pin_memory()
        assert batch.frames.is_pinned()
        there = batch.to("cuda", non_blocking=True)
        assert torch.equal(there.frames.cpu(), clip.frames[None])
        assert there.targets["au"].project("AU4,AU12").mask.tolist() == [[False, True]]


def test_signals_of_a_batch_are_padded_and_masked_where_absent():
    frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    pose = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
    one = Clip.make(frames, signals={"pose": pose})
    assert one.signals_mask.tolist() == [True, False]
    assert one.signals["pose"].tolist() == [[1.0, 2.0], [0.0, 0.0]]
    other = Clip.make(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), signals={"pose": torch.ones(3, 2)})
    without = Clip.make(frames)
    batch = collate([one, other, without])
    assert batch.signals["pose"].shape == (3, 3, 2)
    assert batch.signals["pose"][:, 0].tolist() == [[1.0, 2.0], [1.0, 1.0], [0.0, 0.0]]
    assert batch.signals_mask.tolist() == [[True, False, False], [True, True, True], [False, False, False]]
    joined = concat([batch, collate([other])])
    assert joined.signals["pose"].shape == (4, 3, 2)
    assert joined.signals_mask[3].all()
    assert joined.to("cpu").signals["pose"].equal(joined.signals["pose"])


def test_a_clip_that_lacks_one_of_the_signals_of_its_batch_has_none():
    frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    both = Clip.make(frames, signals={"pose": torch.ones(2, 2), "mesh": torch.ones(2, 4, 3)})
    pose = Clip.make(frames, signals={"pose": torch.ones(2, 2)})
    batch = collate([pose, both])
    assert batch.signals_mask.tolist() == [[False, False], [True, True]]
    assert batch.signals["mesh"].shape == (2, 2, 4, 3)
