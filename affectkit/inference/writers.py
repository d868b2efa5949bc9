"""Predictions as files: a CSV table and, beside it, a JSON file that says what the numbers are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from affectkit.data.video import Backend, open_video
from affectkit.errors import ConfigError
from affectkit.inference.predictor import Predictor, Row

__all__ = ["CsvWriter", "write_predictions"]


class CsvWriter:
    """Writes rows as they come, and on leaving a JSON file of the same name with the metadata.

    The header is `frame,timestamp,success` and the column names. Frames count from 0, timestamps are seconds,
    `success` is 1 or 0, what is missing reads `nan`. Every row is flushed, so that the file is valid wherever
    the work is interrupted; the JSON file then has `"complete": false`. It also lists the frames that failed,
    with reasons.

    Args:
        path: The CSV file; its folder is made if absent.
        columns: Names of the values, in order.
        metadata: Plain values for the JSON file.

    Raises:
        ConfigError: The name ends in .json, which belongs to the other file.

    Example:
        >>> table = getfixture("tmp_path") / "out.csv"
        >>> with CsvWriter(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}))
        >>> print(table.read_text(), end="")
        frame,timestamp,success,AU12
        0,0.000000,1,0.250000
    """

    def __init__(self, path: str | Path, columns: Sequence[str], metadata: Mapping[str, Any]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() == ".json":
            raise ConfigError(
                f"{self.path.name!r} cannot name a CSV table.", remedy="Use a name that ends in .csv."
            )
        self.columns = tuple(columns)
        self.metadata = dict(metadata)
        self.frames = 0
        self.failed = 0
        self._failures: list[dict[str, Any]] = []

    @property
    def sidecar(self) -> Path:
        """The JSON file."""
        return self.path.with_suffix(".json")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(["frame", "timestamp", "success", *self.columns])
        return self

    def write(self, row: Row) -> None:
        """Append a row."""
        values = [f"{row.values[column]:.6f}" for column in self.columns]
        self._csv.writerow([row.frame, f"{row.timestamp:.6f}", int(row.success), *values])
        self._file.flush()
        self.frames += 1
        if not row.success:
            self.failed += 1
            last = self._failures[-1] if self._failures else None
            if last and last["last"] == row.frame - 1 and last["reason"] == row.reason:
                last["last"] = row.frame
            else:
                self._failures.append({"first": row.frame, "last": row.frame, "reason": row.reason})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        summary = {
            **self.metadata,
            "columns": ["frame", "timestamp", "success", *self.columns],
            "frames": self.frames,
            "failed_frames": self.failed,
            "failures": self._failures,
            "complete": kind is None,
        }
        self.sidecar.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_predictions(
    predictor: Predictor,
    source: str | Path,
    path: str | Path,
    *,
    backend: Backend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> CsvWriter:
    """Predict one photo, video or folder of frames into a CSV file and its JSON file.

    Args:
        predictor: The model.
        source: The media.
        path: The CSV file.
        backend: Reader of video files.
        progress: Called with the number of rows written and the number expected, after each row.

    Returns:
        The closed writer, which knows how many `frames` there were and how many `failed`.

    Raises:
        VideoError: Nothing at all can be read; no file is written then.
        ConfigError: The crop reaches beyond the frame, or the output's name.
    """
    with open_video(source, backend) as video:
        before, after = predictor.window(video.fps)
        metadata = {
            **predictor.metadata(),
            "source": str(source),
            "fps": None if isnan(video.fps) else video.fps,
            "window_frames": {"before": before, "after": after},
        }
        with CsvWriter(path, predictor.columns, metadata) as writer:
            for row in predictor.predict_video(video):
                writer.write(row)
                if progress is not None:
                    progress(writer.frames, video.num_frames)
    return writer
