"""Smoothing of rows over a window around each frame, for each face by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import isfinite, isnan, nan, pi
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import ConfigError
from affectkit.inference.predictor import Row

__all__ = ["Smoothing"]

Unit = Literal["seconds", "frames"]
Kind = Literal["hann", "median"]
_EXACT = 1e-6  # seconds or frames: below the resolution of containers, above that of floats


@dataclass(frozen=True, slots=True)
class Smoothing:
    r"""Smooth rows over a centred window.

    The window of width w around time t holds the rows of the same face with :math:`|t_j - t| < w / 2` (for the median
    :math:`\le`). "hann" weights them by :math:`\cos^2(\pi (t_j - t) / w)`, normalised; expressions still add up to 1.
    "median" keeps steps and drops outliers; for an even count it is the mean of the two middle values. Distances are
    those of the timestamps, so neither cutting the video nor a variable frame rate changes anything farther away than
    w / 2.

    Missing values stay missing: frames without a face and NaN are unchanged and ignored in other windows. Only the rows
    of one window are in memory, so a live picture lags by half a window.

    Args:
        width: Width in `unit`; 0 changes nothing.
        unit: "seconds", or "frames" for folders of frames, which have no times: 2n + 1 frames are n on each side.
        kind: "hann" or "median".

    Raises:
        ConfigError: The width is negative, not finite, or an even number of frames, or `unit` or `kind` is unknown.

    Example:
        >>> rows = [
        ...     Row(frame=i, timestamp=i / 25, face=0, success=True, values={"AU12": float(i == 2)}) for i in range(5)
        ... ]
        >>> smooth = Smoothing(3, unit="frames")
        >>> [round(row.values["AU12"], 3) for row in smooth(rows)]
        [0.0, 0.25, 0.5, 0.25, 0.0]
    """

    width: float
    unit: Unit = "seconds"
    kind: Kind = "hann"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit) or self.kind not in get_args(Kind):
            raise ConfigError(
                f"Unknown smoothing: kind {self.kind!r}, unit {self.unit!r}.",
                remedy=f"Use a kind of {get_args(Kind)} and a unit of {get_args(Unit)}.",
            )
        if not (isfinite(self.width) and self.width >= 0):
            raise ConfigError(f"Invalid window: {self.width} {self.unit}.", remedy="Give 0 or more.")
        if self.unit == "frames" and self.width % 2 != 1 and self.width != 0:
            raise ConfigError(
                f"A window of {self.width:g} frames has no middle.", remedy="Give an odd number."
            )

    @classmethod
    def parse(cls, text: str, kind: Kind = "hann") -> Smoothing:
        """Parse "0.4" (seconds) or "9f" (frames); raises ConfigError for anything else.

        Example:
            >>> Smoothing.parse("9f")
            Smoothing(width=9.0, unit='frames', kind='hann')
        """
        frames = text.endswith("f")
        try:
            width = float(text[:-1] if frames else text)
        except ValueError:
            raise ConfigError(
                f"Invalid smoothing {text!r}.", remedy="Give seconds (0.4) or frames (9f)."
            ) from None
        return cls(width, "frames" if frames else "seconds", kind)

    @property
    def reach(self) -> float:
        """Half of the window, in `unit`."""
        return max(0.0, (self.width - 1) / 2 if self.unit == "frames" else self.width / 2)

    def first_needed(self, frame: int, timestamps: NDArray[np.float64]) -> int:
        """The first frame in the window of a frame; `timestamps` are those of all frames, float64 [frames]."""
        if frame == 0:  # also for a camera, whose times are unknown
            return 0
        if self.unit == "frames" or self.width == 0 or not isfinite(timestamps[frame]):
            return max(0, frame - int(self.reach))
        return int(np.searchsorted(timestamps, timestamps[frame] - self.reach - _EXACT))

    def metadata(self) -> dict[str, Any]:
        """Plain metadata."""
        return {
            "kind": self.kind,
            f"window_{self.unit}": self.width,
            "depends_on": f"rows of the same face up to {self.reach:g} {self.unit} before and after the frame",
        }

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Smooth rows as they come, in the order of their frames.

        Raises:
            ConfigError: The window is in seconds, and a frame after the first has no timestamp.
        """
        if self.width == 0:
            yield from rows
            return
        window = _Window(self)
        for row in rows:
            window.add(row)
            yield from window.take()
        yield from window.take(everything=True)


class _Window:
    """The rows that wait, and earlier ones in their windows."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.smoothing = smoothing
        self.waiting: deque[tuple[float, Row]] = deque()
        self.faces: dict[int | None, deque[tuple[float, NDArray[np.float64]]]] = {}
        self.now = 0.0

    def add(self, row: Row) -> None:
        if self.smoothing.unit == "frames":
            self.now = float(row.frame)
        elif isfinite(row.timestamp):
            self.now = row.timestamp
        elif row.success and row.frame > 0:
            raise ConfigError(
                f"The frames have no times, so a window of {self.smoothing.width:g} seconds is not defined.",
                remedy="Give the window in frames, such as 9f.",
            )
        self.waiting.append((self.now, row))
        if row.success:
            values = np.array(list(row.values.values()), dtype=np.float64)
            self.faces.setdefault(row.face, deque()).append((self.now, values))

    def take(self, *, everything: bool = False) -> Iterator[Row]:
        """Remove and smooth the rows whose windows are complete."""
        reach = self.smoothing.reach + _EXACT
        while self.waiting and (everything or self.waiting[0][0] + reach < self.now):
            time, row = self.waiting.popleft()
            if row.success:
                numbers = self._smooth(self.faces[row.face], time, list(row.values.values()))
                row = replace(row, values=dict(zip(row.values, numbers, strict=True)))
            yield row
        oldest = (self.waiting[0][0] if self.waiting else self.now) - reach
        for face in list(self.faces):
            seen = self.faces[face]
            while seen and seen[0][0] < oldest:
                seen.popleft()
            if not seen:
                del self.faces[face]

    def _smooth(
        self, seen: deque[tuple[float, NDArray[np.float64]]], time: float, own: list[float]
    ) -> list[float]:
        reach = self.smoothing.reach
        near = [(at - time, values) for at, values in seen if abs(at - time) <= reach + _EXACT]
        table = np.stack([values for _, values in near])
        if self.smoothing.kind == "median":
            known = [column[~np.isnan(column)] for column in table.T]
            smooth = [float(np.median(column)) if len(column) else nan for column in known]
        else:
            width = self.smoothing.width + (1 if self.smoothing.unit == "frames" else 0)
            distance = np.array([d for d, _ in near])
            weight = np.where(np.isnan(table), 0.0, np.cos(pi * distance / width)[:, None] ** 2)
            with np.errstate(invalid="ignore"):  # a column without values
                smooth = ((weight * np.nan_to_num(table)).sum(axis=0) / weight.sum(axis=0)).tolist()
        return [value if isnan(value) else new for value, new in zip(own, smooth, strict=True)]
