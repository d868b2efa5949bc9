"""EmoCapCLIP: pictures and captions of faces in one space, from contrast with mined positives (arXiv 2507.21015)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from affectkit.methods.emocapclip.bridge import CaptionBridge
from affectkit.methods.emocapclip.convert import convert_clip
from affectkit.methods.emocapclip.head import ZeroShotHead
from affectkit.methods.emocapclip.local import FacePatches, clip_vectors

if TYPE_CHECKING:
    from affectkit.methods.emocapclip.retrieval import CaptionRetrieval
    from affectkit.methods.emocapclip.task import EmoCapCLIP

__all__ = [
    "CaptionBridge",
    "CaptionRetrieval",
    "EmoCapCLIP",
    "FacePatches",
    "ZeroShotHead",
    "clip_vectors",
    "convert_clip",
]


_LATER = {"CaptionRetrieval": "retrieval", "EmoCapCLIP": "task"}  # need torchmetrics and Lightning


def __getattr__(name: str) -> Any:
    """Import training and evaluation on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
