from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from affectkit.data import (
    Clip,
    ClipRecord,
    Draw,
    EvalSampler,
    HorizontalFlip,
    OnsetApex,
    ReplaySampler,
    Target,
    UniformSegments,
    Window,
    collate,
)
from affectkit.datasets import AffectDataset
from affectkit.errors import AnnotationError, DatasetNotFoundError, VideoError


class Corpus(AffectDataset):
    """A corpus of given records; the target says which frames were read."""

    name = "corpus"
    citation = "none"
    licence = "none"

    def __init__(self, root, given=(), **options):
        self.given = list(given)
        self.spaces = {"au": "AU1,AU2", "expression": "basic7"}
        self.loads = 0
        super().__init__(root, **options)

    def records(self):
        return self.given

    def load(self, record, indices):
        self.loads += 1
        return super().load(record, indices)

    def labels(self, record, indices):
        values = torch.tensor([[index % 2, float("nan")] for index in indices])
        return {
            "au": Target.make(values, space="AU1,AU2"),
            "expression": Target.make(torch.tensor(2), space="basic7"),
        }


class WithPoints(Corpus):
    def landmarks(self, record, indices):
        points = torch.tensor([float(index) for index in indices])[:, None, None].expand(-1, 68, 2)
        return points, (points[..., 0] != 1)


@pytest.fixture
def root(tmp_path, make_clip):
    make_clip("a", frames=6)
    make_clip("b", frames=4, base=100)
    return tmp_path


def records(root, *names, **known):
    return [ClipRecord(name, root / name, subject=f"person-{name}", **known) for name in names]


def seen(clip):
    return clip.frames[:, 0, 0, 0].tolist()


