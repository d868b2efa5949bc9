"""Tables in OpenFace's columns: written for the tools that read them, and read from OpenFace itself."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.formats.stream import RowStream
from affectkit.inference.formats.table import File, check_hash, read_sidecar
from affectkit.inference.formats.tidy import join_csv, number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OPENFACE_INTENSITIES", "OPENFACE_OCCURRENCES", "header", "parse", "read_openface", "write"]

_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_INTENSITIES = tuple(f"AU{unit:02d}_r" for unit in _UNITS)
OPENFACE_OCCURRENCES = tuple(f"AU{unit:02d}_c" for unit in sorted((*_UNITS, 28)))

_LEADING = ("frame", "face_id", "timestamp", "confidence", "success")
_UNIT = re.compile(r"AU\d\d")
_OCCURRENCE = re.compile(r"AU\d\d_c")
_MISSING = ["nan", "NaN", "-nan", "nan(ind)", "-nan(ind)", "nan(snan)", "-nan(snan)", "1.#QNAN", "-1.#IND"]
_PLACE = re.compile(r"(?:In CSV column #(\d+): )?.*Row #(\d+): (.*)", re.DOTALL)  # in Arrow's messages


def header(columns: Sequence[str], metadata: Mapping[str, Any]) -> list[str]:
    """Names of all columns: those of OpenFace that can be filled, then our own.

    Args:
        columns: Names of the values.
        metadata: `heads` says what the values are; see `Predictor.metadata`.

    Raises:
        ConfigError: No value belongs to an action unit, so that no column of OpenFace could be filled; or a value has
            the name of another column.
    """
    units, _, values = _what_they_are(columns, metadata)
    if not any(units.values()):
        raise ConfigError(
            "None of the values is the intensity of an action unit, or its probability with a threshold, by the "
            "metadata: OpenFace has no column for them.",
            remedy="Choose the format csv, parquet or jsonl.",
        )
    names = [*_LEADING, *units, *(name for name, _ in values)]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(
            f"OpenFace's table has a column {twice!r} already.", remedy="Name the class in other words."
        )
    return names


def write(file: File, rows: RowStream) -> None:
    """Write the columns of OpenFace 2 (Baltrušaitis et al. 2018) that the model knows.

    The columns are `frame,face_id,timestamp,confidence,success`; `AU01_r` … for the units of which the model
    predicts intensities; `AU01_c` … (1 or 0) for the units of which it predicts probabilities, p ≥ the threshold
    that is stored with the model; then, in columns that OpenFace does not have, the values themselves: `AU01_p` …
    for probabilities of units, and all else (expressions, one-sided units) by its name. Gaze, pose, 68 points and
    shape are not estimated, so these columns are absent. Frames count from 1, faces from 0. A row that failed has
    0 for units, as OpenFace writes, and `nan` for values; one without any face has `face_id` 0. `confidence`
    is the detector's score: 0 where a row failed without one, `nan` where a face was given by hand.

    The format `openface` separates by a comma, as builds since 2020 do, and `openface-release` by a comma and a
    space, as the released programs (2.0 to 2.2) do. Some tools read only one of the two. The metadata
    `units_not_predicted` is written for the units of OpenFace that the model does not predict.

    References:
        Columns, decimals and both separators follow the recorder of OpenFace 2.2 and of its master branch.
    """
    separator = ", " if rows.metadata["format"] == "openface-release" else ","
    units, thresholds, values = _what_they_are(rows.columns, rows.metadata)
    filling = rows.metadata.get("units_not_predicted", "")
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
            ]
            for name, source in units.items():
                if source is None:
                    cells.append(filling)
                elif not good:
                    cells.append("0.00")
                elif name.endswith("_r") or row[source] is None:
                    cells.append(number(row[source], 2))
                else:
                    cells.append(f"{row[source] >= thresholds[source]:.2f}")
            cells += [number(row[source], 6) for _, source in values]
            # Behind a space pandas finds numbers, but takes "nan" for text, and then the whole column.
            file.write(join_csv(cells, separator).replace(b", nan", b",nan"))


def _what_they_are(
    columns: Sequence[str], metadata: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, float], list[tuple[str, str]]]:
    """OpenFace's columns for units, the thresholds, and our own columns for values; columns with their sources."""
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
    if "units_not_predicted" in metadata:
        units |= {name: None for name in (*OPENFACE_INTENSITIES, *OPENFACE_OCCURRENCES) if name not in units}
    ordered = {name: units[name] for name in sorted(units, key=lambda name: (name[-2:] == "_c", name))}
    return ordered, thresholds, values


def read_openface(path: str | Path) -> pd.DataFrame:
    r"""Read a table of OpenFace, of any version and separator, or one of ours in these formats.

    Any subset of OpenFace's columns will do; names lose the spaces that releases put before them. Numbers are those of
    the file: a failed row holds 0 for units, so look at `success` before them. Units' occurrences (`_c`) are 0 or 1,
    whatever number says so; `nan`, `-nan(ind)` and the like are NaN.

    Args:
        path: The CSV file, of a video (`frame` …) or of photos (`face,confidence` …).

    Returns:
        Columns in the file's order: `frame`, `face_id` and `face` int64, `success` bool, all others float64. Where the
        table is ours, `attrs["affectkit"]` holds the metadata.

    Raises:
        AnnotationError: The file is missing, no table of OpenFace, or damaged. A last line that was cut off in a table
            of OpenFace itself is left out.

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
    names, metadata = _names(path, data), read_sidecar(path)
    if metadata is None or metadata["columns"] != names:
        return _numbers(path, data, names)
    check_hash(path, data, metadata)
    return parse(data, metadata)


def parse(data: bytes, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Read what `write` wrote."""
    frame = _numbers(Path(), data, metadata["columns"])
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
        raise _not_openface(path, "The header has a name twice.", 1)
    return names


def _numbers(path: Path, data: bytes, names: Sequence[str]) -> pd.DataFrame:
    """Cells below the header, with the types of their columns."""
    import pyarrow as pa

    _, _, rows = data.partition(b"\n")
    try:
        frame = _floats(rows, names)
    except pa.ArrowInvalid as error:
        try:
            if rows.endswith(b"\n"):
                raise
            frame = _floats(rows[: rows.rfind(b"\n") + 1], names)  # the last line was cut off
        except pa.ArrowInvalid:
            found = _PLACE.match(str(error))
            if found is None:
                raise _not_openface(path, f"{error}.") from error
            column = "" if found[1] is None else f" in the column {names[int(found[1])]!r}"
            raise _not_openface(path, f"{found[3]}{column}.", int(found[2]) + 1) from error
    counted = [name for name in ("frame", "face_id", "face") if name in names]
    if not (frame[counted] % 1 == 0).all(axis=None):  # NaN neither
        raise _not_openface(path, "A row has a frame or a face that is no whole number.")
    frame = frame.astype(dict.fromkeys(counted, "int64"))
    units = [name for name in names if _OCCURRENCE.fullmatch(name)]
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
    return AnnotationError(fault, path=path, line=line, remedy="Give a CSV file that OpenFace has written.")
