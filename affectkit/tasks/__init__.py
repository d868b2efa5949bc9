"""LightningModules: what is learned, from which labels, and how it is evaluated."""

from __future__ import annotations

from affectkit.tasks.callbacks import EMA, NewestCheckpoint, PredictionsWriter, ResultsWriter
from affectkit.tasks.multitask import MultiTask

__all__ = ["EMA", "MultiTask", "NewestCheckpoint", "PredictionsWriter", "ResultsWriter"]
