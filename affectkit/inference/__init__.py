"""Inference with trained models: predictions for photos and videos, pictures and reports. No Lightning."""

from __future__ import annotations

from affectkit.inference.baseline import Baseline, RunningBaseline, subtract_baseline
from affectkit.inference.formats import (
    TableWriter,
    read_openface,
    read_table,
    table_progress,
    to_frame,
    to_pyfeat,
)
from affectkit.inference.pictures.clip_table import ClipTable
from affectkit.inference.pictures.overlay import Overlay, write_overlay
from affectkit.inference.pictures.timeline import write_timelines
from affectkit.inference.predictor import RENDERED_WARNING, Predictor, Row
from affectkit.inference.reports.clip_report import ClipReport, write_clip_report
from affectkit.inference.reports.report import Strip, write_report
from affectkit.inference.run import FileResult, predict_files, write_predictions
from affectkit.inference.smoothing import Smoothing
from affectkit.inference.sources import Media, Other, Sources, find_media
from affectkit.inference.spotting.movements import Movement, MovementFinder, write_movements
from affectkit.inference.spotting.spotter import Interval, Spotter
from affectkit.inference.table_names import plan_tables
from affectkit.inference.table_store import TableStore
from affectkit.inference.webcam import Webcam

__all__ = [
    "RENDERED_WARNING",
    "Baseline",
    "ClipReport",
    "ClipTable",
    "FileResult",
    "Interval",
    "Media",
    "Movement",
    "MovementFinder",
    "Other",
    "Overlay",
    "Predictor",
    "Row",
    "RunningBaseline",
    "Smoothing",
    "Sources",
    "Spotter",
    "Strip",
    "TableStore",
    "TableWriter",
    "Webcam",
    "find_media",
    "plan_tables",
    "predict_files",
    "read_openface",
    "read_table",
    "subtract_baseline",
    "table_progress",
    "to_frame",
    "to_pyfeat",
    "write_clip_report",
    "write_movements",
    "write_overlay",
    "write_predictions",
    "write_report",
    "write_timelines",
]
