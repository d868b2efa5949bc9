"""Prediction tables: tidy (CSV, Parquet, JSON Lines) and in OpenFace's columns, with metadata."""

from __future__ import annotations

from affectkit.inference.formats.files import SUFFIXES, read_table, table_progress
from affectkit.inference.formats.openface import read_openface
from affectkit.inference.formats.pandas import to_frame, to_pyfeat
from affectkit.inference.formats.table import LEADING, Progress, partial_of
from affectkit.inference.formats.writer import TableWriter

__all__ = [
    "LEADING",
    "SUFFIXES",
    "Progress",
    "TableWriter",
    "partial_of",
    "read_openface",
    "read_table",
    "table_progress",
    "to_frame",
    "to_pyfeat",
]
