"""Tables in OpenFace's columns: written for tools that read them, and read from OpenFace."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.formats.pandas import flag_edits
from affectkit.inference.formats.sidecar import WARNING_FLAG, read_sidecar, warning_of
from affectkit.inference.formats.table import File, RowStream
from affectkit.inference.formats.tidy import csv_errors, join_csv, number
from affectkit.inference.measures import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_INTENSITIES = tuple(f"AU{unit:02d}_r" for unit in _UNITS)
OPENFACE_OCCURRENCES = tuple(f"AU{unit:02d}_c" for unit in sorted((*_UNITS, 28)))

_DECIMALS = {"gaze": 6, "pose": 1, "landmarks": 1, "landmarks_3d": 1}
_LEADING = ("frame", "face_id", "timestamp", "confidence", "success")
_UNIT = re.compile(r"AU\d\d")
_MISSING = ["nan", "NaN", "-nan", "nan(ind)", "-nan(ind)", "nan(snan)", "-nan(snan)", "1.#QNAN", "-1.#IND"]


def header(columns: Sequence[str], metadata: Mapping[str, Any]) -> list[str]:
    """Names of all columns: those of OpenFace that can be filled, then our own.

    Args:
        columns: Names of the values.
        metadata: Metadata with `heads`, which describe the values; see `Predictor.metadata`.

    Raises:
        ConfigError: No value belongs to an action unit, or a value has the name of another column.
    """
    units, _, values = _assign_columns(columns, metadata)
    if not {*units.values()} - {None, "blink"}:
        raise ConfigError(
            "OpenFace has no column for these values: none is an intensity of an action unit, or its probability with "
            "a threshold.",
            remedy="Choose the format csv, parquet or jsonl.",
        )
    names = [*_LEADING, *_places(metadata), *units, *(name for name, _ in values)]
    names += [WARNING_FLAG] if warning_of(metadata) else []
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"OpenFace's table already has a column {twice!r}.", remedy="Rename the class.")
    return names


def write(file: File, rows: RowStream) -> None:
    """Write the columns of OpenFace 2 (Baltrušaitis et al. 2018) that the model predicts.

    The columns are `frame,face_id,timestamp,confidence,success`; for faces with meshes gaze, pose and 68 landmarks in
    the picture and in space; `AU01_r` … for units with intensities; `AU01_c` … (1 or 0) for units with probabilities, 1
    from the stored threshold on; then columns that OpenFace lacks: `AU01_p` … for probabilities of units, and all other
    values (expressions, one-sided units) by name. Landmarks of the eyes and parameters of the shape are not estimated,
    so their columns are absent. Frames count from 1, faces from 0. A row that failed has 0 for units, as in OpenFace,
    and `nan` for values; without a face, `face_id` is 0. `confidence` is the score of the detector or mesh: 0 if a row
    failed without one, `nan` if no detector was used.

    If the model does not predict AU45, `AU45_r` is five times the mesh's `blink`, and `AU45_c` is 1 from a `blink` of
    0.5 on.

    The format `openface` separates by a comma, as builds since 2020 do; `openface-release` by a comma and a space, as
    the releases 2.0 to 2.2 do. Some tools read only one of them. The metadata `units_not_predicted` is written for
    units of OpenFace that the model does not predict; of a unit with either a probability or an intensity, the other
    column is `nan`. Models with a warning add `WARNING_FLAG`, 1 in each row.

    References:
        Columns, decimals and both separators follow the recorder of OpenFace 2.2 and of its master branch.
    """
    separator = ", " if rows.metadata["format"] == "openface-release" else ","
    units, thresholds, values = _assign_columns(rows.columns, rows.metadata)
    places = _places(rows.metadata)
    filling = rows.metadata.get("units_not_predicted", "")
    predicted = {name[:-2] for name, source in units.items() if source is not None}
    flag = ["1"] if warning_of(rows.metadata) else []
    file.write(join_csv(rows.metadata["columns"], separator))
    for batch in rows:
        for row in batch.to_pylist():
            good, score = row["success"], row["score"]
            cells = [
                str(row["frame"] + 1),
                str(row["face"] or 0),
                number(row["timestamp"], 3),
                "0.00" if score is None and not good else number(score, 2),
                str(int(good)),
                *(number(row[name], decimals) for name, decimals in places.items()),
            ]
            for name, source in units.items():
                if source is None:
                    cells.append("nan" if name[:-2] in predicted else filling)
                elif not good:
                    cells.append("0.00")
                elif name.endswith("_r") or row[source] is None:
                    cells.append(number(_scaled(source, row[source]), 2))
                else:
                    cells.append(f"{row[source] >= thresholds[source]:.2f}")
            cells += [*(number(row[source], 6) for _, source in values), *flag]
            # Behind a space pandas finds numbers, but takes "nan" for text, and then the whole column.
            file.write(join_csv(cells, separator).replace(b", nan", b",nan"))


def _places(metadata: Mapping[str, Any]) -> dict[str, int]:
    """Columns of gaze, pose and landmarks in OpenFace's order, with their decimals."""
    groups = [name for name in _DECIMALS if name in (metadata.get("measured") or ())]
    return {
        name: 3 if name.startswith(("gaze_angle", "pose_R")) else _DECIMALS[group]
        for group in groups
        for name in COLUMNS[group]
    }


def _scaled(source: str, value: float | None) -> float | None:
    """A value on OpenFace's scale of intensities."""
    return 5 * value if source == "blink" and value is not None else value


