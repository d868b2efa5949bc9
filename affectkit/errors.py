"""The errors that affectkit raises on bad input.

Every message names the place (file, line or frame), the fault and the remedy, in that order, so that it can be
shown to a user as one line. All of them derive from `AffectKitError`.
"""

from __future__ import annotations

from os import PathLike

__all__ = [
    "AffectKitError",
    "AnnotationError",
    "ConfigError",
    "DatasetNotFoundError",
    "DivergenceError",
    "LabelSpaceError",
    "MissingDependencyError",
    "SubjectLeakError",
    "VideoError",
    "WeightsError",
]


class AffectKitError(Exception):
    """Base of all errors about what a user gave.

    Args:
        fault: What is wrong, one sentence.
        path: The file or folder at fault.
        line: One-based line (or spreadsheet row) in `path`.
        frame: Zero-based frame in `path`.
        remedy: What the user can do, one sentence.

    Example:
        >>> str(AffectKitError("Column 'path' is missing.", path="clips.csv", line=1, remedy="Add it."))
        "clips.csv, line 1: Column 'path' is missing. Add it."
    """

    def __init__(
        self,
        fault: str,
        *,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        frame: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.fault = fault
        self.path = path
        self.line = line
        self.frame = frame
        self.remedy = remedy
        super().__init__(fault)

    def __str__(self) -> str:
        place = [] if self.path is None else [str(self.path)]
        place += [] if self.line is None else [f"line {self.line}"]
        place += [] if self.frame is None else [f"frame {self.frame}"]
        text = f"{', '.join(place)}: {self.fault}" if place else self.fault
        return text if self.remedy is None else f"{text} {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep every field when the error crosses a process (data-loader workers)."""
        return (_rebuild, (type(self), self.fault, self.path, self.line, self.frame, self.remedy))


def _rebuild(
    kind: type[AffectKitError],
    fault: str,
    path: str | PathLike[str] | None,
    line: int | None,
    frame: int | None,
    remedy: str | None,
) -> AffectKitError:
    return kind(fault, path=path, line=line, frame=frame, remedy=remedy)


class DatasetNotFoundError(AffectKitError):
    """A corpus folder or one of its parts is absent."""


class AnnotationError(AffectKitError):
    """An annotation file or cell cannot be read without guessing."""


class LabelSpaceError(AffectKitError):
    """A label is unknown, doubled, or two label sets do not fit together."""


class SubjectLeakError(AffectKitError):
    """A subject stands in more than one of train, validation and test."""


class VideoError(AffectKitError):
    """A video, image or frame folder cannot be opened or decoded."""


class WeightsError(AffectKitError):
    """A weight file is unsafe, damaged, or does not fit the model."""


class ConfigError(AffectKitError):
    """A recipe or an argument names something that does not exist or cannot be combined."""


class DivergenceError(AffectKitError):
    """A loss or a weight is no longer finite: training has diverged."""


class MissingDependencyError(AffectKitError):
    """An optional package is needed; the remedy names the extra that brings it."""
