"""Heads: from features to logits over a label space."""

from __future__ import annotations

from affectkit.models.heads.base import Head
from affectkit.models.heads.graph import GraphAUHead
from affectkit.models.heads.linear import AUHead, DimensionsHead, ExpressionHead
from affectkit.models.heads.nominal import NominalLevelsHead
from affectkit.models.heads.ordinal import AUIntensityHead, LevelsHead
from affectkit.models.heads.regression import LinearDimensionsHead, ScaledIntensityHead

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "DimensionsHead",
    "ExpressionHead",
    "GraphAUHead",
    "Head",
    "LevelsHead",
    "LinearDimensionsHead",
    "NominalLevelsHead",
    "ScaledIntensityHead",
]
