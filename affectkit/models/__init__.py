"""Models in plain PyTorch: backbones, temporal modules, heads, and the model that joins them.

Importing this package loads neither Lightning nor timm.
"""

from __future__ import annotations

from affectkit.models.backbones import (
    Backbone,
    ClipBackbone,
    FlowBackbone,
    FusedBackbone,
    LEDBackbone,
    LEDMaps,
    MobileFaceNet,
    OffApexNet,
    SegmentBackbone,
    SignalBackbone,
    STSTNet,
    TimmBackbone,
)
from affectkit.models.bridge import Bridge
from affectkit.models.explain import Explanation, explanations
from affectkit.models.features import Features, InputSpec, Normalize, masked_mean
from affectkit.models.heads import (
    AUHead,
    AUIntensityHead,
    DimensionsHead,
    ExpressionHead,
    GraphAUHead,
    Head,
    LevelsHead,
    LinearDimensionsHead,
    NominalLevelsHead,
    ScaledIntensityHead,
)
from affectkit.models.model import AffectModel, load
from affectkit.models.registry import build, list_models, register
from affectkit.models.released import (
    convert_emotiefflib,
    convert_libreface,
    convert_megraphau,
    convert_opengraphau,
)
from affectkit.models.temporal import (
    ClipTokenTransformer,
    FramewiseTransformer,
    LocalTemporalAttention,
    MeanPool,
    MotionPool,
    Temporal,
    TemporalTransformer,
)
from affectkit.models.zero_shot import prototype_only, use_classes

__all__ = [
    "AUHead",
    "AUIntensityHead",
    "AffectModel",
    "Backbone",
    "Bridge",
    "ClipBackbone",
    "ClipTokenTransformer",
    "DimensionsHead",
    "Explanation",
    "ExpressionHead",
    "Features",
    "FlowBackbone",
    "FramewiseTransformer",
    "FusedBackbone",
    "GraphAUHead",
    "Head",
    "InputSpec",
    "LEDBackbone",
    "LEDMaps",
    "LevelsHead",
    "LinearDimensionsHead",
    "LocalTemporalAttention",
    "MeanPool",
    "MobileFaceNet",
    "MotionPool",
    "NominalLevelsHead",
    "Normalize",
    "OffApexNet",
    "STSTNet",
    "ScaledIntensityHead",
    "SegmentBackbone",
    "SignalBackbone",
    "Temporal",
    "TemporalTransformer",
    "TimmBackbone",
    "build",
    "convert_emotiefflib",
    "convert_libreface",
    "convert_megraphau",
    "convert_opengraphau",
    "explanations",
    "list_models",
    "load",
    "masked_mean",
    "prototype_only",
    "register",
    "use_classes",
]
