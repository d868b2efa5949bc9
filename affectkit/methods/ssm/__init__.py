"""SSM: action units and expressions with text prototypes that inform each other (arXiv 2604.10541)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.ssm.association import AssociationMap
from affectkit.methods.ssm.classes import NewClass, read_classes
from affectkit.methods.ssm.convert import convert_ssm
from affectkit.methods.ssm.heads import PrototypeAUHead, PrototypeExpressionHead, PrototypeHead
from affectkit.methods.ssm.maps import Associations, associations, write_associations
from affectkit.methods.ssm.semantic import SemanticBridge
from affectkit.methods.ssm.smoothing import SmoothLogits

if TYPE_CHECKING:
    from affectkit.methods.ssm.task import SSM

__all__ = [
    "SSM",
    "AssociationMap",
    "Associations",
    "NewClass",
    "PrototypeAUHead",
    "PrototypeExpressionHead",
    "PrototypeHead",
    "SemanticBridge",
    "SmoothLogits",
    "associations",
    "convert_ssm",
    "read_classes",
    "write_associations",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "SSM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.ssm.task import SSM

    return SSM
