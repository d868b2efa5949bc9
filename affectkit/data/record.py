"""Annotation of one clip, without frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectkit.errors import AnnotationError
from affectkit.facs.coding import Coding

__all__ = ["ClipRecord"]


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """Path and raw annotation of a clip; None means not annotated.

    Frame positions are zero-based positions in the media file, not numbers in file names. The record covers the frames
    `start` to `stop - 1`, up to the end of the media if `stop` is None.

    Args:
        clip: Identifier, unique in the corpus.
        path: Video file, image file, or folder of images.
        subject: Identifier of the person.
        num_frames: Number of frames in the media, if annotated.
        fps: Frames per second, for media that do not store it.
        onset: First frame of the movement.
        apex: Strongest frame of the movement.
        offset: Last frame of the movement.
        start: First frame of the record.
        stop: One past the last frame of the record.
        au: Action units as coded.
        expression: Expression as spelled by the corpus.
        extra: Further annotation, plain values only.

    Raises:
        AnnotationError: The positions contradict each other.

    Example:
        >>> ClipRecord("s1/laugh", Path("s1/laugh.mp4"), subject="s1", onset=3, apex=9).key_frames
        (3, 9, None)
    """

    clip: str
    path: Path
    subject: str | None = None
    num_frames: int | None = None
    fps: float | None = None
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    start: int = 0
    stop: int | None = None
    au: Coding | None = None
    expression: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        end = self.num_frames if self.stop is None else self.stop
        known = [frame for frame in self.key_frames if frame is not None]
        if self.start < 0 or (end is not None and end <= self.start):
            fault = f"covers no frame (start {self.start}, stop {end})"
        elif self.stop is not None and self.num_frames is not None and self.stop > self.num_frames:
            fault = f"stops at frame {self.stop}, but its media has {self.num_frames}"
        elif known != sorted(known):
            fault = "has onset, apex and offset out of order ({}, {}, {})".format(*self.key_frames)
        elif known and (known[0] < self.start or (end is not None and known[-1] >= end)):
            fault = f"has key frames {known} outside its frames {self.start} to {end}"
        else:
            return
        remedy = "Correct its frame numbers (zero-based positions), or leave unknown ones empty."
        raise AnnotationError(f"Clip '{self.clip}' {fault}.", path=self.path, remedy=remedy)

    @property
    def key_frames(self) -> tuple[int | None, int | None, int | None]:
        """Onset, apex and offset, as positions in the media."""
        return self.onset, self.apex, self.offset
