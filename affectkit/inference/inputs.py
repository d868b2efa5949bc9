"""Input paths and patterns of users."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affectkit.errors import VideoError

__all__ = ["expand_inputs", "unreachable"]

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # drive names of Windows have one letter


def expand_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Resolve inputs to existing paths and expand patterns such as `*.mp4`; an existing path is never a pattern.

    Raises:
        VideoError: A file or folder does not exist, a link is broken, no file matches a pattern, or the input is a
            URL, standard input, a pipe or a device.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("b.mp4", "a.mp4"):
        ...     (folder / name).touch()
        >>> [path.name for path in expand_inputs([folder / "*.mp4"])]
        ['a.mp4', 'b.mp4']
    """
    paths = []
    for given in map(str, inputs):
        paths += [Path(given)] if os.path.lexists(given) else _matches(given)
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as fault:
            raise VideoError(unreachable(path, fault), path=path, remedy="Check the path.") from fault
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would block
            raise VideoError(
                "This is a pipe, socket or device; only files are supported.",
                path=path,
                remedy="Save its content to a file; for a camera, use --webcam.",
            )
    return paths


def _matches(given: str) -> list[Path]:
    """Files that a pattern matches; raises VideoError if there are none."""
    fault, remedy = "There is no such file or folder.", "Check the path."
    if not given:
        fault, remedy = "The input is empty.", "Give a file or folder; a shell variable may be unset."
    elif given == "-":
        fault, remedy = "Standard input is not supported.", "Save it to a file, and give the file."
    elif _URL.match(given):
        fault, remedy = "URLs are not supported.", "Download the file first, and give its path."
        if given.lower().startswith("file:"):
            remedy = "Give the path without 'file://'."
    elif any(character in given for character in "*?["):
        if found := sorted(glob.glob(given, recursive=True)):  # noqa: PTH207 - absolute ones as well
            return [Path(one) for one in found]
        fault, remedy = "No file matches this pattern.", "Check the folder, the pattern and the suffix."
    else:
        try:
            Path(given).lstat()
        except PermissionError as error:  # of a folder above it
            fault, remedy = unreachable(Path(given), error), "Check the permissions."
        except (OSError, ValueError):
            pass
    raise VideoError(fault, path=given or None, remedy=remedy)


def unreachable(path: Path, fault: OSError) -> str:
    """Description of a system error for a path."""
    if isinstance(fault, FileNotFoundError) and path.is_symlink():
        return f"The link leads to {str(path.readlink())!r}, which does not exist."
    return f"It cannot be read: {fault.strerror or fault}."
