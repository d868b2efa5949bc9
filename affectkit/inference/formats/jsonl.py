"""The tidy table as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from affectkit.inference.formats.table import LEADING, Progress, cells, dump, foreign
from affectkit.inference.formats.text import LineWriter, read_lines
from affectkit.inference.predictor import Row

__all__ = ["JsonlWriter", "jsonl_progress", "read_jsonl"]

_KINDS: Mapping[str, tuple[type, ...]] = {
    "frame": (int,),
    "face": (int, type(None)),
    "success": (bool,),
    "reason": (str, type(None)),
}


class JsonlWriter(LineWriter):
    """Writes a JSON object a row, by column name; the metadata are in the file.

    The first line is `{"metadata": {…}}`. The last one is `{"summary": {…}}`, with the counts and whether the
    file is complete; it is absent while the file is being written. All lines between are rows and have a
    `frame`. Numbers are exact, what is missing is null.

    Args:
        path: The file; its folder is made if absent.
        columns: Names of the values, in order.
        metadata: Plain values for the first line.
        resume: Go on after the frames that are there; see `TableWriter`.

    Raises:
        ConfigError: See `TableWriter`.

    Example:
        >>> table = getfixture("tmp_path") / "out.jsonl"
        >>> with JsonlWriter(table, ["AU12"], {"model": "demo"}) as writer:
        ...     writer.write(Row(0, 0.0, True, {"AU12": 0.25}))
        >>> json.loads(table.read_text().splitlines()[1])["AU12"]
        0.25
    """

    format = "jsonl"

    def _first_line(self) -> bytes:
        return dump({"metadata": self.described})

    def _line(self, row: Row) -> bytes:
        values = cells(row, self.columns)
        return dump({name: _or_null(value) for name, value in values.items()})

    def _close(self, metadata: Mapping[str, Any]) -> None:
        try:
            self._put(dump({"summary": self.summary.entries(complete=metadata["complete"])}))
        finally:
            super()._close(metadata)

    def _progress(self) -> Progress | None:
        return jsonl_progress(self.path)


def jsonl_progress(path: Path) -> Progress | None:
    """What of a file is there already; None where there is nothing.

    Args:
        path: The file.

    Raises:
        AnnotationError: The file is not ours.
    """
    lines = read_lines(path) if path.exists() else iter(())
    first = next(lines, None)
    if first is None:
        return None
    place = first[1]
    progress = Progress(_metadata(path, first[2]), complete=False, keep=place)
    for number, end, line in lines:
        found = _object(path, number, line)
        if (summary := _summary(path, number, found)) is not None:
            progress.complete = summary["complete"]
            continue
        _check(path, number, found, progress.metadata["columns"])
        progress.add(place, found["frame"], found["success"], found["reason"])
        place = end
    return progress.finish(place)


def read_jsonl(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The metadata and the columns of a file that `JsonlWriter` wrote, as plain values.

    Args:
        path: The file.

    Raises:
        AnnotationError: The file is not ours, or a line is damaged; names it. A last line that was cut off is
            left out.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise foreign(path, "The file has no first line with metadata.")
    metadata = _metadata(path, first[2])
    summary: dict[str, Any] = {"complete": False}
    columns: dict[str, list[Any]] = {name: [] for name in metadata["columns"]}
    for number, _, line in lines:
        found = _object(path, number, line)
        if (last := _summary(path, number, found)) is not None:
            summary = last
            continue
        _check(path, number, found, metadata["columns"])
        for name, value in found.items():
            columns[name].append(nan if value is None and name not in _KINDS else value)
    return {**metadata, **summary}, columns


def _or_null(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise foreign(path, f"The line is not JSON: {error}.", number) from error
    if not isinstance(found, dict):
        raise foreign(path, "The line is no JSON object.", number)
    return found


def _summary(path: Path, number: int, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the last line says; None for a row."""
    if "frame" in found:
        return None
    summary = found.get("summary")
    if not isinstance(summary, dict) or not isinstance(summary.get("complete"), bool):
        raise foreign(path, "The line is neither a row nor the summary.", number)
    return summary


def _metadata(path: Path, line: str) -> dict[str, Any]:
    metadata = _object(path, 1, line).get("metadata")
    columns = metadata.get("columns") if isinstance(metadata, dict) else None
    if metadata is None or not isinstance(columns, list) or tuple(columns[: len(LEADING)]) != LEADING:
        raise foreign(path, "The first line does not hold the metadata of a table of ours.", 1)
    return dict(metadata)


def _check(path: Path, number: int, found: Mapping[str, Any], columns: list[str]) -> None:
    """The columns, and what may stand in them."""
    if list(found) != columns:
        raise foreign(path, "The columns of this line are not those that the first line names.", number)
    for name, value in found.items():
        kinds = _KINDS.get(name, (float, int, type(None)))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise foreign(path, f"{value!r} cannot stand in the column {name!r}.", number)
