"""Checkpoints, our own and those of other programs, read safely and turned into models."""

from __future__ import annotations

from affectkit.models.convert.conversion import Conversion, Converter
from affectkit.models.convert.reading import load_safely, read_checkpoint
from affectkit.models.convert.training import model_of_checkpoint

__all__ = ["Conversion", "Converter", "load_safely", "model_of_checkpoint", "read_checkpoint"]
