"""Tables in memory: our own, and as users of py-feat know them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Literal

from affectkit.errors import ConfigError
from affectkit.inference.formats.table import LEADING, cells, plain, schema
from affectkit.inference.predictor import Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["as_frame", "to_frame", "to_pyfeat"]

_DTYPES = {"frame": "int64", "face": "Int64", "success": "bool", "reason": "string"}
_NAMES = {
    "x": "FaceRectX",
    "y": "FaceRectY",
    "w": "FaceRectWidth",
    "h": "FaceRectHeight",
    "score": "FaceScore",
}
_UNIT = re.compile(r"AU\d\d[LR]?")
_EMOTIONS = {
    "neutral": "Neutral",
    "happiness": "Happy",
    "sadness": "Sad",
    "surprise": "Surprise",
    "fear": "Fear",
    "disgust": "Disgust",
    "anger": "Anger",
    "contempt": "Contempt",
}


def as_frame(metadata: Mapping[str, Any], table: pa.Table) -> pd.DataFrame:
    """Tidy Arrow table as a data frame, with the metadata in `attrs["affectkit"]`."""
    import pandas as pd

    columns = {name: table.column(name).to_pandas() for name in table.column_names}
    columns["reason"] = columns["reason"].replace("", None)  # CSV
    frame = pd.DataFrame(
        {name: pd.Series(values, dtype=_DTYPES.get(name, "float64")) for name, values in columns.items()}
    )
    frame.attrs["affectkit"] = dict(metadata)
    return frame


def to_frame(rows: Iterable[Row], metadata: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Rows as a data frame, without a file between.

    Args:
        rows: From a `Predictor`; at least one.
        metadata: What belongs in `attrs["affectkit"]`.

    Returns:
        A row for every face in every frame: `frame` int64, `timestamp` in seconds, `face` Int64, `success` bool,
        `reason`, `score`, the box `x y w h` in pixels, and the values float64. What is missing is NaN, or NA.

    Raises:
        ConfigError: There is no row, or one lacks a value that the first has.

    Example:
        >>> frame = to_frame([Row(0, 0.0, True, {"AU12": 0.25}, face=0), Row(1, 0.04, False, {"AU12": float("nan")})])
        >>> frame[["frame", "success", "AU12"]].values.tolist()
        [[0, True, 0.25], [1, False, nan]]
    """
    import pyarrow as pa

    rows = list(rows)
    if not rows:
        raise ConfigError("There are no rows to make a table of.")
    names = list(rows[0].values)
    table = pa.Table.from_pylist([cells(row, names) for row in rows], schema(names))
    return as_frame(plain(metadata or {}), table)


def to_pyfeat(frame: pd.DataFrame, *, emotions: Literal["v1", "v2"] = "v2") -> pd.DataFrame:
    """A tidy table with the names and the order that users of py-feat know (Cheong et al. 2023).

    First come `FaceRectX` … `FaceScore`, then units (`AU01` …, probabilities) and emotions, then `Identity`
    (`Person_0` …), `input` (the file's path), `frame` and `approx_time` ("minutes:seconds"), then all that py-feat
    does not have: `timestamp`, `success`, `reason`, intensities (`AU01_i` …) and other classes. Landmarks, pose and
    gaze are not estimated, so these columns are absent. Metadata stay in `attrs`.

    Args:
        frame: From `read_table` or `to_frame`.
        emotions: Names and order of emotions: "v2", capitalised (`Neutral`, `Happy` …), or "v1", lower case (`anger`,
            `disgust` … `neutral`).

    Raises:
        ConfigError: The frame is no tidy table of ours.

    Example:
        >>> rows = [Row(75, 3.0, True, {"AU12": 0.25, "happiness": 0.9}, face=0, score=0.98, box=(8, 9, 40, 50))]
        >>> to_pyfeat(to_frame(rows)).iloc[0, 3:10].to_dict()
        {'FaceRectHeight': 50.0, 'FaceScore': 0.98, 'AU12': 0.25, 'Happy': 0.9, 'Identity': 'Person_0', ...}
    """
    import pandas as pd

    if tuple(frame.columns[: len(LEADING)]) != LEADING:
        raise ConfigError(
            "The frame is no tidy table of affectkit.",
            remedy="Give one of `read_table` or `to_frame`; OpenFace's columns cannot be turned back.",
        )
    values = list(frame.columns[len(LEADING) :])
    names = {ours: theirs if emotions == "v2" else ours for ours, theirs in _EMOTIONS.items()}
    units = [name for name in values if _UNIT.fullmatch(name)]
    order = names if emotions == "v2" else (*sorted(names.keys() - {"neutral"}), "neutral")
    expressions = [name for name in order if name in values]
    rest = [name for name in values if name not in units and name not in expressions]
    result = frame[[*_NAMES, *units, *expressions]].rename(columns=_NAMES | names)
    result["Identity"] = ("Person_" + frame["face"].astype("string")).astype("string")
    result["input"] = pd.Series(frame.attrs.get("affectkit", {}).get("source"), frame.index, dtype="string")
    result["frame"] = frame["frame"]
    result["approx_time"] = pd.Series(map(_minutes, frame["timestamp"]), frame.index, dtype="string")
    result = result.assign(**frame[["timestamp", "success", "reason", *rest]])
    result.attrs = dict(frame.attrs)
    return result


def _minutes(seconds: float) -> str | None:
    return None if isnan(seconds) else f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"
