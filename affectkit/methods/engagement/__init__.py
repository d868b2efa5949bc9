"""TCCT-Net for engagement (CVPR Workshops 2024), and training with doubtful labels (after arXiv 2511.14749)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affectkit.methods.engagement.questions import QUESTIONS, write_questions
from affectkit.methods.engagement.ratings import Ratings, read_labels, read_ratings
from affectkit.methods.engagement.recombine import recombine
from affectkit.methods.engagement.reliability import (
    Curriculum,
    Reliability,
    assess,
    cross_fit,
    keep_if_skilled,
)
from affectkit.methods.engagement.tcct import TCCTBackbone, TCCTHead
from affectkit.methods.engagement.wavelets import MorletMagnitude

if TYPE_CHECKING:
    from affectkit.methods.engagement.task import NoisyLabels

__all__ = [
    "QUESTIONS",
    "Curriculum",
    "MorletMagnitude",
    "NoisyLabels",
    "Ratings",
    "Reliability",
    "TCCTBackbone",
    "TCCTHead",
    "assess",
    "cross_fit",
    "keep_if_skilled",
    "read_labels",
    "read_ratings",
    "recombine",
    "write_questions",
]


def __getattr__(name: str) -> Any:
    """Import the task on first use: only it needs Lightning."""
    if name != "NoisyLabels":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from affectkit.methods.engagement.task import NoisyLabels

    return NoisyLabels
