"""Where a movement lies among the frames that are on disk, and which of its frames are not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectkit.data.record import ClipRecord
from affectkit.data.video import Backend, open_video
from affectkit.datasets.bases.movements import Movement
from affectkit.datasets.reading.codes import frame_ranges
from affectkit.datasets.reading.folders import list_frames
from affectkit.datasets.reading.image_folders import image_fault
from affectkit.errors import VideoError

__all__ = ["Placement", "media_faults", "place_movement"]


@dataclass(frozen=True)
class Placement:
    """Where a movement is.

    Args:
        fields: Those of its `ClipRecord`.
        files: The images of its folder, in order; None where there is no folder.
        no_apex: Why its apex cannot be used although it is annotated.
        notes: What is not as annotated, a line each.
    """

    fields: Mapping[str, Any]
    files: list[Path] | None = None
    no_apex: str | None = None
    notes: tuple[str, ...] = ()


def place_movement(movement: Movement, path: Path) -> Placement:
    """Find a movement's frames.

    Args:
        movement: With frame numbers as files have them; without, it takes all that is there.
        path: Its folder or video, of which frame 1 is the first.
    """
    if not path.exists():
        return Placement({"path": path}, notes=("its frames are not there",))
    if path.is_file():
        return _in_video(movement, path)
    files = list_frames(path)
    numbers = list(files)
    first = numbers[0] if movement.onset is None and numbers else movement.onset or 0
    last = numbers[-1] if movement.offset is None and numbers else movement.offset or 0
    start, stop = bisect_left(numbers, first), bisect_right(numbers, last)
    if start == stop:
        notes = () if movement.onset is None else ("none of its frames is there",)
        return Placement({"path": path}, [], notes=notes)
    lost = movement.apex is not None and movement.apex not in files
    absent = _absent(movement.onset, movement.offset, numbers)
    return Placement(
        {
            "path": path,
            "num_frames": len(files),
            "start": start,
            "stop": stop,
            "onset": start,
            "apex": None if lost or movement.apex is None else numbers.index(movement.apex),
            "offset": stop - 1,
        },
        list(files.values()),
        f"frame {movement.apex} is not among the files" if lost else None,
        (f"frames {frame_ranges(absent)} are not there; the others are read",) if absent else (),
    )


def media_faults(
    record: ClipRecord, onset: int | None, offset: int | None, read: Sequence[Path], backend: Backend
) -> Iterator[str]:
    """What is wrong with the media of a movement, a line each.

    Args:
        record: The movement.
        onset: Number of its first frame, as annotated.
        offset: Number of its last frame.
        read: The images that are read, where it lies in a folder.
        backend: Reader of videos.
    """
    if not record.path.exists():
        yield "there is no such folder or file"
    elif record.path.is_file():
        try:
            with open_video(record.path, backend) as reader:
                there = reader.num_frames
        except VideoError as fault:
            yield fault.fault
            return
        if record.stop is not None and there < record.stop:
            yield f"it has {there} frames, and frame {record.stop} is annotated"
    else:
        files = list_frames(record.path)
        absent = _absent(onset, offset, list(files))
        if absent:
            yield f"frames {frame_ranges(absent)} are missing"
        elif not files:
            yield "there is no frame"
        for file in read:
            broken = image_fault(file)
            if broken is not None:
                yield f"{file.name} {broken}"


def _in_video(movement: Movement, path: Path) -> Placement:
    onset, apex, offset = (
        None if number is None else number - 1 for number in (movement.onset, movement.apex, movement.offset)
    )
    stop = None if offset is None else offset + 1
    places = {"start": onset or 0, "stop": stop, "onset": onset, "apex": apex, "offset": offset}
    return Placement({"path": path, **places})


def _absent(onset: int | None, offset: int | None, numbers: Sequence[int]) -> list[int]:
    """Numbers from onset to offset that no file has."""
    if onset is None or offset is None:
        return []
    return sorted(set(range(onset, offset + 1)) - set(numbers))
