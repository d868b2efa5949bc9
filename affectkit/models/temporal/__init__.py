"""Temporal modules: from frame vectors to frame vectors in context and a clip vector."""

from __future__ import annotations

from affectkit.models.temporal.base import MeanPool, Temporal
from affectkit.models.temporal.led import LEDFilter
from affectkit.models.temporal.local import LocalTemporalAttention
from affectkit.models.temporal.motion import MotionPool, MotionTokens
from affectkit.models.temporal.transformer import (
    ClipTokenTransformer,
    FramewiseTransformer,
    TemporalTransformer,
)

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
