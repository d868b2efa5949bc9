"""Bridges: prototypes of one head's labels from texts and from those of another."""

from __future__ import annotations

from affectkit.models.bridges.association import AssociationMap
from affectkit.models.bridges.base import Bridge
from affectkit.models.bridges.classes import NewClass, read_classes
from affectkit.models.bridges.semantic import SemanticBridge

__all__ = ["AssociationMap", "Bridge", "NewClass", "SemanticBridge", "read_classes"]
