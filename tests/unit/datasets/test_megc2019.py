"""The composite of MEGC 2019 on rehearsals of its three corpora."""

from collections import Counter

import pytest
import torch

from affectkit.data import Draw, OnsetApex
from affectkit.datasets.bases.corpus import compare_counts
from affectkit.datasets.megc2019 import MEGC2019
from affectkit.datasets.preparing import prepare
from affectkit.rehearse import rehearse


def write(root, size, media):
    rehearse("megc2019", root, size=size, seed=2, media=media)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tiny"), "tiny", True)


def test_the_whole_has_the_published_counts(tmp_path):
    corpus = MEGC2019(write(tmp_path, "full", False))
    found = corpus.count(media=False)
    assert compare_counts(corpus.expected[corpus.revision], found) == []
    assert found.positives == {}
    folds = corpus.folds()
    assert len(folds) == 68
    smic = Counter(r.subject for r in corpus.clips if r.subject.startswith("smic"))
    assert (smic["smic/s03"], smic["smic/s20"], smic["smic/s19"]) == (39, 22, 2)


def test_clips_are_those_of_the_members(tiny):
    corpus = MEGC2019(tiny, sampler=OnsetApex(2))
    assert len(corpus) == sum(len(member) for member in corpus.members.values())
    assert len(set(corpus.subjects)) == len(corpus.folds())
    assert {r.clip.partition("/")[0] for r in corpus.clips} == {"smic", "casme2", "samm"}
    assert corpus.rendered
    for index in (0, len(corpus) - 1):
        clip, record = corpus[Draw(index, valid=False)], corpus.clips[index]
        assert clip.frames.shape[0] == 2
        assert clip.meta["clip"] == record.clip
        assert corpus.subjects[clip.subject] == record.subject
        assert set(clip.targets) == {"expression"}
        assert (
            clip.targets["expression"].value.item() == corpus.labels(record, [0])["expression"].value.item()
        )
        assert not clip.valid


def test_a_fold_tests_one_subject_of_one_corpus(tiny):
    fold = MEGC2019(tiny).folds()[-1]
    test = MEGC2019(tiny, split="test", fold=fold.name)
    train = MEGC2019(tiny, split="train", fold=fold.name)
    assert test.subjects == fold.test
    assert {name.partition("/")[0] for name in train.subjects} == {"smic", "casme2", "samm"}


def test_what_the_members_lack_is_missing(tiny, tmp_path):
    assert MEGC2019(tiny).count().missing == ()
    lacking = MEGC2019(write(tmp_path, "tiny", False)).count().missing
    assert {line.partition(":")[0] for line in lacking} == {"smic", "casme2", "samm"}


def test_crops_are_those_of_the_members(tiny, tmp_path):
    plain = MEGC2019(tiny)
    for name, member in plain.members.items():
        whole = type(member)(member.root)
        whole.clips = [record for record in whole.clips if record.clip == member.clips[0].clip]
        prepare(whole, tmp_path / name, size=32, crop="none", codec="png")
    corpus = MEGC2019(tiny, prepared=tmp_path)
    for name, member in plain.members.items():
        index = [record.clip for record in plain.clips].index(f"{name}/{member.clips[0].clip}")
        small, large = corpus[index], plain[index]
        assert small.meta == large.meta
        assert min(small.frames.shape[2:]) == 32
        size = tuple(small.frames.shape[2:])
        like = torch.nn.functional.interpolate(large.frames, size, mode="bilinear", antialias=True)
        assert torch.equal(small.frames, like)
