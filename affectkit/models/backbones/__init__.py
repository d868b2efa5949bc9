"""Backbones: from the frames of a clip to features."""

from __future__ import annotations

from affectkit.models.backbones.base import Backbone
from affectkit.models.backbones.clip import ClipBackbone
from affectkit.models.backbones.flow import FlowBackbone
from affectkit.models.backbones.mobilefacenet import MobileFaceNet
from affectkit.models.backbones.segments import SegmentBackbone
from affectkit.models.backbones.signals import FusedBackbone, SignalBackbone
from affectkit.models.backbones.small import LEDBackbone, LEDMaps, OffApexNet, STSTNet
from affectkit.models.backbones.timm import TimmBackbone

__all__ = [
    "Backbone",
    "ClipBackbone",
    "FlowBackbone",
    "FusedBackbone",
    "LEDBackbone",
    "LEDMaps",
    "MobileFaceNet",
    "OffApexNet",
    "STSTNet",
    "SegmentBackbone",
    "SignalBackbone",
    "TimmBackbone",
]
