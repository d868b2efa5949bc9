"""Temporal modules: from frame vectors to frame vectors in context and a clip vector."""

from __future__ import annotations

from affectkit.models.temporal.attention import (
    ClipTokenTransformer,
    FramewiseTransformer,
    LocalTemporalAttention,
    TemporalTransformer,
)
from affectkit.models.temporal.base import MeanPool, Temporal
from affectkit.models.temporal.motion import LEDFilter, MotionPool, MotionTokens

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
