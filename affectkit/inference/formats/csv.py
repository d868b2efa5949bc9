"""The tidy table as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from affectkit.inference.formats.table import LEADING, cells, foreign
from affectkit.inference.formats.text import (
    CsvBase,
    join_csv,
    read_lines,
    read_sidecar,
    sidecar_of,
    split_csv,
)
from affectkit.inference.predictor import Row

__all__ = ["CsvWriter", "read_csv"]


class CsvWriter(CsvBase):
    """Writes a tidy CSV table as rows come, and beside it a JSON file of the same name with the metadata.

    The columns are `frame,timestamp,face,success,reason,score,x,y,w,h` and those of the values. Frames and faces
    count from 0, timestamps are seconds, `success` is 1 or 0, `x,y,w,h` is the box in pixels. Numbers have six
    decimals; what is missing reads `nan`, and an absent face or reason is empty. Every row is handed to the system
    at once, so that the file is valid wherever the work is interrupted; the JSON file then has
    `"complete": false`. In the end it also counts the failures by their reasons.

    Args:
        path: The CSV file; its folder is made if absent.
        columns: Names of the values, in order.
        metadata: Plain values for the JSON file.
        resume: Go on after the frames that are there; see `TableWriter`.

    Raises:
        ConfigError: On entering: the JSON file's name is taken by something else; and see `TableWriter`.

    Example:
        >>> table = getfixture("tmp_path") / "out.csv"
        >>> with CsvWriter(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, False, {"AU12": float("nan")}, reason="No face was found."))
        >>> print(table.read_text(), end="")
        frame,timestamp,face,success,reason,score,x,y,w,h,AU12
        0,0.000000,,0,No face was found.,nan,nan,nan,nan,nan,nan
    """

    format = "csv"

    def _first_line(self) -> bytes:
        return join_csv(self.header()).encode()

    def _line(self, row: Row) -> bytes:
        return join_csv(map(_text, cells(row, self.columns).values())).encode()


def read_csv(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The metadata and the columns of a file that `CsvWriter` wrote, as plain values.

    Args:
        path: The CSV file.

    Raises:
        AnnotationError: The file is not ours, or a line is damaged; names it. A last line that was cut off is
            left out.
    """
    lines = read_lines(path)
    header = next(lines, None)
    metadata = read_sidecar(path)
    if header is None or metadata is None:
        fault = (
            "The file is empty." if header is None else f"No {sidecar_of(path).name} of ours is beside it."
        )
        raise foreign(path, fault)
    names = split_csv(path, 1, header[2])
    if names != metadata["columns"] or tuple(names[: len(LEADING)]) != LEADING:
        raise foreign(path, "The columns are not those of a table of ours.", 1)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, _, line in lines:
        for name, part in zip(names, split_csv(path, number, line, len(names)), strict=True):
            try:
                columns[name].append(_value(name, part))
            except ValueError as error:
                raise foreign(path, f"{part!r} cannot stand in the column {name!r}.", number) from error
    return metadata, columns


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:z.6f}"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _value(name: str, text: str) -> Any:
    if name in ("face", "reason"):
        return None if text == "" else int(text) if name == "face" else text
    if name == "success":
        return bool(int(text))
    return int(text) if name == "frame" else float(text)
