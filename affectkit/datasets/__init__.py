"""Corpora, one file each; all are subclasses of `AffectDataset`, available here by the name of the class."""

from __future__ import annotations

from affectkit.datasets.bases.corpus import Corpus
from affectkit.datasets.bases.dataset import AffectDataset, Split
from affectkit.datasets.bases.protocols import Fold, Protocol
from affectkit.datasets.registry import corpora, find_corpus, register

__all__ = ["AffectDataset", "Corpus", "Fold", "Protocol", "Split", "corpora", "find_corpus", "register"]


def __getattr__(name: str) -> type[AffectDataset]:
    for cls in corpora().values() if name[:1].isupper() else ():
        if cls.__name__ == name:
            return cls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(cls.__name__ for cls in corpora().values())})
