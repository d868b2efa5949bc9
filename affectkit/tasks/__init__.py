"""LightningModules that train and evaluate models, and their callbacks."""

from __future__ import annotations

from affectkit.tasks.callbacks import EMA, NewestCheckpoint, PredictionsWriter, ResultsWriter
from affectkit.tasks.multitask import MultiTask
from affectkit.tasks.saved import SavedModel

__all__ = ["EMA", "MultiTask", "NewestCheckpoint", "PredictionsWriter", "ResultsWriter", "SavedModel"]
