"""Face crops and signals of a corpus, made once and read by every recipe."""

from __future__ import annotations

from affectkit.datasets.preparing.run import Prepared, prepare
from affectkit.datasets.preparing.signals import measure, report_faces

__all__ = ["Prepared", "measure", "prepare", "report_faces"]
