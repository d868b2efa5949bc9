"""FG-SGL: brief movements by texts on their category and on their course (arXiv 2603.16269)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.fgsgl.attention import CategoryAttention, FineAttention
from affectkit.methods.fgsgl.bridge import ProcessBridge
from affectkit.methods.fgsgl.head import ProcessHead, ProcessOutputs
from affectkit.methods.fgsgl.losses import consistency, grouped_cross_entropy, stage_weights

if TYPE_CHECKING:
    from affectkit.methods.fgsgl.task import FGSGL

__all__ = [
    "FGSGL",
    "CategoryAttention",
    "FineAttention",
    "ProcessBridge",
    "ProcessHead",
    "ProcessOutputs",
    "consistency",
    "grouped_cross_entropy",
    "stage_weights",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "FGSGL":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.fgsgl.task import FGSGL

    return FGSGL
