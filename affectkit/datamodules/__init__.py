"""Lightning datamodules: one corpus, or a mixture of several."""

from __future__ import annotations

from affectkit.datamodules.catalog import RenderedDataModule, TableDataModule
from affectkit.datamodules.mixture import MixtureDataModule
from affectkit.datamodules.single import SingleDataModule

__all__ = ["MixtureDataModule", "RenderedDataModule", "SingleDataModule", "TableDataModule"]
