"""Tables in OpenFace's columns: written for the tools that read them, and read from OpenFace itself."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import AnnotationError, ConfigError
from affectkit.inference.formats.table import cells
from affectkit.inference.formats.text import CsvBase, join_csv, read_sidecar
from affectkit.inference.predictor import Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OPENFACE_INTENSITIES", "OPENFACE_OCCURRENCES", "OpenFaceWriter", "read_openface"]

_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
OPENFACE_INTENSITIES = tuple(f"AU{unit:02d}_r" for unit in _UNITS)
OPENFACE_OCCURRENCES = tuple(f"AU{unit:02d}_c" for unit in sorted((*_UNITS, 28)))

_LEADING = ("frame", "face_id", "timestamp", "confidence", "success")
_UNIT = re.compile(r"AU\d\d")
_OCCURRENCE = re.compile(r"AU\d\d_c")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MISSING = ["nan", "NaN", "-nan", "nan(ind)", "-nan(ind)", "nan(snan)", "-nan(snan)", "1.#QNAN", "-1.#IND"]


class OpenFaceWriter(CsvBase):
    """Writes what a model knows in the columns of OpenFace 2 (Baltrušaitis et al. 2018), and nothing it does not know.

    The columns are `frame,face_id,timestamp,confidence,success`; `AU01_r` … for the units of which the model
    predicts intensities; `AU01_c` … (1 or 0) for the units of which it predicts probabilities, p ≥ the threshold
    that is stored with the model; then, in columns that OpenFace does not have, the values themselves: `AU01_p` …
    for probabilities of units, and all else (expressions, one-sided units) by its name. Gaze, pose, 68 points and
    shape are not estimated, so these columns are absent. Frames count from 1, faces from 0. A row that failed has
    0 for units, as OpenFace writes, and `nan` for values; one without any face has `face_id` 0. `confidence`
    is the detector's score: 0 where a row failed without one, `nan` where a face was given by hand.

    OpenFace itself corrects its values by the whole video; these depend on a few frames around theirs only. The
    metadata are in a JSON file of the same name. The table does not hold why rows failed, so of rows that were
    there before a resumed run it counts the failures as "not recorded".

    Args:
        path: The CSV file; its folder is made if absent.
        columns: Names of the values, in order.
        metadata: Plain values for the JSON file. `heads` says what the values are; see `Predictor.metadata`.
        resume: Go on after the frames that are there; see `TableWriter`.
        release: Separate by a comma and a space, as the released programs (2.0 to 2.2) do; else by a comma, as
            builds since 2020 do. Some tools read only one of the two.
        fill_missing: Write this for the units of OpenFace that the model does not predict, for tools that want all
            35 columns: 0, which reads as "inactive", or NaN. None leaves them out.

    Raises:
        ConfigError: No value is an action unit's, so that no column of OpenFace could be filled; a value has the name
            of another column; and see `CsvWriter`.

    Example:
        >>> table = getfixture("tmp_path") / "out.csv"
        >>> au = {"columns": ["AU12"], "values": "probability", "thresholds": {"AU12": 0.2}}
        >>> with OpenFaceWriter(table, ["AU12"], {"heads": {"au": au}}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}, face=0, score=0.98))
        >>> print(table.read_text(), end="")
        frame,face_id,timestamp,confidence,success,AU12_c,AU12_p
        1,0,0.000,0.98,1,1.00,0.250000

    References:
        Columns, decimals and both separators follow the recorder of OpenFace 2.2 and of its master branch.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        metadata: Mapping[str, Any],
        *,
        resume: bool = False,
        release: bool = False,
        fill_missing: float | None = None,
    ) -> None:
        super().__init__(path, columns, metadata, resume=resume)
        self.format = "openface-release" if release else "openface"
        self._separator = ", " if release else ","
        units, self._thresholds, values = _what_they_are(self.columns, self.metadata)
        if not units:
            raise ConfigError(
                "None of the values is the intensity of an action unit, or its probability with a threshold, by the "
                "metadata: OpenFace has no column for them.",
                path=self.path,
                remedy="Choose the format csv, parquet or jsonl.",
            )
        self._filling = ""
        if fill_missing is not None:
            self._filling = f"{fill_missing:z.2f}"
            self.metadata["units_not_predicted"] = self._filling
            units |= {
                name: None for name in (*OPENFACE_INTENSITIES, *OPENFACE_OCCURRENCES) if name not in units
            }
        self._units = {
            name: units[name] for name in sorted(units, key=lambda name: (name[-2:] == "_c", name))
        }
        self._values = values
        names = self.header()
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"OpenFace's table has a column {twice!r} already.", remedy="Name the class in other words."
            )

    def header(self) -> list[str]:
        """OpenFace's columns that can be filled, then our own."""
        return [*_LEADING, *self._units, *(name for name, _ in self._values)]

    def _first_line(self) -> bytes:
        return join_csv(self.header(), self._separator).encode()

    def _line(self, row: Row) -> bytes:
        values = cells(row, self.columns)
        score = 0.0 if isnan(row.score) and not row.success else row.score
        parts = [
            str(row.frame + 1),
            str(row.face or 0),
            f"{row.timestamp:z.3f}",
            f"{score:z.2f}",
            str(int(row.success)),
        ]
        for name, source in self._units.items():
            if source is None:
                parts.append(self._filling)
            elif not row.success:
                parts.append("0.00")
            elif name.endswith("_r"):
                parts.append(f"{values[source]:z.2f}")
            else:
                value = values[source]
                parts.append("nan" if isnan(value) else f"{value >= self._thresholds[source]:.2f}")
        parts += [f"{values[source]:z.6f}" for _, source in self._values]
        # Behind a space pandas finds numbers, but takes "nan" for text, and then the whole column.
        return join_csv(parts, self._separator).replace(", nan", ",nan").encode()


