"""What is odd about a copy of BP4D, by its own files and beside what is published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from affectkit.datasets.bases.recordings import Recording
from affectkit.datasets.reading.codes import CodeTable, frame_ranges
from affectkit.facs.sets import AUSet

__all__ = ["CODED", "ROWS", "TASKS", "find_conflicts", "find_gaps", "find_oddities", "find_uneven"]

CODED = frozenset(unit.id for unit in AUSet.parse("bp4d34"))

# Rows of the occurrence files, all sequences of a subject and all of a task together.
_SUBJECT_ROWS = {
    "F": (3934, 3937, 3700, 3737, 3915, 3576, 3573, 3695, 3297, 3266, 3732, 3543, 3434, 3490, 3451, 3510, 3823,
          3525, 3489, 3646, 3447, 3593, 3726),
    "M": (4153, 3833, 3379, 3521, 3271, 3572, 3684, 3291, 3290, 3298, 3469, 3609, 3613, 3483, 3664, 3648, 3542,
          3488),
}  # fmt: skip
ROWS = {
    f"{sex}{number:03d}": rows
    for sex, counts in _SUBJECT_ROWS.items()
    for number, rows in enumerate(counts, start=1)
}
TASKS = tuple(f"T{number}" for number in range(1, 9))


def find_gaps(recording: Recording) -> Iterator[str]:
    """Frames between the first and the last coded one that are not coded."""
    frames = recording.frames[recording.coded]
    if len(frames) == 0:
        return
    absent = np.setdiff1d(
        np.arange(frames[0], min(frames[-1], frames[0] + 100_000)), frames, assume_unique=True
    )
    if len(absent):
        yield f"{recording.name}: frames {frame_ranges(absent.tolist())} are not coded; no clip crosses them"


def find_conflicts(recording: Recording, columns: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Frames whose occurrence and intensity contradict each other."""
    for unit in sorted(set(columns.get("au", ())) & set(columns.get("intensity", ()))):
        present = recording.codes["au"][:, columns["au"].index(unit)]
        level = recording.codes["intensity"][:, columns["intensity"].index(unit)]
        weak, ghost = int(((present == 1) & (level == 0)).sum()), int(((present == 0) & (level > 0)).sum())
        if weak or ghost:
            yield (
                f"{recording.name} AU{unit}: {weak} frames with the unit and no intensity, {ghost} with an intensity "
                "and no unit"
            )


def find_oddities(
    occurrence: Mapping[str, CodeTable],
    intensity: Mapping[str, Mapping[int, CodeTable]],
    known: Mapping[str, set[int]],
    columns: Mapping[str, tuple[int, ...]],
) -> Iterator[str]:
    """What is there in some recordings and not in others."""
    for unit in sorted(set(columns.get("au", ())) - CODED):
        names = [name for name, units in known.items() if unit in units]
        yield f"AU{unit} is coded in {_some(names)}, though BP4D leaves it out"
    for unit in columns.get("au", ()):
        names = [name for name, units in known.items() if unit in CODED and unit not in units]
        if names:
            yield f"AU{unit} is unknown throughout {_some(names)}; it is masked there"
    silent = sorted(CODED - set(columns.get("au", CODED)))
    if silent:
        yield f"No occurrence file codes {_some([f'AU{unit}' for unit in silent])}; it is masked"
    if occurrence:
        names = sorted(set(intensity) - set(occurrence))
        if names:
            yield f"There is no occurrence file of {_some(names)}; it is masked there"
    for unit in columns.get("intensity", ()):
        names = sorted(name for name in {**occurrence, **intensity} if unit not in intensity.get(name, {}))
        if names:
            yield f"There is no intensity file of AU{unit} of {_some(names)}; it is masked there"
        names = sorted(
            name
            for name, tables in intensity.items()
            if unit in tables and not _same_frames(tables[unit], occurrence.get(name))
        )
        if names:
            yield f"The intensity of AU{unit} has other frames than the occurrence, or gaps, in {_some(names)}"


def _same_frames(level: CodeTable, occurrence: CodeTable | None) -> bool:
    frames = level.frames if occurrence is None else occurrence.frames
    return np.array_equal(level.frames, frames) and bool((np.diff(frames) == 1).all())


def find_uneven(recordings: Sequence[Recording]) -> Iterator[str]:
    """Subjects whose coded frames are not as many as published, and single recordings that are absent."""
    there = {recording.name: int(recording.coded.sum()) for recording in recordings}
    absent = sorted({f"{subject}_{task}" for subject in ROWS for task in TASKS} - there.keys())
    if 0 < len(absent) < len(there):
        yield f"There are no files of {_some(absent)}"
    for subject, published in ROWS.items():
        rows = [there.get(f"{subject}_{task}") for task in TASKS]
        found = sum(n for n in rows if n is not None)
        if None not in rows and found != published:
            yield f"{subject}: {found} coded frames, {published} are published"


def _some(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
