"""Prediction tables for drawing: meaning and range of each column, and the values of each face over time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError, ConfigError, LabelSpaceError
from affectkit.facs import ActionUnit
from affectkit.inference.wording import caution, counted

if TYPE_CHECKING:
    from pandas import DataFrame

    from affectkit.data.video import VideoReader

__all__ = ["ASSUMED_FPS", "ClipTable", "Reading", "Signal", "Stretches"]

ASSUMED_FPS = 25.0
"""Frame rate of media without times, such as folders of pictures."""

_UNIT = re.compile(r"(?:(?P<head>.+)\.)?(?P<unit>AU\d\d[LR]?)(?P<intensity>_i)?")
_OPENFACE = re.compile(r"(?P<unit>AU\d\d[LR]?)_(?P<what>[prc])")
_BOX = ["x", "y", "w", "h"]

Kind = Literal["unit", "intensity", "dimension", "expression"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A column of values.

    Args:
        column: Name in the table.
        kind: "unit" is a probability by itself, "intensity" a degree from 0 to 5, "dimension" a value in a range such
            as valence, "expression" one of several probabilities that add up to 1.
        name: Name in a picture: `AU12`, `happiness`.
        meaning: Meaning of a unit, such as "lip corner puller"; else empty.
        threshold: For a unit, the probability from which it is active.
        low: Smallest possible value.
        top: Largest possible value.
    """

    column: str
    kind: Kind
    name: str
    meaning: str = ""
    threshold: float | None = None
    low: float = 0.0
    top: float = 1.0

    def scale(self, values: Any) -> Any:
        """Values as shares of the range, in [0, 1]; NaN stays."""
        return np.clip((values - self.low) / (self.top - self.low), 0, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One face in one frame.

    Args:
        face: The identity.
        values: float32 [number of signals].
        box: Left, top, width and height in pixels of the media, float64 [4]; NaN where unknown.
        row: Row of the table, sorted by frame.
    """

    face: int
    values: NDArray[np.float32]
    box: NDArray[np.float64]
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Values of one face, thinned for drawing to M stretches of consecutive frames.

    Args:
        frames: Number of frames per stretch; the last one may be shorter.
        edges: float64 [M + 1], start of each stretch and end of the last, in seconds.
        low: float32 [M, number of signals], the lowest value in each; NaN without values.
        high: float32 [M, number of signals], the highest.
        lacking: bool [M], whether any frame has no values.
    """

    frames: int
    edges: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    lacking: NDArray[np.bool_]

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Start and end, in seconds, of each run of stretches that lack values."""
        steps = np.flatnonzero(np.diff(self.lacking.astype(np.int8), prepend=0, append=0))
        return [(float(self.edges[a]), float(self.edges[b])) for a, b in steps.reshape(-1, 2)]


class ClipTable:
    """Predictions for one photo, video or folder of frames.

    The table's metadata tell what the columns mean. Without metadata, columns named like action units (`AU12`,
    `AU12_i`) are taken as such with a threshold of 0.5, so OpenFace's tables can be drawn too. Each face has a sequence
    over all frames of the table; its values are NaN in frames where it has no row, or its row failed.

    Args:
        table: A table of `read_table` or `read_openface`, or a file they read.

    Attributes:
        metadata: Metadata of the table; may be empty.
        notes: How the table was edited after it was written, if it was.
        signals: Units, intensities, dimensions and expressions, each in the order of the table.
        frames: int64 [N], frame numbers, ascending.
        times: float64 [N], seconds; at `ASSUMED_FPS` if the media has no times.
        timed: Whether the media has times.
        faces: Identities that have a row, ascending.
        reasons: Index into `frames` → why the frame has no values.

    Raises:
        AnnotationError: The table has no rows or lacks a column, or the file cannot be read.

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
        missing = [name for name in ("frame", "timestamp", "success") if name not in data]
        if missing or not len(data):
            fault = f"The table has no column {missing[0]!r}." if missing else "The table has no rows."
            raise AnnotationError(fault, path=self.path, remedy="Give a table of `affectkit predict`.")
        self.metadata: Mapping[str, Any] = dict(data.attrs.get("affectkit") or {})
        self.notes = tuple(str(self.metadata[name]) for name in ("edited",) if name in self.metadata)
        self.signals = _signals(list(data.columns), self.metadata)
        data = data.sort_values("frame", kind="stable")
        number = data["frame"].to_numpy(np.int64)
        self.frames, first = np.unique(number, return_index=True)
        self._place = np.searchsorted(self.frames, number)
        times = pd.to_numeric(data["timestamp"]).to_numpy(np.float64)[first]
        self.timed = bool(np.isfinite(times).all())
        self.times: NDArray[np.float64] = times if self.timed else self.frames / ASSUMED_FPS
        self._success = data["success"].astype(bool).to_numpy()
        # Rows with values and without an identity belong to the only face of a fixed crop.
        identity = data["face"] if "face" in data else pd.Series(np.nan, index=data.index)
        identity = identity.astype("Float64").where(identity.notna() | ~self._success, 0)
        self._face = identity.fillna(-1).to_numpy(np.int64)
        self.faces: tuple[int, ...] = tuple(np.unique(self._face[self._face >= 0]).tolist())
        self._values = data[[signal.column for signal in self.signals]].to_numpy(np.float32, copy=True)
        self._values[~self._success] = np.nan
        boxed = all(name in data for name in _BOX)
        self._boxes = data[_BOX].to_numpy(np.float64) if boxed else np.full((len(data), 4), np.nan)
        self._data = data
        good = np.bincount(self._place, self._success, len(self)) > 0
        self.concurrent = int(np.bincount(self._place, self._success).max())
        """The largest number of faces in one frame."""
        self.reasons: dict[int, str] = {}
        reasons = data["reason"].tolist() if "reason" in data else [None] * len(data)
        for place, reason in zip(self._place.tolist(), reasons, strict=True):
            if not good[place]:
                known = reason if isinstance(reason, str) and reason else "no reason given"
                self.reasons.setdefault(place, known)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def warning(self) -> str | None:
        """Warning about the model."""
        warning = self.metadata.get("warning")
        return None if warning is None else str(warning)

    @property
    def caution(self) -> str:
        """What the values are not; to be read in every picture."""
        text = caution(self.metadata, expressions=any(one.kind == "expression" for one in self.signals))
        known = self.warning is None or self.metadata.get("trained_on") == "rendered faces"
        return text if known else f"{self.warning} {text}"

    @property
    def source(self) -> str | None:
        """Path of the media, from the metadata."""
        source = self.metadata.get("source")
        return None if source is None else str(source)

    @property
    def name(self) -> str:
        """Name of the media, else of the table; empty for a data frame without metadata."""
        return Path(self.source or self.path or "").name

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._place)

    def columns(self, names: Sequence[str]) -> NDArray[np.float64] | None:
        """Numbers of further columns by row, float64 [rows, number of names]; None if the table lacks one.

        Rows that failed are NaN.
        """
        if not {*names} <= {*self._data.columns}:
            return None
        values: NDArray[np.float64] = self._data[list(names)].to_numpy(np.float64, copy=True)
        values[~self._success] = np.nan
        return values

    def over_time(self, face: int, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows of one face at their frames, [N, …]; NaN elsewhere."""
        own = (self._face == face) & self._success
        result = np.full((len(self), rows.shape[1]), np.nan, rows.dtype)
        result[self._place[own]] = rows[own]
        return result

    def values(self, face: int) -> NDArray[np.float32]:
        """The values of one face, float32 [N, number of signals]; NaN where there are none."""
        return self.over_time(face, self._values)

    def sentences(self, face: int) -> list[str]:
        """Sentences about one face, one per frame; empty where there is none."""
        said = [""] * len(self)
        names = [name for name in self.metadata.get("sentences") or () if name in self._data]
        own = np.flatnonzero((self._face == face) & self._success).tolist() if names else []
        rows = self._data[names].to_numpy(object)
        for row in own:
            said[int(self._place[row])] = " ".join(text for text in rows[row] if isinstance(text, str))
        return said

    def boxes(self, face: int) -> NDArray[np.float64]:
        """Left, top, width and height of one face in pixels, float64 [N, 4]; NaN where there is none."""
        return self.over_time(face, self._boxes)

    def present(self, face: int) -> NDArray[np.bool_]:
        """Whether one face has values, bool [N]."""
        return np.isin(np.arange(len(self)), self._place[(self._face == face) & self._success])

    def stretches(self, face: int, most: int) -> Stretches:
        """Values of one face in at most `most` stretches; each keeps its extremes, so no peak is lost."""
        values = self.values(face)
        size = -(-len(self) // most)
        starts = np.arange(0, len(self), size)
        return Stretches(
            frames=size,
            edges=np.append(self.times[starts], self.end),
            low=np.fmin.reduceat(values, starts),
            high=np.fmax.reduceat(values, starts),
            lacking=np.logical_or.reduceat(~self.present(face), starts),
        )

    @property
    def interval(self) -> float:
        """Median time between frames in seconds."""
        return float(np.median(np.diff(self.times))) if len(self) > 1 else 1 / ASSUMED_FPS

    @property
    def end(self) -> float:
        """End of the last frame in seconds."""
        return float(self.times[-1]) + self.interval

    def at(self, frame: int) -> tuple[list[Reading], str | None]:
        """The faces in one frame by identity, and the reason if there are none."""
        place = int(np.searchsorted(self.frames, frame))
        if place == len(self) or self.frames[place] != frame:
            return [], "The table has no such frame."
        rows = range(*np.searchsorted(self._place, [place, place + 1]).tolist())
        found = [
            Reading(int(self._face[k]), self._values[k], self._boxes[k], k) for k in rows if self._success[k]
        ]
        return sorted(found, key=lambda reading: reading.face), self.reasons.get(place)

    def check_video(self, video: VideoReader) -> None:
        """Check that a video has the frames of the table, at the same times.

        Raises:
            ConfigError: It does not.
        """
        fault = None
        if self.frames[-1] >= video.num_frames:
            length = counted(video.num_frames, "frame")
            fault = f"the table goes to frame {self.frames[-1]}, and the video has {length}"
        elif self.timed and np.isfinite(video.timestamps).all():
            there = video.timestamps[self.frames]
            k = int(np.abs(self.times - there).argmax())
            if abs(self.times[k] - there[k]) > 0.02:  # tables may be rounded to a hundredth of a second
                fault = f"frame {self.frames[k]} is at {there[k]:.3f} s in the video and at "
                fault += f"{self.times[k]:.3f} s in the table"
        if fault is not None:
            remedy = "Give the video that the table was made from."
            raise ConfigError(f"This is not the video of the table: {fault}.", path=video.path, remedy=remedy)


def _read(path: Path) -> DataFrame:
    from affectkit.inference.formats import read_openface, read_table

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*edited or damaged", category=UserWarning)  # see `notes`
        try:
            return read_table(path)
        except AnnotationError as fault:
            if path.suffix.lower() != ".csv":
                raise
            try:
                return read_openface(path)  # a table of OpenFace has no JSON file beside it
            except AnnotationError:
                raise fault from None


def _tidy(data: DataFrame) -> DataFrame:
    """Rename OpenFace's columns to those of a tidy table; other tables are unchanged."""
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


def _signals(columns: list[str], metadata: Mapping[str, Any]) -> tuple[Signal, ...]:
    """The meaning of value columns, from the metadata, else from their names."""
    found: dict[str, Signal] = {}
    heads = metadata.get("heads") or {"": {"columns": [name for name in columns if _UNIT.fullmatch(name)]}}
    for facts in heads.values():
        for column in facts.get("columns", ()):
            found[column] = _signal(column, facts)
    kinds = ("unit", "intensity", "dimension", "expression")
    ordered = [found[column] for column in columns if column in found]
    return tuple(sorted(ordered, key=lambda signal: kinds.index(signal.kind)))


def _signal(column: str, facts: Mapping[str, Any]) -> Signal:
    if facts.get("values") == "value":
        low, top = facts.get("range") or (-1.0, 1.0)
        meaning = f"{low:g} to {top:g}".replace("-", "−")
        return Signal(column, "dimension", column, meaning, low=low, top=top)
    match = _UNIT.fullmatch(column)
    try:
        unit = ActionUnit.parse(match["unit"]) if match else None
    except LabelSpaceError:
        unit = None
    if match is None or unit is None:
        return Signal(column, "expression", column)
    name = f"{match['head']}.{unit}" if match["head"] else str(unit)
    if match["intensity"]:
        return Signal(column, "intensity", name, unit.name, top=5.0)
    threshold = (facts.get("thresholds") or {}).get(column)
    return Signal(column, "unit", name, unit.name, 0.5 if threshold is None else float(threshold))
