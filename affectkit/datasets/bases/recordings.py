"""The parsed annotation of recordings whose frames are coded one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectkit.datasets.reading.codes import frame_ranges

__all__ = ["UNKNOWN", "CodedCorpus", "Recording", "find_gaps", "pack", "unpack"]

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Recording:
    """The coded frames of one recording.

    Args:
        name: Name, unique in the corpus.
        subject: Who is seen; None where nobody says.
        frame_ids: int64 [N], label frames, ascending.
        codes: [N, C] by target, in the columns of `CodedCorpus.columns`: int8, `UNKNOWN` where not coded, or float32,
            NaN where not coded.
        coded: bool [N], which frames are coded by the corpus's own count; a clip holds only these, or none of them.
    """

    name: str
    subject: str | None
    frame_ids: NDArray[np.int64]
    codes: Mapping[str, NDArray[Any]]
    coded: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CodedCorpus:
    """The parsed annotation of a corpus.

    Args:
        revision: Which annotation it is.
        columns: Numbers of the action units by target.
        recordings: All recordings.
        warnings: What was odd but could be read, a line each.
        conflicts: Labels that contradict each other, a line each.
    """

    revision: str
    columns: Mapping[str, tuple[int, ...]]
    recordings: Sequence[Recording]
    warnings: Sequence[str] = field(default_factory=tuple)
    conflicts: Sequence[str] = field(default_factory=tuple)


def find_gaps(recording: Recording) -> Iterator[str]:
    """Frames between the first and the last coded one that are not coded."""
    frames = recording.frame_ids[recording.coded]
    if len(frames):
        every = np.arange(frames[0], min(frames[-1], frames[0] + 100_000))
        absent = np.setdiff1d(every, frames, assume_unique=True)
        if len(absent):
            yield f"{recording.name}: frames {frame_ranges(absent.tolist())} are not coded; no clip crosses them"


def pack(coded: CodedCorpus) -> dict[str, NDArray[Any]]:
    """A parsed annotation as arrays, which `save_arrays` keeps."""
    words = {
        "revision": coded.revision,
        "columns": {target: list(columns) for target, columns in coded.columns.items()},
        "recordings": [(r.name, r.subject, len(r.frame_ids)) for r in coded.recordings],
        "warnings": list(coded.warnings),
        "conflicts": list(coded.conflicts),
    }
    return {
        "words": np.array(json.dumps(words)),
        "frames": np.concatenate([recording.frame_ids for recording in coded.recordings]),
        "coded": np.concatenate([recording.coded for recording in coded.recordings]),
        **{f"codes {t}": np.concatenate([r.codes[t] for r in coded.recordings]) for t in coded.columns},
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> CodedCorpus:
    """The inverse of `pack`."""
    words = json.loads(str(arrays["words"]))
    columns = {target: tuple(units) for target, units in words["columns"].items()}
    ends = np.cumsum([length for _, _, length in words["recordings"]])
    recordings = [
        Recording(
            name,
            subject,
            arrays["frames"][end - length : end],
            {target: arrays[f"codes {target}"][end - length : end] for target in columns},
            arrays["coded"][end - length : end],
        )
        for (name, subject, length), end in zip(words["recordings"], ends, strict=True)
    ]
    return CodedCorpus(words["revision"], columns, recordings, words["warnings"], words["conflicts"])
