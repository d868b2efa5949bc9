"""Metadata beside CSV tables: a small JSON file for each table, and one for what tables of a folder share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from affectkit.errors import AnnotationError
from affectkit.inference.formats.table import SUMMARY, File, dump
from affectkit.inference.wording import caution

__all__ = [
    "WARNING",
    "WARNING_FLAG",
    "is_ours",
    "load_sidecar",
    "read_sidecar",
    "replacing",
    "shared_of",
    "sidecar_of",
    "warning_of",
    "write_sidecar",
]

MOST_BYTES: Final = 2000
"""Largest file beside a table."""

WARNING: Final = "warning"
"""Last column of CSV tables of models with a warning: it stays when a table is sent without its JSON file."""

WARNING_FLAG: Final = "warning_not_validated"
"""The same in OpenFace's formats, where all columns are numbers: 1 in each row."""

_SHARED: Final = "shared"  # entry with the name of the other file
_OWN: Final = frozenset(
    {
        *("affectkit", "model", "model_sha256", "trained_on", "warning", "format"),
        *("source", "source_fingerprint", "fps", "window_frames"),
        *("movements", "unseen", "face_seen"),
        *SUMMARY,
    }
)


def warning_of(metadata: Mapping[str, Any]) -> str | None:
    """Text of the column `WARNING`, without commas; None for models without a warning.

    Example:
        >>> warning_of({"warning": "A demonstration.", "trained_on": "rendered faces"})
        'Estimated from pictures of the face; learned from rendered faces; not validated against certified coders.'
    """
    if not metadata.get("warning"):
        return None
    return caution(metadata, expressions=False).replace(", ", "; ")


def sidecar_of(path: Path) -> Path:
    """JSON file beside a CSV file, which holds the metadata."""
    return path.with_suffix(".json") if path.suffix.lower() == ".csv" else path.with_name(path.name + ".json")


def write_sidecar(path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the metadata of a table in at most `MOST_BYTES` beside it; the rest goes to a file that tables share.

    The name of that file is its hash, so tables of one model and the same settings name the same one.
    """
    own = {name: value for name, value in metadata.items() if name in _OWN}
    rest = {name: value for name, value in metadata.items() if name not in _OWN}
    while True:
        content = dump(rest, indent=2) + b"\n"
        shared = path.with_name(f"_shared_{sha256(content).hexdigest()[:12]}.json")
        text = dump({**own, _SHARED: shared.name}, indent=2) + b"\n"
        movable = [name for name in own if name not in SUMMARY or isinstance(own[name], dict)]
        if len(text) <= MOST_BYTES or not movable:
            break
        largest = max(movable, key=lambda name: len(dump(own[name])))
        rest[largest] = own.pop(largest)
    for file, data in ((shared, content), (sidecar_of(path), text)):
        if file != shared or not _holds(file, data):
            with replacing(file) as out:
                out.write(data)


def load_sidecar(path: Path) -> dict[str, Any] | None:
    """What `write_sidecar` wrote; None if there is no JSON file.

    Raises:
        AnnotationError: The file that tables share is missing or damaged.
    """
    found = _parse(sidecar_of(path))
    if found is None:
        return None
    shared = _shared(path, found)
    if shared is not None:
        rest = _parse(shared)
        if rest is None or sha256(shared.read_bytes()).hexdigest()[:12] != shared.stem.removeprefix(
            "_shared_"
        ):
            raise AnnotationError(
                f"The metadata that {sidecar_of(path).name} shares with other tables are missing or damaged.",
                path=shared,
                remedy="Put the file beside the table again.",
            )
        del found[_SHARED]
        found = rest | found
    return found


def shared_of(path: Path) -> Path | None:
    """File with the metadata that a CSV table shares with others; None if there is none."""
    return _shared(path, _parse(sidecar_of(path)) or {})


def _shared(path: Path, found: Mapping[str, Any]) -> Path | None:
    name = found.get(_SHARED)
    return path.with_name(Path(name).name) if isinstance(name, str) else None


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Metadata of a CSV table of predictions; None if there are none of affectkit.

    Raises:
        AnnotationError: The file that tables share is missing or damaged.
    """
    found = load_sidecar(path)
    known = found is not None and isinstance(found.get("columns"), list) and {*SUMMARY} <= found.keys()
    return found if known else None


def is_ours(path: Path) -> bool:
    """Whether the JSON file beside a table was written by affectkit."""
    try:
        return read_sidecar(path) is not None
    except AnnotationError:  # it names a file that is missing
        return True


def _parse(path: Path) -> dict[str, Any] | None:
    """Object of a JSON file; None if it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has this content."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[File]:
    """Open a file that replaces another one when all of it is on the disk; several processes may do so at once."""
    unfinished = path.with_name(f"{path.name}.{uuid4().hex[:8]}.unfinished")
    try:
        with unfinished.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
