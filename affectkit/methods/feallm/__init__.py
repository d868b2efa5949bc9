"""FEALLM: action units and expressions of a face, answered by a language model (arXiv 2505.13419)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from affectkit.methods.feallm.answers import (
    INSTRUCTION,
    Answer,
    answer_from_labels,
    likeliest_expression,
    parse_answer,
)
from affectkit.methods.feallm.backbone import FEALLMBackbone
from affectkit.methods.feallm.clues import PLACES, ClueAggregator, LocalCrops, PerspectiveProjector
from affectkit.methods.feallm.head import FEALLMHead
from affectkit.methods.feallm.instructions import read_instructions, write_instructions
from affectkit.methods.feallm.reader import AnswerReader

if TYPE_CHECKING:
    from affectkit.methods.feallm.sentences import SentenceMetrics
    from affectkit.methods.feallm.task import FEALLM

__all__ = [
    "FEALLM",
    "INSTRUCTION",
    "PLACES",
    "Answer",
    "AnswerReader",
    "ClueAggregator",
    "FEALLMBackbone",
    "FEALLMHead",
    "LocalCrops",
    "PerspectiveProjector",
    "SentenceMetrics",
    "answer_from_labels",
    "likeliest_expression",
    "parse_answer",
    "read_instructions",
    "write_instructions",
]

_LATER = {"SentenceMetrics": "sentences", "FEALLM": "task"}  # need torchmetrics and Lightning


def __getattr__(name: str) -> Any:
    """Import training and evaluation on first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
