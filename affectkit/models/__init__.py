"""Models in plain PyTorch: backbones, temporal modules, heads, and the model that joins them.

Importing this package loads neither Lightning nor timm.
"""

from __future__ import annotations

from affectkit.models.backbones import Backbone, TimmBackbone
from affectkit.models.features import Features, InputSpec, Normalize, masked_mean
from affectkit.models.heads import AUHead, AUIntensityHead, ExpressionHead, Head
from affectkit.models.model import AffectModel
from affectkit.models.registry import build, list_models, register
from affectkit.models.temporal import MeanPool, Temporal, TemporalTransformer

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "AffectModel",
    "Backbone",
    "ExpressionHead",
    "Features",
    "Head",
    "InputSpec",
    "MeanPool",
    "Normalize",
    "Temporal",
    "TemporalTransformer",
    "TimmBackbone",
    "build",
    "list_models",
    "masked_mean",
    "register",
]
