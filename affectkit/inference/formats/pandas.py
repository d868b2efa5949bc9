"""Tables in memory: tidy, and in the columns of py-feat."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affectkit.errors import ConfigError
from affectkit.inference import measures
from affectkit.inference.formats.table import LEADING, cells, plain, schema
from affectkit.inference.predictor import Row
from affectkit.inference.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_DTYPES = {"frame": "int64", "face": "Int64", "success": "bool", "reason": "string"}
_NAMES = {
    name: f"FaceRect{theirs}" for name, theirs in zip("xywh", ("X", "Y", "Width", "Height"), strict=True)
}
_NAMES["score"] = "FaceScore"
_POSE = {
    f"pose_{ours}": theirs
    for ours, theirs in (
        ("Rx", "Pitch"),
        ("Rz", "Roll"),
        ("Ry", "Yaw"),
        ("Tx", "X"),
        ("Ty", "Y"),
        ("Tz", "Z"),
    )
}
_UNIT = re.compile(r"AU\d\d[LR]?")
_SHORT = {"happiness": "Happy", "sadness": "Sad"}
_ORDER = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_EMOTIONS = {name: _SHORT.get(name, name.capitalize()) for name in _ORDER}


def as_frame(metadata: Mapping[str, Any], table: pa.Table) -> pd.DataFrame:
    """Tidy Arrow table as a data frame, with the metadata in `attrs["affectkit"]`."""
    import pandas as pd

    texts = ["reason", *(metadata.get("sentences") or ())]
    kinds = _DTYPES | dict.fromkeys(texts, "string")
    frame = pd.DataFrame(
        {
            name: pd.Series(table[name].to_pandas(), dtype=kinds.get(name, "float64"))
            for name in table.column_names
        }
    )
    frame[texts] = frame[texts].replace("", None)  # CSV
    frame.attrs["affectkit"] = dict(metadata)
    return frame


def flag_edits(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Warn that a CSV table was edited, and say so in its metadata."""
    about = frame.attrs["affectkit"]
    text = "The table was edited or damaged after it was written: "
    text += f"it has {counted(len(frame), 'row')}, and none is certain to be the model's output."
    if len(frame) != about["rows"]:
        text += f" The model wrote {counted(about['rows'], 'row')}."
    for head in about.get("heads", {}).values():
        top = {"probability": 1, "intensity 0-5": 5}.get(head.get("values"), inf)
        for name in (name for name in head["columns"] if name in frame and top < inf):
            wrong = frame["frame"][(frame[name] < 0) | (frame[name] > top)].tolist()
            if wrong:
                text += f" {name} is outside 0 to {top} in frame {', '.join(map(str, wrong[:5]))}"
                text += ", …." if len(wrong) > 5 else "."
    frame.attrs["affectkit"] = {**about, "edited": text}
    warnings.warn(f"{path}: {text}", UserWarning, stacklevel=3)
    return frame


def to_frame(
    rows: Iterable[Row], metadata: Mapping[str, Any] | None = None, *, landmarks: bool = False
) -> pd.DataFrame:
    """Convert rows to a data frame.

    Args:
        rows: Rows of a `Predictor`; at least one.
        metadata: Value of `attrs["affectkit"]`.
        landmarks: Whether to add the 68 landmarks of meshes.

    Returns:
        One row per face and frame: `frame` int64, `timestamp` in seconds, `face` Int64, `success` bool, `reason`,
        `score`, the box `x y w h` in pixels, and the values float64. If rows have meshes, columns of gaze, head pose
        and blinks follow, see `affectkit.inference.measures`, then the columns of `sentences` in the metadata. Missing
        values are NaN or NA.

    Raises:
        ConfigError: There are no rows, or a row lacks a value that the first has.

    Example:
        >>> frame = to_frame([Row(0, 0.0, True, {"AU12": 0.25}, face=0), Row(1, 0.04, False, {"AU12": float("nan")})])
        >>> frame[["frame", "success", "AU12"]].values.tolist()
        [[0, True, 0.25], [1, False, nan]]
    """
    import pyarrow as pa

    rows = list(rows)
    if not rows:
        raise ConfigError("There are no rows.")
    names = list(rows[0].values)
    groups: tuple[str, ...] = measures.LANDMARKS if landmarks else measures.MEASURED
    if not any(row.mesh is not None for row in rows) and not (metadata or {}).get("measured"):
        groups = ()
    said = list((metadata or {}).get("sentences") or ())
    header = schema([*names, *measures.columns_of(groups), *said], sentences=said)
    table = pa.Table.from_pylist([cells(row, names, groups, said) for row in rows], header)
    described = {**(metadata or {}), **({"measured": list(groups)} if groups else {})}
    return as_frame(plain(described), table)


