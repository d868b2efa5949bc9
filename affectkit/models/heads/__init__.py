"""Heads: from features to logits over a label space."""

from __future__ import annotations

from affectkit.models.heads.au import AUHead
from affectkit.models.heads.base import Head
from affectkit.models.heads.expression import ExpressionHead
from affectkit.models.heads.intensity import AUIntensityHead

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "ExpressionHead",
    "Head",
]
