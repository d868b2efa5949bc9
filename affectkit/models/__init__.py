"""Models in plain PyTorch: backbones, temporal modules, heads, and the model that joins them.

Importing this package loads neither Lightning nor timm.
"""

from __future__ import annotations

from affectkit.models.backbones import (
    Backbone,
    ClipBackbone,
    LEDBackbone,
    OffApexNet,
    STSTNet,
    TimmBackbone,
)
from affectkit.models.bridges import AssociationMap, Bridge, SemanticBridge
from affectkit.models.features import Features, InputSpec, Normalize, masked_mean
from affectkit.models.heads import (
    AUHead,
    AUIntensityHead,
    DimensionsHead,
    ExpressionHead,
    Head,
    LevelsHead,
    MicroAUHead,
    PrototypeAUHead,
    PrototypeExpressionHead,
    PrototypeHead,
)
from affectkit.models.loading import load
from affectkit.models.model import AffectModel
from affectkit.models.registry import build, list_models, register
from affectkit.models.temporal import (
    ClipTokenTransformer,
    FramewiseTransformer,
    LocalTemporalAttention,
    MeanPool,
    MotionPool,
    Temporal,
    TemporalTransformer,
)

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "AffectModel",
    "AssociationMap",
    "Backbone",
    "Bridge",
    "ClipBackbone",
    "ClipTokenTransformer",
    "DimensionsHead",
    "ExpressionHead",
    "Features",
    "FramewiseTransformer",
    "Head",
    "InputSpec",
    "LEDBackbone",
    "LevelsHead",
    "LocalTemporalAttention",
    "MeanPool",
    "MicroAUHead",
    "MotionPool",
    "Normalize",
    "OffApexNet",
    "PrototypeAUHead",
    "PrototypeExpressionHead",
    "PrototypeHead",
    "STSTNet",
    "SemanticBridge",
    "Temporal",
    "TemporalTransformer",
    "TimmBackbone",
    "build",
    "list_models",
    "load",
    "masked_mean",
    "register",
]