def to_pyfeat(frame: pd.DataFrame, *, emotions: Literal["v1", "v2"] = "v2") -> pd.DataFrame:
    """Convert a tidy table to the columns of py-feat (Cheong et al. 2023).

    The order is `FaceRectX` … `FaceScore`, units (`AU01` …, probabilities), emotions, `Identity` (`Person_0` …),
    `input` (the path), `frame`, `approx_time` ("minutes:seconds"), then the columns that py-feat lacks: `timestamp`,
    `success`, `reason`, intensities (`AU01_i` …), gaze, blinks and other classes. If the table has them, landmarks
    (`x_0` … `y_67`) and the pose of the head (`Pitch Roll Yaw` in radians, with the signs of OpenFace, and `X Y Z` in
    millimetres) follow `FaceScore`. Metadata stay in `attrs`.

    Args:
        frame: From `read_table` or `to_frame`.
        emotions: Names and order of emotions: "v2", capitalised (`Neutral`, `Happy` …), or "v1", lower case (`anger`,
            `disgust` … `neutral`).

    Raises:
        ConfigError: The frame is not a tidy table.

    Example:
        >>> rows = [Row(75, 3.0, True, {"AU12": 0.25, "happiness": 0.9}, face=0, score=0.98, box=(8, 9, 40, 50))]
        >>> to_pyfeat(to_frame(rows)).iloc[0, 3:10].to_dict()
        {'FaceRectHeight': 50.0, 'FaceScore': 0.98, 'AU12': 0.25, 'Happy': 0.9, 'Identity': 'Person_0', ...}
    """
    import pandas as pd

    if tuple(frame.columns[: len(LEADING)]) != LEADING:
        raise ConfigError(
            "The frame is not a tidy table of affectkit.",
            remedy="Use `read_table` or `to_frame`; OpenFace's columns cannot be converted back.",
        )
    values = list(frame.columns[len(LEADING) :])
    names = {ours: theirs if emotions == "v2" else ours for ours, theirs in _EMOTIONS.items()}
    units = [name for name in values if _UNIT.fullmatch(name)]
    order = names if emotions == "v2" else (*sorted(names.keys() - {"neutral"}), "neutral")
    expressions = [name for name in order if name in values]
    places = [name for name in measures.COLUMNS["landmarks"] if name in values]
    places += [name for name in _POSE if name in values]
    rest = [name for name in values if name not in {*units, *expressions, *places}]
    result = frame[[*_NAMES, *places, *units, *expressions]].rename(columns=_NAMES | _POSE | names)
    result["Identity"] = ("Person_" + frame["face"].astype("string")).astype("string")
    result["input"] = pd.Series(frame.attrs.get("affectkit", {}).get("source"), frame.index, dtype="string")
    result["frame"] = frame["frame"]
    result["approx_time"] = pd.Series(
        [None if isnan(t) else f"{int(t // 60):02d}:{int(t % 60):02d}" for t in frame["timestamp"]],
        frame.index,
        dtype="string",
    )
    result = result.assign(**frame[["timestamp", "success", "reason", *rest]])
    result.attrs = dict(frame.attrs)
    return result
