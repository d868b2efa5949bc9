"""Micro-AU CLIP: action units of micro-expressions from patches and dependencies between units (arXiv 2603.16302)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.micro_au_clip.dependency_figure import Dependencies, dependencies, write_dependencies
from affectkit.methods.micro_au_clip.gda import GlobalDependencyAttention
from affectkit.methods.micro_au_clip.head import MicroAUHead, MicroAUOutputs
from affectkit.methods.micro_au_clip.losses import CrossSampleContrast, GlobalDependencyLoss
from affectkit.methods.micro_au_clip.pta import PatchTokenAttention
from affectkit.methods.micro_au_clip.region_figure import (
    RegionAttention,
    micro_head,
    region_attention,
    write_regions,
)

if TYPE_CHECKING:
    from affectkit.methods.micro_au_clip.task import MicroAU

__all__ = [
    "CrossSampleContrast",
    "Dependencies",
    "GlobalDependencyAttention",
    "GlobalDependencyLoss",
    "MicroAU",
    "MicroAUHead",
    "MicroAUOutputs",
    "PatchTokenAttention",
    "RegionAttention",
    "dependencies",
    "micro_head",
    "region_attention",
    "write_dependencies",
    "write_regions",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "MicroAU":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.micro_au_clip.task import MicroAU

    return MicroAU