def _assign_columns(
    columns: Sequence[str], metadata: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, float], list[tuple[str, str]]]:
    """OpenFace's columns for units with their sources, thresholds, and our own columns with their sources."""
    kinds: dict[str, str] = {}
    thresholds: dict[str, float] = {}
    for head in metadata.get("heads", {}).values():
        kinds |= dict.fromkeys(head["columns"], head["values"])
        thresholds |= head["thresholds"]
    units: dict[str, str | None] = {}
    values: list[tuple[str, str]] = []
    for column in columns:
        kind, unit = kinds.get(column, ""), column.removesuffix("_i")
        if column == f"{unit}_i" and _UNIT.fullmatch(unit) and kind.startswith("intensity"):
            units[f"{unit}_r"] = column
            continue
        if kind == "probability" and re.fullmatch(r"AU\d\d[LR]?", column):
            values.append((f"{column}_p", column))
            if _UNIT.fullmatch(column) and column in thresholds:
                units[f"{column}_c"] = column
        else:
            values.append((column, column))
    if "blink" in (metadata.get("measured") or ()) and not {"AU45_r", "AU45_c"} & units.keys():
        units |= {"AU45_r": "blink", "AU45_c": "blink"}
        thresholds["blink"] = 0.5
    if "units_not_predicted" in metadata:
        units |= {name: None for name in (*OPENFACE_INTENSITIES, *OPENFACE_OCCURRENCES) if name not in units}
    ordered = {name: units[name] for name in sorted(units, key=lambda name: (name[-2:] == "_c", name))}
    return ordered, thresholds, values


def read_openface(path: str | Path) -> pd.DataFrame:
    r"""Read a table of OpenFace, of any version and separator, or one of affectkit in these formats.

    Any subset of OpenFace's columns is accepted; spaces before names are removed. A failed row holds 0 for units, so
    check `success` first. Occurrences (`_c`) other than 0 become 1; `nan`, `-nan(ind)` and the like become NaN.

    Args:
        path: The CSV file, of a video (`frame` …) or of photos (`face,confidence` …).

    Returns:
        Columns in the file's order: `frame`, `face_id` and `face` int64, `success` bool, all others float64. For a
        table of affectkit, `attrs["affectkit"]` holds the metadata; see `read_table`, also for edited tables.

    Raises:
        AnnotationError: The file is missing, not a table of OpenFace, or damaged. An incomplete last line in a table
            of OpenFace is ignored.

    Example:
        >>> table = getfixture("tmp_path") / "face.csv"
        >>> _ = table.write_text("frame, confidence, success, AU12_r, AU12_c\n1, 0.98, 1, 2.31, 1.00\n")
        >>> read_openface(table).values.tolist()
        [[1, 0.98, True, 2.31, 1.0]]
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _not_openface(path, f"The file cannot be read: {error.strerror}.") from error
    names = _names(path, data)
    try:
        metadata = read_sidecar(path)
    except AnnotationError:  # sent without the file that tables share
        metadata = None
    if metadata is None or metadata["columns"] != names:
        return _numbers(path, data, names)
    frame = parse(path, data, metadata)
    return frame if sha256(data).hexdigest() == metadata["sha256"] else flag_edits(frame, path)


def parse(path: Path, data: bytes, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Parse what `write` wrote."""
    names = _names(path, data)
    if missing := [name for name in metadata["columns"] if name not in names]:
        raise _not_openface(path, f"The column {missing[0]!r} is missing.", 1)
    frame = _numbers(path, data, names)
    frame.attrs["affectkit"] = dict(metadata)
    return frame


def _names(path: Path, data: bytes) -> list[str]:
    """Names in the header, without spaces."""
    try:
        line = data.partition(b"\n")[0].decode("utf-8-sig")
        names = [name.strip() for name in next(csv.reader([line], skipinitialspace=True), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _not_openface(path, "The file is not text.") from error
    if "confidence" not in names or not {"frame", "face"} & set(names):
        raise _not_openface(path, "The header lacks confidence, and frame or face.", 1)
    if len(set(names)) != len(names):
        raise _not_openface(path, "A column name occurs twice.", 1)
    return names


def _numbers(path: Path, data: bytes, names: Sequence[str]) -> pd.DataFrame:
    """Cells below the header, with the types of their columns."""
    import pyarrow as pa

    with csv_errors(path, names, lambda path, fault, line: _not_openface(path, fault, line and line + 1)):
        rows = data.partition(b"\n")[2]
        try:
            frame = _floats(rows, names)
        except pa.ArrowInvalid as error:
            if rows.endswith(b"\n"):
                raise
            try:
                frame = _floats(rows[: rows.rfind(b"\n") + 1], names)  # the last line was cut off
            except pa.ArrowInvalid:
                raise error from None
    counted = [name for name in ("frame", "face_id", "face") if name in names]
    if not (frame[counted] % 1 == 0).all(axis=None):  # NaN neither
        raise _not_openface(path, "A frame or face number is not a whole number.")
    frame = frame.astype(dict.fromkeys(counted, "int64"))
    units = [name for name in names if re.fullmatch(r"AU\d\d_c", name)]
    frame[units] = frame[units].ne(0).astype("float64").where(frame[units].notna())
    if "success" in names:
        frame["success"] = frame["success"].fillna(0) != 0
    return frame


def _floats(rows: bytes, names: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import csv as arrow

    kinds = pa.schema([(name, pa.float64()) for name in names])
    table = kinds.empty_table()
    if rows.strip():
        missing = [space + text for text in _MISSING for space in ("", " ")]
        table = arrow.read_csv(
            pa.BufferReader(rows),
            arrow.ReadOptions(column_names=names, use_threads=False),  # without threads, errors name the row
            convert_options=arrow.ConvertOptions(column_types=kinds, null_values=missing),
        )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _not_openface(path: Path, fault: str, line: int | None = None) -> AnnotationError:
    return AnnotationError(fault, path=path, line=line, remedy="Give a CSV file written by OpenFace.")
