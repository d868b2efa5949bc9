"""Parts of models of micro-expressions."""

from __future__ import annotations

from affectkit.models.micro.gda import GlobalDependencyAttention
from affectkit.models.micro.led import LEDFilter
from affectkit.models.micro.motion import MotionTokens
from affectkit.models.micro.pta import PatchTokenAttention
from affectkit.models.micro.regions import PatchRegions

__all__ = ["GlobalDependencyAttention", "LEDFilter", "MotionTokens", "PatchRegions", "PatchTokenAttention"]
