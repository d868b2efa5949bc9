"""Corpora by name, also those of other packages."""

from __future__ import annotations

from typing import ClassVar

import pytest

from affectkit import datamodules, datasets
from affectkit.data import ClipRecord, Target
from affectkit.datasets import Corpus, corpora, find_corpus, register
from affectkit.datasets.bases.protocols import leave_one_subject_out
from affectkit.datasets.registry import _REGISTRY, keyword_options
from affectkit.errors import ConfigError
from affectkit.rehearse import register as register_rehearsal
from affectkit.rehearse import rehearse
from affectkit.rehearse.registry import _WRITERS


@pytest.fixture
def elsewhere():
    """A corpus as another package would define it."""

    @register
    class Elsewhere(Corpus):
        """Faces of elsewhere.

        Args:
            root: Folder of the corpus.
            mood: What is annotated.
            **options: See `Corpus`.
        """

        name = "Elsewhere"
        citation = licence = "none"
        protocols: ClassVar = (leave_one_subject_out("Elsewhere", "Elsewhere"),)
        clip_frames = 5

        def __init__(self, root, *, mood: str = "happiness,anger", **options):
            self.spaces = {"expression": mood}
            super().__init__(root, **options)

        def annotations(self):
            return [
                ClipRecord(clip=name, path=self.root / name, subject=name, num_frames=9)
                for name in ("a", "b", "c")
            ]

        def labels(self, record, indices):
            import torch

            return {"expression": Target.make(torch.tensor(1), space=self.spaces["expression"])}

    yield Elsewhere
    del _REGISTRY._classes["elsewhere"]
    _WRITERS.pop("elsewhere", None)


def test_a_corpus_of_another_package(elsewhere, tmp_path):
    assert corpora()["elsewhere"] is find_corpus("ELSEWHERE") is datasets.Elsewhere is elsewhere
    data = datamodules.ElsewhereDataModule(
        str(tmp_path), fold="b", mood="fear,anger", batch_size=1, cache="memory"
    )
    assert (data.num_frames, data.batch_size) == (5, 1)
    test = data.make_dataset("test")
    assert (test.subjects, test.spaces, len(test.sampler(9))) == (("b",), {"expression": "fear,anger"}, 5)
    assert "mood: What is annotated." in type(data).__init__.__doc__
    with pytest.raises(TypeError, match="unexpected keyword argument 'moods'"):
        datamodules.ElsewhereDataModule(str(tmp_path), moods="fear,anger")

    @register_rehearsal("elsewhere")
    def write(job):
        (job.out / "a").touch()
        return {}

    assert rehearse("elsewhere", tmp_path / "new")["corpus"] == "Elsewhere"
    assert (tmp_path / "new" / "a").exists()


def test_a_name_is_taken_once(elsewhere):
    with pytest.raises(ConfigError, match="already registered"):
        register(elsewhere)
    with pytest.raises(ConfigError, match="no corpus named 'nowhere'"):
        find_corpus("nowhere")


def test_options_are_those_of_all_bases(elsewhere):
    options = keyword_options(elsewhere)
    assert options["mood"].default == "happiness,anger"
    assert options["mood"].annotation is str
    assert options["fold"].default is None
    assert next(iter(options)) == "mood"
    assert keyword_options(object) == {}
