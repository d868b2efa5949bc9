"""Corpora: one file each; every one is an `AffectDataset`."""

from __future__ import annotations

from affectkit.datasets.base import AffectDataset, Split
from affectkit.datasets.rendered import RenderedDataset
from affectkit.datasets.table import FrameTable, TableDataset, unit_labels

__all__ = ["AffectDataset", "FrameTable", "RenderedDataset", "Split", "TableDataset", "unit_labels"]
