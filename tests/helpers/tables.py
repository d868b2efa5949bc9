"""Rows of several faces, with all that can be missing, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affectkit.inference import Row, TableWriter, read_table, to_frame

COLUMNS = ("AU01", "AU12_i", "a wide, open smile")
AU = {"columns": ["AU01"], "values": "probability", "thresholds": {"AU01": 0.3}}
INTENSITY = {"columns": ["AU12_i"], "values": "intensity 0-5", "thresholds": {}}
METADATA = {
    "model": Path("runs/démo"),
    "licence": None,
    "heads": {"au": AU, "intensity": INTENSITY},
    "window": (0, 1),
    "fps": math.nan,
    "scores": np.array([0.5, 1.0]),
}
TIDY = ("csv", "parquet", "jsonl")
NAMES = {
    "csv": "t.csv",
    "parquet": "t.parquet",
    "jsonl": "t.jsonl",
    "openface": "o.csv",
    "openface-release": "r.csv",
}


def row(frame: int, face: int | None = 0, reason: str | None = None, base: float = 0.1) -> Row:
    values = dict.fromkeys(COLUMNS, math.nan)
    if reason is None:
        values = {"AU01": base, "AU12_i": 5 * base, "a wide, open smile": 1 / (frame + 3)}
    box = None if face is None else (frame - 0.5, 2.0, 40.25, 50.0)
    score = math.nan if face is None else 0.875
    return Row(frame, frame / 30, reason is None, values, reason, face, score, box)


ROWS = [
    row(0),
    row(0, 1, base=0.3),
    row(1, None, "No face was found."),
    row(2, 1, 'The "frame",\nis damaged.'),
    row(3, 0),
    row(3, 1, "It reaches out of the picture."),
    row(3, 4),
    row(4, None, "No face was found."),
]


def write(path: Path, rows: Sequence[Row], format: str | None = None, **options) -> Path:
    with TableWriter(path, COLUMNS, METADATA, format=format, **options) as writer:
        for one in rows:
            writer.write(one)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_rows(path: Path, rows: Sequence[Row], format: str) -> None:
    decimals = 6 if format == "csv" else 12
    pd.testing.assert_frame_equal(
        read_table(path), to_frame(rows), rtol=0, atol=0.51 * 10**-decimals, check_exact=False
    )
