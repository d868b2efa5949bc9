"""Annotation of clips in JSON Lines, one object per clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from affectkit.errors import AffectKitError, AnnotationError, DatasetNotFoundError

__all__ = ["read_by_clip"]

Parsed = TypeVar("Parsed")


def read_by_clip(
    path: str | Path, parse: Callable[[Any], tuple[str, Parsed]], *, what: str, remedy: str
) -> dict[str, Parsed]:
    """Read JSON Lines with one object per clip; empty lines are ignored.

    Args:
        path: The file.
        parse: Returns the name of the clip and its annotation for an object. It raises ValueError, or an
            `AffectKitError` with a remedy of its own, for a damaged one.
        what: Content of the file, for errors: "captions".
        remedy: What a line looks like.

    Returns:
        Annotations by clip.

    Raises:
        DatasetNotFoundError: The file does not exist.
        AnnotationError: A line is damaged, or a clip has two; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetNotFoundError(f"There is no file with {what}.", path=path, remedy=remedy)
    found: dict[str, Parsed] = {}
    # Not `splitlines`: JSON may hold the line separators of Unicode in its texts.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            clip, annotation = parse(json.loads(line))
        except AffectKitError as error:
            raise AnnotationError(error.fault, path=path, line=number, remedy=error.remedy) from error
        except ValueError as error:
            raise AnnotationError(f"{error}.", path=path, line=number, remedy=remedy) from error
        if clip in found:
            fault = f"The clip {clip!r} has {what} in an earlier line too."
            raise AnnotationError(fault, path=path, line=number, remedy="Keep one of them.")
        found[clip] = annotation
    return found
