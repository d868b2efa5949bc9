"""Errors raised on bad input.

Messages name the place (file, line or frame), the fault and the remedy, in one line. All derive from `AffectKitError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike

__all__ = [
    "AffectKitError",
    "AnnotationError",
    "ConfigError",
    "DatasetNotFoundError",
    "DivergenceError",
    "JobError",
    "LabelSpaceError",
    "MissingDependencyError",
    "StorageError",
    "SubjectLeakError",
    "VideoError",
    "WeightsError",
]


class AffectKitError(Exception):
    """Base class of all errors about user input.

    Args:
        fault: What is wrong, one sentence.
        path: Faulty file or folder.
        line: Line (or spreadsheet row) in `path`, from 1.
        frame: Frame in `path`, from 0.
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
        super().__init__(fault)
        self.fault = fault
        self.path = path
        self.line = line
        self.frame = frame
        self.remedy = remedy

    def __str__(self) -> str:
        place = [] if self.path is None else [str(self.path)]
        place += [] if self.line is None else [f"line {self.line}"]
        place += [] if self.frame is None else [f"frame {self.frame}"]
        text = f"{', '.join(place)}: {self.fault}" if place else self.fault
        return text if self.remedy is None else f"{text} {self.remedy}"


class DatasetNotFoundError(AffectKitError):
    """A corpus folder or a part of it is absent."""


class AnnotationError(AffectKitError):
    """An annotation file or cell is ambiguous or damaged."""


class LabelSpaceError(AffectKitError):
    """A label is unknown or duplicate, or two label sets do not fit together."""


class SubjectLeakError(AffectKitError):
    """A subject appears in more than one of train, validation and test."""


class VideoError(AffectKitError):
    """A video, image or frame folder cannot be opened or decoded."""


class StorageError(AffectKitError):
    """A folder or object storage cannot be reached, read or written."""


class WeightsError(AffectKitError):
    """A weight file is unsafe, damaged, or does not fit the model."""


class ConfigError(AffectKitError):
    """A recipe or an argument is unknown, or cannot be combined with others."""


class DivergenceError(AffectKitError):
    """A loss or a weight is no longer finite: training has diverged."""


class JobError(AffectKitError):
    """A process of a job has ended before the others."""


class MissingDependencyError(AffectKitError):
    """An optional package is not installed; the remedy names the extra."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Remedy for an unknown name: the most similar known one, or else all of them.

    Args:
        name: The unknown name.
        known: The names to choose from.
        otherwise: Remedy if none is similar; by default a list of all.

    Example:
        >>> did_you_mean("batchsize", ["batch_size", "seed"])
        'Did you mean batch_size?'
        >>> did_you_mean("x", ["seed", "batch_size"])
        'Choose one of: batch_size, seed.'
    """
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"Did you mean {near[0]}?"
    return otherwise or f"Choose one of: {', '.join(names)}."
