"""Using a trained model: predictions for photos and videos, and reports of runs. No Lightning."""

from __future__ import annotations

from affectkit.inference.crop import Crop
from affectkit.inference.maps import Associations, associations, write_associations
from affectkit.inference.predictor import NO_FACE_DETECTION, RENDERED_WARNING, Predictor, Row
from affectkit.inference.report import Strip, write_report
from affectkit.inference.writers import CsvWriter, write_predictions

__all__ = [
    "NO_FACE_DETECTION",
    "RENDERED_WARNING",
    "Associations",
    "Crop",
    "CsvWriter",
    "Predictor",
    "Row",
    "Strip",
    "associations",
    "write_associations",
    "write_predictions",
    "write_report",
]
