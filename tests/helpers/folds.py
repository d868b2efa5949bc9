"""Two published corpora in small, without media: their subjects, protocols and toy pictures."""

from pathlib import Path

from affectkit.data import AllFrames, ClipRecord, Compose
from affectkit.datamodules import FoldDataModule
from affectkit.datasets import find_corpus
from affectkit.datasets.bases.corpus import Corpus
from helpers.toy import ToyDataset

DISFA = ("SN001", "SN002", "SN009", "SN006", "SN011", "SN012", "SN003", "SN004", "SN005")
CASME2 = ("sub01", "sub02", "sub03", "sub04")


class ToyCorpus(Corpus):
    """The toy pictures under a published corpus's subjects."""

    citation = "none"
    licence = "none"
    cast: tuple[str, ...]
    truth = ToyDataset.truth
    labels = ToyDataset.labels
    load = ToyDataset.load

    def __init__(self, root, **options):
        self.frames_each = 3
        self.spaces = {"au": "AU1,AU12,AU4", "expression": "basic7"}
        super().__init__(root, **options)

    def annotations(self):
        self.revision = "toy"
        return [
            ClipRecord(clip=f"{name}_{k}", path=Path("none"), subject=name, num_frames=self.frames_each)
            for name in self.cast
            for k in range(4)
        ]


class ToyDISFA(ToyCorpus):
    name = "DISFA"
    protocols = find_corpus("DISFA").protocols
    cast = DISFA


class ToyCASME2(ToyCorpus):
    name = "CASME2"
    protocols = find_corpus("CASME2").protocols
    cast = CASME2


class ToyFolds(FoldDataModule):
    """All frames, unchanged."""

    def __init__(self, *, corpus="DISFA", batch_size: int = 16, seed: int | None = None, **options):
        self.dataset_class = {"DISFA": ToyDISFA, "CASME2": ToyCASME2}[corpus]
        options |= {"batch_size": batch_size, "seed": seed}
        super().__init__(".", train_frames=AllFrames(), eval_frames=AllFrames(), **options)
        self.train_transform = self.eval_transform = Compose([])


def parts_of(corpus):
    """Which part each subject of a corpus is tested in."""
    folds = find_corpus(corpus).find_protocol().folds(DISFA if corpus == "DISFA" else CASME2)
    return {subject: fold.name for fold in folds for subject in fold.test}
