"""A table of predictions as pictures need it: what each column means, and the values of each identity over time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs import ActionUnit
from affectkit.inference.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame

    from affectkit.data.video import VideoReader

__all__ = ["ASSUMED_FPS", "ClipTable", "Reading", "Signal", "Stretches"]

ASSUMED_FPS = 25.0
"""Frames a second of a folder of pictures, which does not say."""

_UNIT = re.compile(r"(?:(?P<head>.+)\.)?(?P<unit>AU\d\d[LR]?)(?P<intensity>_i)?")
_OPENFACE = re.compile(r"(?P<unit>AU\d\d[LR]?)_(?P<what>[prc])")
_NEEDED = ("frame", "timestamp", "success")
_BOX = ("x", "y", "w", "h")

Kind = Literal["unit", "intensity", "expression"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A column of values.

    Args:
        column: Its name in the table.
        kind: "unit" is a probability of its own, "intensity" a degree from 0 to 5, "expression" one of several
            probabilities that add up to 1.
        name: What a picture calls it: `AU12`, `happiness`.
        meaning: What the unit is, such as "lip corner puller"; empty for an expression.
        head: The part of the model that gave it.
        threshold: Of a unit, the probability from which it counts as there.
    """

    column: str
    kind: Kind
    name: str
    meaning: str = ""
    head: str = ""
    threshold: float | None = None

    @property
    def top(self) -> float:
        """The largest value there can be."""
        return 5.0 if self.kind == "intensity" else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the table says of one face in one frame.

    Args:
        face: The identity.
        values: float32 [number of signals].
        box: Left, top, width and height in pixels of the media, float64 [4]; NaN where unknown.
    """

    face: int
    values: NDArray[np.float32]
    box: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """The course of one identity, thinned for drawing: M stretches of frames that follow each other.

    Args:
        frames: How many frames a stretch has; the last one may be shorter.
        edges: float64 [M + 1], seconds at which stretches begin, and the end of the last.
        low: float32 [M, number of signals], the lowest value in each; NaN where no frame has any.
        high: float32 [M, number of signals], the highest.
        lacking: bool [M], whether any frame of it has no values.
    """

    frames: int
    edges: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    lacking: NDArray[np.bool_]

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """From when to when, in seconds, stretches lack values."""
        steps = np.flatnonzero(np.diff(np.concatenate([[False], self.lacking, [False]]).astype(np.int8)))
        return [(float(self.edges[a]), float(self.edges[b])) for a, b in steps.reshape(-1, 2)]


class ClipTable:
    """A table of predictions for one photo, video or folder of frames.

    What the columns mean is read from the table's metadata; without them, columns named like action units
    (`AU12`, `AU12_i`) are taken as such, with a threshold of 0.5, so that OpenFace's own tables can be shown, too.
    Rows of one identity make one sequence on the axis of all frames of the table; where an identity has no row, or
    its row failed, values are NaN.

    Args:
        table: What `affectkit.inference.formats.read_table` or `read_openface` returns, or a file they read.

    Attributes:
        metadata: Of the table; empty where there are none.
        signals: Units, then intensities, then expressions, as the table orders them.
        frames: int64 [N], frame numbers, ascending.
        times: float64 [N], seconds; where the media does not say, as of `ASSUMED_FPS` frames a second.
        timed: Whether the media says.
        faces: Identities that have a row, ascending.
        reasons: By position on the axis, why a frame has no face with values.

    Raises:
        AnnotationError: The table has no rows, or lacks a column; or the file cannot be read.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"frame": [0, 1], "timestamp": [0.0, 0.04], "success": [True, False],
        ...                       "AU12": [0.75, float("nan")]})
        >>> clip = ClipTable(table)
        >>> clip.signals[0].meaning, clip.faces, clip.values(0).tolist()
        ('lip corner puller', (0,), [[0.75], [nan]])
    """

    def __init__(self, table: DataFrame | str | Path) -> None:
        import pandas as pd

        self.path = None if isinstance(table, pd.DataFrame) else Path(table)
        data = _tidy(table if isinstance(table, pd.DataFrame) else _read(Path(table)))
        missing = [name for name in _NEEDED if name not in data]
        if missing or not len(data):
            fault = f"The table has no column {missing[0]!r}." if missing else "The table has no rows."
            remedy = "Give a table that `affectkit predict` has written."
            raise AnnotationError(fault, path=self.path, remedy=remedy)
        self.metadata: Mapping[str, Any] = dict(data.attrs.get("affectkit") or {})
        self.signals = _signals(list(data.columns), self.metadata)
        number = data["frame"].to_numpy(np.int64)
        self.frames, first = np.unique(number, return_index=True)
        self._place = np.searchsorted(self.frames, number)
        times = pd.to_numeric(data["timestamp"]).to_numpy(np.float64)[first]
        self.timed = bool(np.isfinite(times).all())
        self.times: NDArray[np.float64] = times if self.timed else self.frames / ASSUMED_FPS
        self._success = data["success"].astype(bool).to_numpy()
        faces = data["face"] if "face" in data else pd.Series(np.nan, index=data.index)
        # A row of values without an identity is that of the only face that a fixed crop shows.
        identity = faces.to_numpy(np.float64, na_value=np.nan, copy=True)
        identity[np.isnan(identity) & self._success] = 0
        self._face = np.where(np.isnan(identity), -1, identity).astype(np.int64)
        self.faces: tuple[int, ...] = tuple(np.unique(self._face[self._face >= 0]).tolist())
        columns = [signal.column for signal in self.signals]
        self._values = data[columns].to_numpy(np.float32, copy=True)
        self._values[~self._success] = np.nan
        boxed = all(name in data for name in _BOX)
        self._boxes = data[list(_BOX)].to_numpy(np.float64) if boxed else np.full((len(data), 4), np.nan)
        self.reasons = self._why(data["reason"].tolist() if "reason" in data else [None] * len(data))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def warning(self) -> str | None:
        """What a reader must know about the model."""
        warning = self.metadata.get("warning")
        return None if warning is None else str(warning)

    @property
    def source(self) -> str | None:
        """The media, as the table names it."""
        source = self.metadata.get("source")
        return None if source is None else str(source)

    @property
    def name(self) -> str:
        """What a picture calls the clip: its media, else the table; empty for a data frame without media."""
        return Path(self.source or self.path or "").name

    def kind(self, kind: Kind) -> tuple[Signal, ...]:
        """The signals of one kind."""
        return tuple(signal for signal in self.signals if signal.kind == kind)

    def values(self, face: int) -> NDArray[np.float32]:
        """The values of one identity, float32 [N, number of signals]; NaN where there are none."""
        rows = self._face == face
        result = np.full((len(self), len(self.signals)), np.nan, dtype=np.float32)
        result[self._place[rows]] = self._values[rows]
        return result

    def boxes(self, face: int) -> NDArray[np.float64]:
        """Left, top, width and height of one identity in pixels, float64 [N, 4]; NaN where there is none."""
        rows = (self._face == face) & self._success
        result = np.full((len(self), 4), np.nan)
        result[self._place[rows]] = self._boxes[rows]
        return result

    def present(self, face: int) -> NDArray[np.bool_]:
        """Where one identity has values, bool [N]."""
        result = np.zeros(len(self), dtype=bool)
        result[self._place[(self._face == face) & self._success]] = True
        return result

    def stretches(self, face: int, most: int) -> Stretches:
        """The course of one identity in at most `most` stretches; a stretch keeps its extremes, so no peak is lost."""
        values = self.values(face)
        size = -(-len(self) // most)
        starts = np.arange(0, len(self), size)
        empty = np.isnan(values)
        return Stretches(
            frames=size,
            edges=np.append(self.times[starts], self.end),
            low=_known(np.minimum.reduceat(np.where(empty, np.inf, values), starts)),
            high=_known(np.maximum.reduceat(np.where(empty, -np.inf, values), starts)),
            lacking=np.logical_or.reduceat(~self.present(face), starts),
        )

    @property
    def interval(self) -> float:
        """Seconds from one frame to the next, the median."""
        return float(np.median(np.diff(self.times))) if len(self) > 1 else 1 / ASSUMED_FPS

    @property
    def end(self) -> float:
        """Seconds at which the last frame ends."""
        return float(self.times[-1]) + self.interval

    @cached_property
    def concurrent(self) -> int:
        """The largest number of faces in one frame."""
        return int(np.bincount(self._place, self._success, len(self)).max())

    def by_frame(self) -> Iterator[tuple[int, list[Reading], str | None]]:
        """Each frame of the table with its faces by identity, and why it has none."""
        order = np.lexsort((self._face, self._place))
        ends = np.searchsorted(self._place[order], np.arange(len(self) + 1))
        for place, number in enumerate(self.frames.tolist()):
            rows = [k for k in order[ends[place] : ends[place + 1]].tolist() if self._success[k]]
            found = [Reading(int(self._face[k]), self._values[k], self._boxes[k]) for k in rows]
            yield number, found, self.reasons.get(place)

    def check_video(self, video: VideoReader) -> None:
        """Whether the table can be of a video.

        Raises:
            ConfigError: It has frames that the video lacks, or at other times.
        """
        known = self.frames < video.num_frames
        fault = None
        if not known.all():
            length = counted(video.num_frames, "frame")
            fault = f"the table goes to frame {self.frames[-1]}, and the video has {length}"
        elif self.timed and np.isfinite(video.timestamps).all():
            late = np.abs(self.times - video.timestamps[self.frames])
            if late.max() > 0.02:  # tables may be rounded to a hundredth of a second
                k = int(late.argmax())
                there, here = video.timestamps[self.frames[k]], self.times[k]
                fault = f"frame {self.frames[k]} is at {there:.3f} s in the video and at {here:.3f} s in the table"
        if fault is not None:
            remedy = "Give the video that the table was made from."
            raise ConfigError(f"This is not the video of the table: {fault}.", path=video.path, remedy=remedy)

    def _why(self, given: list[Any]) -> dict[int, str]:
        """The reason of each frame without values."""
        found: dict[int, str] = {}
        good = np.bincount(self._place, self._success, len(self)) > 0
        for place, reason in zip(self._place.tolist(), given, strict=True):
            if not good[place] and place not in found:
                found[place] = reason if isinstance(reason, str) and reason else "no reason given"
        return found


def _read(path: Path) -> DataFrame:
    from affectkit.inference.formats import read_openface, read_table

    try:
        return read_table(path)
    except AnnotationError as fault:
        if path.suffix.lower() != ".csv":
            raise
        try:
            return read_openface(path)  # a table of OpenFace itself has nothing of ours beside it
        except AnnotationError:
            raise fault from None


def _tidy(data: DataFrame) -> DataFrame:
    """A table in OpenFace's columns with the names of tidy ones; others as they are."""
    if "confidence" not in data or "frame" not in data:
        return data
    names = {"face_id": "face", "confidence": "score"}
    ours = any(_OPENFACE.fullmatch(name) and name.endswith("_p") for name in data.columns)
    for name in data.columns:
        match = _OPENFACE.fullmatch(name)
        if match and match["what"] == ("p" if ours else "c"):
            names[name] = match["unit"]
        elif match and match["what"] == "r":
            names[name] = f"{match['unit']}_i"
    tidy = data.rename(columns=names).copy()  # in one piece: they have hundreds of columns
    tidy["frame"] -= 1  # OpenFace counts from 1
    if "face" not in tidy:
        tidy["face"] = 0
    if all(f"{axis}_{k}" in data for axis in "xy" for k in range(68)):
        for axis, side in (("x", "w"), ("y", "h")):
            points = data[[f"{axis}_{k}" for k in range(68)]]
            tidy[axis] = points.min(axis=1)
            tidy[side] = points.max(axis=1) - tidy[axis]
    return tidy


