"""What is known about one clip before any frame is read."""

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
    """A clip's place on disk and its raw annotation; `None` means not annotated.

    Frame positions are zero-based positions in the media file (not numbers in file names). The record covers
    the frames `start` to `stop - 1`, the whole media when `stop` is `None`.

    Args:
        clip: Identifier, unique in the corpus.
        path: Video file, image file, or folder of images.
        subject: Who is seen.
        num_frames: Frames in the media, when the annotation says so.
        fps: Frames a second, for media that do not know it themselves.
        onset: First frame of the movement.
        apex: Frame of its greatest strength.
        offset: Last frame of the movement.
        start: First frame of the record.
        stop: One past its last frame.
        au: Action units as the coders wrote them.
        expression: Name of the expression as the corpus writes it.
        extra: Whatever else the corpus knows; plain values only.

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
        if self.start < 0 or (end is not None and end <= self.start):
            raise self._error(f"covers no frame (start {self.start}, stop {end})")
        if self.stop is not None and self.num_frames is not None and self.stop > self.num_frames:
            raise self._error(f"stops at frame {self.stop}, but its media has {self.num_frames}")
        known = [frame for frame in self.key_frames if frame is not None]
        if known != sorted(known):
            raise self._error("has onset, apex and offset out of order ({}, {}, {})".format(*self.key_frames))
        if known and (known[0] < self.start or (end is not None and known[-1] >= end)):
            raise self._error(f"has key frames {known} outside its frames {self.start} to {end}")

    @property
    def key_frames(self) -> tuple[int | None, int | None, int | None]:
        """Onset, apex and offset, as positions in the media."""
        return self.onset, self.apex, self.offset

    def _error(self, fault: str) -> AnnotationError:
        remedy = "Correct its frame numbers (zero-based positions), or leave unknown ones empty."
        return AnnotationError(f"Clip '{self.clip}' {fault}.", path=self.path, remedy=remedy)
