"""Gaze, head pose and action units of each frame, from tables of OpenFace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from affectkit.data.tables import read_table
from affectkit.datasets.reading.frame_table import FrameTable
from affectkit.errors import AnnotationError

__all__ = ["OPENFACE_SIGNALS", "read_openface_signals"]

_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)

OPENFACE_SIGNALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "openface_gaze": (
            *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
            *(f"gaze_angle_{axis}" for axis in "xy"),
        ),
        "openface_pose": tuple(f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"),
        "openface_intensities": tuple(f"AU{unit:02d}_r" for unit in _UNITS),
        "openface_occurrences": tuple(f"AU{unit:02d}_c" for unit in sorted((*_UNITS, 28))),
    }
)
"""Columns of each signal: eyes (8), head in millimetres and radians (6), units from 0 to 5 (17) and 0 or 1 (18)."""


def read_openface_signals(path: Path) -> dict[str, Tensor]:
    r"""Read a table of OpenFace, one row per frame of one face.

    Args:
        path: The CSV file, of any version of OpenFace.

    Returns:
        float32 [T, ...] by name of `OPENFACE_SIGNALS`, of those with all columns in the table, from the first frame of
        the video to the last of the table. Frames without a row or where OpenFace failed are NaN.

    Raises:
        AnnotationError: The file is not a table of OpenFace, or damaged, or lists a frame twice.

    Example:
        >>> path = getfixture("tmp_path") / "face.csv"
        >>> text = "frame, confidence, success, pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz\n"
        >>> _ = path.write_text(text + "1, 0.9, 1, 2, 3, 400, 0.1, 0.2, 0.3\n3, 0.0, 0, 0, 0, 0, 0, 0, 0\n")
        >>> read_openface_signals(path)["openface_pose"][:, 3].tolist()
        [0.10000000149011612, nan, nan]
    """
    table = read_table(path).with_names(("frame", "face_id", "confidence", "success"))
    if not {"frame", "confidence", "success"} <= table.columns.keys():
        fault = "The table lacks the columns frame, confidence and success."
        raise AnnotationError(
            fault, path=path, line=1, remedy="Give a CSV file written by OpenFace for a video."
        )
    frames = FrameTable(table)
    status = torch.from_numpy(table.numbers(["success", "confidence"], flags=True))
    failed = ~(status[:, 0] > 0) | (status[:, 1] == 0)
    found = {}
    for name, columns in OPENFACE_SIGNALS.items():
        if table.columns.keys() >= set(columns):
            values = torch.from_numpy(table.numbers(columns)).masked_fill(failed[:, None], torch.nan)
            found[name] = frames.take(values, range(frames.frames[-1] + 1))
    return found
