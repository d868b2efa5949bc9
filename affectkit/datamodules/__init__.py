"""Lightning datamodules: one corpus, or a mixture of several.

Every registered corpus has one, available here by name: `BP4DDataModule` for `affectkit.datasets.BP4D`.
"""

from __future__ import annotations

from affectkit.datamodules.corpus import CorpusDataModule, FoldDataModule, RenderedDataModule, datamodule_of
from affectkit.datamodules.mixture import MixtureDataModule
from affectkit.datamodules.single import SingleDataModule
from affectkit.datasets import corpora

__all__ = [
    "CorpusDataModule",
    "FoldDataModule",
    "MixtureDataModule",
    "RenderedDataModule",
    "SingleDataModule",
    "datamodule_of",
]


def __getattr__(name: str) -> type[CorpusDataModule]:
    for module in _named() if name.endswith("DataModule") else ():
        if module.__name__ == name:
            return module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(module.__name__ for module in _named())})


def _named() -> list[type[CorpusDataModule]]:
    return [datamodule_of(cls) for cls in corpora().values()]


_named()  # recipes name classes without their module, which must exist then
