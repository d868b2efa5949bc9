"""Backbones: from the frames of a clip to features."""

from __future__ import annotations

from affectkit.models.backbones.base import Backbone
from affectkit.models.backbones.timm import TimmBackbone

__all__ = ["Backbone", "TimmBackbone"]
