"""LightningModules: what is learned, from which labels, and how it is evaluated."""

from __future__ import annotations

from affectkit.tasks.callbacks import EMA, NewestCheckpoint, PredictionsWriter, ResultsWriter
from affectkit.tasks.micro_au import MicroAU
from affectkit.tasks.multitask import MultiTask
from affectkit.tasks.ssm import SSM

__all__ = ["EMA", "SSM", "MicroAU", "MultiTask", "NewestCheckpoint", "PredictionsWriter", "ResultsWriter"]
