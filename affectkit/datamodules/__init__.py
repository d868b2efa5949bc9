"""Lightning datamodules: one corpus, or a mixture of several."""

from __future__ import annotations

from affectkit.datamodules.catalog import CorpusDataModule, RenderedDataModule, TableDataModule
from affectkit.datamodules.corpora import (
    BP4DDataModule,
    CASME2DataModule,
    DISFADataModule,
    FoldDataModule,
    MEGC2019DataModule,
    RAFDBDataModule,
    SAMMDataModule,
    SMICDataModule,
)
from affectkit.datamodules.expressions import DFEWDataModule, FERV39kDataModule, MAFWDataModule
from affectkit.datamodules.mixture import MixtureDataModule
from affectkit.datamodules.single import SingleDataModule

__all__ = [
    "BP4DDataModule",
    "CASME2DataModule",
    "CorpusDataModule",
    "DFEWDataModule",
    "DISFADataModule",
    "FERV39kDataModule",
    "FoldDataModule",
    "MAFWDataModule",
    "MEGC2019DataModule",
    "MixtureDataModule",
    "RAFDBDataModule",
    "RenderedDataModule",
    "SAMMDataModule",
    "SMICDataModule",
    "SingleDataModule",
    "TableDataModule",
]
