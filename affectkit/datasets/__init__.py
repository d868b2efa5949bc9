"""Corpora: one file each; every one is an `AffectDataset`."""

from __future__ import annotations

from affectkit.datasets.base import AffectDataset, Split
from affectkit.datasets.bp4d import BP4D
from affectkit.datasets.casme2 import CASME2
from affectkit.datasets.corpus import Corpus
from affectkit.datasets.dfew import DFEW
from affectkit.datasets.disfa import DISFA
from affectkit.datasets.ferv39k import FERV39k
from affectkit.datasets.frame_table import FrameTable
from affectkit.datasets.mafw import MAFW
from affectkit.datasets.megc2019 import MEGC2019
from affectkit.datasets.protocols import PROTOCOLS, Fold, Protocol
from affectkit.datasets.rafdb import RAFDB
from affectkit.datasets.rendered import RenderedDataset
from affectkit.datasets.samm import SAMM
from affectkit.datasets.smic import SMIC
from affectkit.datasets.table import TableDataset
from affectkit.datasets.unit_columns import unit_labels

__all__ = [
    "BP4D",
    "CASME2",
    "DFEW",
    "DISFA",
    "MAFW",
    "MEGC2019",
    "PROTOCOLS",
    "RAFDB",
    "SAMM",
    "SMIC",
    "AffectDataset",
    "Corpus",
    "FERV39k",
    "Fold",
    "FrameTable",
    "Protocol",
    "RenderedDataset",
    "Split",
    "TableDataset",
    "unit_labels",
]
