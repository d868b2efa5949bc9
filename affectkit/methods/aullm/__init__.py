"""AULLM++ and AU-LLM: action units of micro-expressions read by a language model (arXiv 2603.08387, 2507.21778)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.aullm.counterfactual import CounterfactualLoss, UnitPrototypes
from affectkit.methods.aullm.evidence import ChannelAttention, FlatProjector, GranularProjector
from affectkit.methods.aullm.graph import NodePool, UnitGraph, UnitNodes
from affectkit.methods.aullm.head import AULLMHead
from affectkit.methods.aullm.reader import EncoderReader, LanguageReader

if TYPE_CHECKING:
    from affectkit.methods.aullm.task import AULLM

__all__ = [
    "AULLM",
    "AULLMHead",
    "ChannelAttention",
    "CounterfactualLoss",
    "EncoderReader",
    "FlatProjector",
    "GranularProjector",
    "LanguageReader",
    "NodePool",
    "UnitGraph",
    "UnitNodes",
    "UnitPrototypes",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "AULLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.aullm.task import AULLM

    return AULLM
