"""AU-TTT: action units by a vision transformer that learns from each picture at test time (arXiv 2503.23450)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.au_ttt.backbone import AUTTTBackbone, TTTBlock
from affectkit.methods.au_ttt.head import AUTTTHead, AUTTTOutputs
from affectkit.methods.au_ttt.kernel import InnerModel, ttt_linear
from affectkit.methods.au_ttt.losses import HeatMapLoss, MDWALoss, difficulty
from affectkit.methods.au_ttt.perception import MultiScalePerception
from affectkit.methods.au_ttt.regions import UnitMaps
from affectkit.methods.au_ttt.scans import AttentionScan, GlobalScan, RegionScan, RowScan, rank_patches

if TYPE_CHECKING:
    from affectkit.methods.au_ttt.task import AUTTT

__all__ = [
    "AUTTT",
    "AUTTTBackbone",
    "AUTTTHead",
    "AUTTTOutputs",
    "AttentionScan",
    "GlobalScan",
    "HeatMapLoss",
    "InnerModel",
    "MDWALoss",
    "MultiScalePerception",
    "RegionScan",
    "RowScan",
    "TTTBlock",
    "UnitMaps",
    "difficulty",
    "rank_patches",
    "ttt_linear",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "AUTTT":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.au_ttt.task import AUTTT

    return AUTTT
