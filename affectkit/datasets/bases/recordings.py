"""Parsed annotation of recordings coded frame by frame."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from affectkit.datasets.reading.codes import CodeTable, frame_ranges
from affectkit.errors import AnnotationError

__all__ = [
    "NOT_CODED",
    "UNKNOWN",
    "CodedCorpus",
    "Recording",
    "add_table",
    "find_gaps",
    "join_tables",
    "pack",
    "unpack",
]

UNKNOWN = -1
NOT_CODED = 9
"""The code of coders for an unknown value."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Recording:
    """The coded frames of one recording.

    Args:
        name: Unique name.
        subject: The person; None if unknown.
        frame_ids: int64 [N], label frames, ascending.
        codes: [N, C] by target, in the order of `CodedCorpus.columns`: int8 with `UNKNOWN`, or float32 with NaN, for
            values that are not coded.
        coded: bool [N], frames that count as coded; the frames of a clip are all coded or all not coded.
    """

    name: str
    subject: str | None
    frame_ids: NDArray[np.int64]
    codes: Mapping[str, NDArray[Any]]
    coded: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CodedCorpus:
    """The parsed annotation of a corpus: see `Corpus`, and the action units of the codes by target (`columns`)."""

    revision: str
    columns: Mapping[str, tuple[int, ...]]
    recordings: Sequence[Recording]
    warnings: Sequence[str] = field(default_factory=tuple)
    conflicts: Sequence[str] = field(default_factory=tuple)


def add_table(tables: dict[K, CodeTable], key: K, table: CodeTable, warnings: list[str]) -> None:
    """Add a table under a key; a second one must be a copy of the first, and is warned of.

    Raises:
        AnnotationError: Two tables differ.
    """
    first = tables.setdefault(key, table)
    if first is not table:
        if not (
            np.array_equal(first.frame_ids, table.frame_ids) and np.array_equal(first.codes, table.codes)
        ):
            fault = f"It differs from {first.path}, which has the same name."
            raise AnnotationError(fault, path=table.path, line=1, remedy="Keep one of the files.")
        warnings.append(f"{table.path}: this is a copy of {first.path}")


def join_tables(
    name: str,
    subject: str,
    columns: Mapping[str, tuple[int, ...]],
    levels: Mapping[int, CodeTable],
    occurrence: CodeTable | None = None,
) -> Recording:
    """Join intensities by unit (`levels`) and `occurrence` of a recording by frame number.

    If there are columns "au", only the frames of `occurrence` count as coded.
    """
    sources: list[tuple[str, tuple[int, ...], CodeTable]]
    sources = [("intensity", (unit,), table) for unit, table in levels.items()]
    sources += [] if occurrence is None else [("au", occurrence.columns, occurrence)]
    frames = functools.reduce(np.union1d, [table.frame_ids for _, _, table in sources])
    codes = {t: np.full((len(frames), len(units)), UNKNOWN, dtype=np.int8) for t, units in columns.items()}
    for target, units, table in sources:
        rows = np.searchsorted(frames, table.frame_ids)
        kept = [column for column, unit in enumerate(units) if unit in columns[target]]
        values = table.codes[:, kept].astype(np.int8)
        places = [columns[target].index(units[column]) for column in kept]
        codes[target][rows[:, None], places] = np.where(values == NOT_CODED, UNKNOWN, values)
    coded = np.full(len(frames), "au" not in columns)
    if occurrence is not None:
        coded[np.searchsorted(frames, occurrence.frame_ids)] = True
    return Recording(name, subject, frames, codes, coded)


def find_gaps(recording: Recording) -> Iterator[str]:
    """Warnings of frames between the first and the last coded one that are not coded."""
    frames = recording.frame_ids[recording.coded]
    if len(frames):
        every = np.arange(frames[0], min(frames[-1], frames[0] + 100_000))
        absent = np.setdiff1d(every, frames, assume_unique=True)
        if len(absent):
            yield f"{recording.name}: frames {frame_ranges(absent)} are not coded; no clip crosses them"


def pack(coded: CodedCorpus) -> dict[str, NDArray[Any]]:
    """A parsed annotation as arrays for `save_arrays`."""
    recordings = coded.recordings
    sizes = [(r.name, r.subject, len(r.frame_ids)) for r in recordings]
    words = [coded.revision, dict(coded.columns), sizes, list(coded.warnings), list(coded.conflicts)]
    return {
        "words": np.array(json.dumps(words)),
        "frames": np.concatenate([recording.frame_ids for recording in recordings]),
        "coded": np.concatenate([recording.coded for recording in recordings]),
        **{f"codes {t}": np.concatenate([r.codes[t] for r in recordings]) for t in coded.columns},
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> CodedCorpus:
    """The inverse of `pack`."""
    revision, columns, sizes, warnings, conflicts = json.loads(str(arrays["words"]))
    recordings, start = [], 0
    for name, subject, length in sizes:
        rows = slice(start, start + length)
        codes = {target: arrays[f"codes {target}"][rows] for target in columns}
        recordings.append(Recording(name, subject, arrays["frames"][rows], codes, arrays["coded"][rows]))
        start += length
    columns = {target: tuple(units) for target, units in columns.items()}
    return CodedCorpus(revision, columns, recordings, warnings, conflicts)