def _what_they_are(
    columns: Sequence[str], metadata: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, float], list[tuple[str, str]]]:
    """OpenFace's columns for units and our own for values, each with its source; and the thresholds."""
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
    return units, thresholds, values


def read_openface(path: str | Path) -> pd.DataFrame:
    r"""A table of OpenFace, of whatever version and separator, or one that `OpenFaceWriter` wrote.

    Any subset of OpenFace's columns will do; names lose the spaces that releases put before them. Numbers are those of
    the file: a failed row holds 0 for units, so look at `success` before them. Units' occurrences (`_c`) are 0 or 1,
    whatever number says so; `nan`, `-nan(ind)` and the like are NaN.

    Args:
        path: The CSV file, of a video (`frame` …) or of photos (`face,confidence` …).

    Returns:
        Columns in the file's order: `frame`, `face_id` and `face` int64, `success` bool, all others float64. Where the
        table is ours, `attrs["affectkit"]` holds the metadata.

    Raises:
        AnnotationError: The file is not there, no table of OpenFace, or a line is damaged; names it. A last line
            that was cut off is left out.

    Example:
        >>> table = getfixture("tmp_path") / "face.csv"
        >>> _ = table.write_text("frame, confidence, success, AU12_r, AU12_c\n1, 0.98, 1, 2.31, 1.00\n")
        >>> read_openface(table).values.tolist()
        [[1, 0.98, True, 2.31, 1.0]]
    """
    path = Path(path)
    names = _names(path)
    metadata = read_sidecar(path)
    ours = metadata is not None and metadata["columns"] == names
    cut = ours and not _ends_whole(path)  # rows of ours end in a new line, or are not whole
    frame = _numbers(path, names, _whole_rows(path, names, ours=ours) if cut else None)
    counted = [name for name in ("frame", "face_id", "face") if name in names]
    if not (frame[counted] % 1 == 0).all(axis=None):  # NaN neither
        raise _not_openface(path, "A row has a frame or a face that is no whole number.")
    frame = frame.astype(dict.fromkeys(counted, "int64"))
    units = [name for name in names if _OCCURRENCE.fullmatch(name)]
    frame[units] = frame[units].ne(0).astype("float64").where(frame[units].notna())
    if "success" in names:
        frame["success"] = frame["success"].fillna(0) != 0
    if ours:
        frame.attrs["affectkit"] = metadata
    return frame


def _numbers(path: Path, names: Sequence[str], rows: int | None) -> pd.DataFrame:
    """All cells, as numbers: `rows` of them, or all."""
    import pandas as pd

    try:
        frame = pd.read_csv(
            path,
            dtype="float64",
            nrows=rows,
            skipinitialspace=True,
            na_values=_MISSING,
            keep_default_na=False,
            low_memory=False,
            encoding="utf-8-sig",
        )
        if not isinstance(frame.index, pd.RangeIndex):  # lines are longer than the header
            raise ValueError("it has more fields than names")
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        whole = _whole_rows(path, names, ours=False)
        if rows is not None:
            raise _not_openface(path, f"The file cannot be read: {error}.") from error
        return _numbers(path, names, whole)
    frame.columns = pd.Index(names)
    return frame


def _names(path: Path) -> list[str]:
    """The header without spaces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
    except OSError as error:
        raise _not_openface(path, f"The file cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _not_openface(path, "The file is not text.") from error
    if "confidence" not in names or not {"frame", "face"} & set(names):
        raise _not_openface(path, "The header lacks confidence, and frame or face.", 1)
    if len(set(names)) != len(names):
        raise _not_openface(path, "The header has a name twice.", 1)
    return names


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


def _whole_rows(path: Path, names: Sequence[str], *, ours: bool) -> int:
    """How many rows there are before a last one that was cut off; any other fault is an error."""
    rows = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line, whole = raw.decode("utf-8", "replace").strip(), raw.endswith(b"\n")
            if number == 1 or not line:
                continue
            parts = [part.strip() for part in line.split(",")]
            if not whole and (ours or len(parts) < len(names)):
                break
            if len(parts) != len(names):
                raise _not_openface(
                    path, f"The line has {len(parts)} fields, and the header has {len(names)}.", number
                )
            for name, part in zip(names, parts, strict=True):
                if part not in _MISSING and not _NUMBER.fullmatch(part):
                    if not whole and name == names[-1]:
                        return rows
                    raise _not_openface(path, f"{part!r} in the column {name!r} is no number.", number)
            rows += 1
    return rows


def _not_openface(path: Path, fault: str, line: int | None = None) -> AnnotationError:
    return AnnotationError(fault, path=path, line=line, remedy="Give a CSV file that OpenFace has written.")