def _known(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values with NaN where there was nothing."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)


def _signals(columns: list[str], metadata: Mapping[str, Any]) -> tuple[Signal, ...]:
    """What the columns of values are: as the metadata say, else by their names."""
    heads = metadata.get("heads")
    found: dict[str, Signal] = {}
    if isinstance(heads, Mapping) and heads:
        for head, facts in heads.items():
            if facts.get("values") == "value":
                continue  # of a range of its own, as of valence, which no bar from 0 to 1 shows
            thresholds = facts.get("thresholds") or {}
            for column in facts.get("columns", ()):
                if column in columns:
                    found[column] = _signal(column, str(head), thresholds.get(column))
    else:
        for column in columns:
            if _UNIT.fullmatch(column):
                found[column] = _signal(column, "", None)
    kinds = ("unit", "intensity", "expression")
    ordered = [found[column] for column in columns if column in found]
    return tuple(sorted(ordered, key=lambda signal: kinds.index(signal.kind)))


def _signal(column: str, head: str, threshold: float | None) -> Signal:
    match = _UNIT.fullmatch(column)
    try:
        unit = ActionUnit.parse(match["unit"]) if match else None
    except LabelSpaceError:
        unit = None
    if match is None or unit is None:
        return Signal(column, "expression", column, "", head)
    name = f"{match['head']}.{unit}" if match["head"] else str(unit)
    if match["intensity"]:
        return Signal(column, "intensity", name, unit.name, head)
    return Signal(column, "unit", name, unit.name, head, 0.5 if threshold is None else float(threshold))
