"""Temporal modules: from the vectors of frames to those of frames in context and of the clip."""

from __future__ import annotations

from affectkit.models.temporal.base import Temporal
from affectkit.models.temporal.led import LEDFilter
from affectkit.models.temporal.local import LocalTemporalAttention
from affectkit.models.temporal.motion import MotionPool, MotionTokens
from affectkit.models.temporal.pooling import MeanPool
from affectkit.models.temporal.residual import ClipTokenTransformer, FramewiseTransformer
from affectkit.models.temporal.transformer import TemporalTransformer

__all__ = [
    "ClipTokenTransformer",
    "FramewiseTransformer",
    "LEDFilter",
    "LocalTemporalAttention",
    "MeanPool",
    "MotionPool",
    "MotionTokens",
    "Temporal",
    "TemporalTransformer",
]