def test_a_whole_clip(root):
    dataset = Corpus(root, records(root, "b", "a", onset=1, apex=3))
    clip = dataset[1]
    assert isinstance(clip, Clip)
    assert seen(clip) == [0, 1, 2, 3, 4, 5]
    assert clip.frames.dtype == torch.uint8
    assert clip.key_frames.tolist() == [1, 3, -1]
    assert clip.targets["au"].value[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert not clip.targets["au"].mask[:, 1].any()
    assert clip.meta == {
        "dataset": "corpus",
        "clip": "a",
        "subject": "person-a",
        "indices": [0, 1, 2, 3, 4, 5],
    }
    assert (len(dataset), dataset.subjects, dataset.num_groups) == (2, ("person-a", "person-b"), 2)
    assert (clip.subject, dataset[0].subject, clip.valid) == (0, 1, True)
    assert dataset[-1].meta == clip.meta
    assert not clip.landmarks_mask.any()
    with pytest.raises(IndexError):
        dataset[2]


def test_a_part_of_the_media(root):
    dataset = Corpus(root, records(root, "a", start=2, stop=5, onset=2, apex=4), sampler=OnsetApex())
    clip = dataset[0]
    assert clip.meta["indices"] == seen(clip) == [2, 4]
    assert clip.key_frames.tolist() == [0, 1, -1]
    assert clip.targets["au"].value[:, 0].tolist() == [0, 0]
    assert seen(Corpus(root, records(root, "a", start=2, stop=5))[0]) == [2, 3, 4]
    assert seen(Corpus(root, records(root, "a", start=4))[0]) == [4, 5]


def test_media_shorter_than_its_annotation(root):
    with pytest.raises(VideoError, match="has only 6 frames") as caught:
        Corpus(root, records(root, "a", start=6))[0]
    assert caught.value.frame == 6
    with pytest.raises(VideoError, match="The video has 6 frames") as caught:
        Corpus(root, records(root, "a", num_frames=9))[0]
    assert (caught.value.path, caught.value.frame) == (root / "a", 6)


def test_landmarks_move_with_the_frames(root):
    clip = WithPoints(root, records(root, "a"), transform=HorizontalFlip(1.0))[Draw(0, seed=1)]
    assert clip.landmarks[:, 0, 0].tolist() == [9, 0, 7, 6, 5, 4]
    assert clip.landmarks_mask.all(-1).tolist() == [True, False, True, True, True, True]


def test_randomness_comes_from_the_draw_alone(root):
    dataset = Corpus(root, records(root, "a"), sampler=Window(2), transform=HorizontalFlip(0.5))
    drawn = {seed: dataset[Draw(0, seed)].meta["indices"] for seed in range(20)}
    assert len({tuple(indices) for indices in drawn.values()}) == 5
    torch.manual_seed(99)
    assert dataset[Draw(0, 7)].meta["indices"] == drawn[7]
    assert dataset[0].meta["indices"] == dataset[Draw(0)].meta["indices"] == [2, 3]


def test_padding_draws_are_not_valid(root):
    dataset = Corpus(root, records(root, "a", "b", "a"), sampler=UniformSegments(2))
    loaders = [
        DataLoader(
            dataset, batch_size=2, sampler=EvalSampler(dataset, num_replicas=2, rank=rank), collate_fn=collate
        )
        for rank in range(2)
    ]
    valid = [batch.valid.tolist() for loader in loaders for batch in loader]
    assert valid == [[True, True], [True, False]]


def test_loading_in_workers_gives_the_same(root):
    dataset = Corpus(root, records(root, "a", "b"), sampler=UniformSegments(3), transform=HorizontalFlip())

    def batches(workers):
        sampler = ReplaySampler(dataset, batch_size=3, steps_per_epoch=3, seed=1)
        return list(DataLoader(dataset, 3, sampler=sampler, collate_fn=collate, num_workers=workers))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.meta == other.meta


def test_unknown_subjects_are_groups_of_one_clip(root):
    given = records(root, "a", "b")
    given.append(ClipRecord("c", root / "a"))
    dataset = Corpus(root, given)
    assert (dataset.subjects, dataset.num_groups) == ((), 3)
    assert [dataset[index].subject for index in range(3)] == [0, 1, 2]


def test_root_must_exist(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="Correct the root of corpus") as caught:
        Corpus(tmp_path / "none")
    assert caught.value.path == tmp_path / "none"


class TestCache:
    def test_clips_are_decoded_once(self, root):
        dataset = Corpus(root, records(root, "a", "b", start=1), sampler=UniformSegments(2), cache="memory")
        first = dataset[Draw(0, 1)]
        for seed in range(5):
            dataset[Draw(0, seed)]
            dataset[Draw(1, seed)]
        assert dataset.loads == 2
        plain = Corpus(root, records(root, "a", "b", start=1), sampler=UniformSegments(2))
        for draw in (Draw(0), Draw(1), Draw(0, 3), Draw(1, 3)):
            assert torch.equal(dataset[draw].frames, plain[draw].frames)
        assert {frames.dtype for frames in dataset._cache.values()} == {torch.uint8}
        assert [len(dataset._cache[index]) for index in (0, 1)] == [5, 3]
        first.frames.zero_()  # what a caller does to a sample stays with the sample
        assert torch.equal(dataset[Draw(0, 1)].frames, plain[Draw(0, 1)].frames)


class TestSkipping:
    @pytest.fixture
    def broken(self, root):
        (root / "broken.mp4").write_bytes(b"no video")
        return [
            ClipRecord("broken", root / "broken.mp4", subject="person-x"),
            *records(root, "a"),
            ClipRecord("gone", root / "gone.mp4", subject="person-y"),
        ]

    def test_errors_are_raised_by_default(self, root, broken):
        with pytest.raises(VideoError):
            Corpus(root, broken)[0]

    def test_a_blank_clip_takes_the_place(self, root, broken, caplog):
        dataset = WithPoints(root, broken, on_error="skip", sampler=UniformSegments(3))
        assert dataset.skipped_report() == "corpus: no clip was skipped."
        blank, good = dataset[Draw(0, 5)], dataset[1]
        assert good.valid
        assert not blank.valid
        assert blank.frames.shape == good.frames.shape
        assert not blank.frames.any()
        assert not blank.landmarks_mask.any()
        assert blank.frame_mask.all()
        assert all(not target.mask.any() for target in blank.targets.values())
        assert blank.targets.keys() == good.targets.keys()
        assert blank.key_frames.tolist() == [-1, -1, -1]
        assert (blank.meta["clip"], blank.meta["subject"]) == ("broken", "person-x")
        assert blank.subject == dataset.subjects.index("person-x")
        dataset[0]
        dataset[2]
        assert dataset.skipped == ("broken", "gone")
        assert dataset.skipped_report() == "corpus: 2 of 3 clips were skipped as unreadable: broken, gone."
        assert [record.message.count("broken.mp4") for record in caplog.records] == [
            1,
            0,
        ]  # each is logged once

    def test_long_reports_are_cut_short(self, root):
        given = [ClipRecord(f"c{index}", root / f"{index}.mp4") for index in range(7)]
        dataset = Corpus(root, [*given, *records(root, "a")], on_error="skip")
        for index in range(7):
            dataset[index]
        assert dataset.skipped_report() == (
            "corpus: 7 of 8 clips were skipped as unreadable: c0, c1, c2, c3, c4, …."
        )

    def test_workers_report_to_the_main_process(self, root, broken):
        dataset = Corpus(root, broken, on_error="skip", sampler=UniformSegments(2))
        loader = DataLoader(dataset, 1, sampler=EvalSampler(dataset), collate_fn=collate, num_workers=2)
        assert [batch.valid.item() for batch in loader] == [False, True, False]
        assert dataset.skipped == ("broken", "gone")

    def test_nothing_can_be_read(self, root):
        dataset = Corpus(root, [ClipRecord("gone", root / "gone.mp4")] * 2, on_error="skip")
        with pytest.raises(VideoError, match="None of the clips can be read"):
            dataset[0]

    def test_other_errors_are_never_skipped(self, root):
        dataset = Corpus(root, records(root, "a"), on_error="skip", sampler=OnsetApex())
        with pytest.raises(AnnotationError, match="no onset") as caught:
            dataset[0]
        assert caught.value.path == dataset.clips[0].path


def test_datasets_can_be_copied_and_pickled(root):
    dataset = Corpus(root, records(root, "a", "b"), sampler=UniformSegments(2))
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert torch.equal(other[1].frames, dataset[1].frames)


def test_paths_may_be_text(root):
    assert Corpus(str(root)).root == Path(root)
