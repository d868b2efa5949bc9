"""What every registered corpus does, on its rehearsal."""

import inspect
import pickle

import pytest
import torch

from affectkit.cli.data import _expected
from affectkit.data import Clip, Draw, check_disjoint, collate
from affectkit.datamodules import datamodule_of
from affectkit.datasets import Corpus, corpora
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.registry import keyword_options
from affectkit.errors import ConfigError, DatasetNotFoundError
from affectkit.facs import label_space
from affectkit.rehearse import rehearsals, rehearse

CORPORA = {name: cls for name, cls in corpora().items() if issubclass(cls, Corpus)}


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    small = {"pixels": 32} if "pixels" in inspect.signature(rehearsals()[request.param]).parameters else {}
    rehearse(request.param, root, **small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFECTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield CORPORA[request.param], root


@pytest.fixture(scope="module")
def whole(corpus):
    cls, root = corpus
    return cls(root, **cls.sampling(3))


def test_it_says_where_it_is_from(corpus):
    cls, _ = corpus
    assert all((cls.name, cls.citation, cls.licence))
    assert cls.protocols[0] is cls.find_protocol()
    assert cls.crop in ("auto", "none")
    assert {"split", "fold", "protocol", "cache", "prepared", "targets"} <= keyword_options(cls).keys()


def test_counts_are_those_of_the_manifest(whole):
    expected, _ = _expected(whole)
    found = whole.count()
    assert compare_counts(expected, found) == []
    assert found.missing == ()
    assert found.clips > 0


def test_records_and_their_labels_fit_the_spaces(whole):
    assert len({record.clip for record in whole.clips}) == len(whole)
    assert whole.rendered
    assert all(len(values) == len(whole.subjects) for values in whole.people().values())
    if whole.has_subjects:
        assert None not in {record.subject for record in whole.clips}
    else:
        assert whole.subjects == ()
    for record in whole.clips:
        start = record.start
        labels = whole.annotate(record, [start, start + 1])
        assert labels.keys() <= whole.targets.keys()
        for name, target in labels.items():
            space = label_space(whole.targets[name])
            assert target.space == space.name
            low, high = space.value_range
            values = target.value[target.mask]
            assert ((values >= low) & (values <= high)).all()
            assert (target.value[~target.mask] == 0).all()
            frames = target.mask.shape[: target.mask.dim() - (not space.indexed)]
            assert frames in ((), (2,))
    known = {
        name
        for record in whole.clips
        for name, its in whole.annotate(record, [record.start]).items()
        if its.mask.any()
    }
    assert known == set(whole.targets)


def test_splits_share_nobody(corpus):
    cls, root = corpus
    fold = cls(root).folds()[0]
    parts = {split: cls(root, split=split, fold=fold.name) for split in ("train", "val", "test")}
    assert all(len(part) for part in parts.values())
    clips = [record.clip for part in parts.values() for record in part.clips]
    assert sorted(clips) == sorted(record.clip for record in cls(root).clips)
    if cls.has_subjects:
        check_disjoint({split: part.subjects for split, part in parts.items()})
    with pytest.raises(ConfigError, match="no fold 'nobody'"):
        cls(root, split="test", fold="nobody")
    with pytest.raises(ConfigError, match="no protocol 'none'"):
        cls(root, protocol="none")


def test_a_batch_of_one(whole):
    clip = whole[Draw(0, seed=1)]
    assert isinstance(clip, Clip)
    assert clip.frames.dtype == torch.uint8
    assert clip.frames.shape[1] == 3
    batch = collate([clip])
    assert batch.frames.shape[0] == 1
    assert set(batch.targets) <= set(whole.targets)
    assert torch.equal(whole[0].frames, whole[0].frames)


def test_it_travels_to_other_processes(whole):
    again = pickle.loads(pickle.dumps(whole))
    assert [record.clip for record in again.clips] == [record.clip for record in whole.clips]
    assert torch.equal(again[0].frames, whole[0].frames)


def test_its_datamodule_gives_a_fold(corpus):
    cls, root = corpus
    data = datamodule_of(cls)(str(root), size=16, num_frames=2, batch_size=2, split_seed=3)
    data.fold = data.folds()[0].name
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape[2:] == (3, 16, 16)
    assert data.protocol.startswith(data.fold_protocol.description)
    assert len(next(iter(data.val_dataloader())).valid)


def test_a_root_that_is_not_there(corpus, tmp_path):
    cls, _ = corpus
    with pytest.raises(DatasetNotFoundError, match="does not exist") as caught:
        cls(tmp_path / "gone")
    assert caught.value.path == tmp_path / "gone"
    with pytest.raises(DatasetNotFoundError):
        len(cls(tmp_path))
