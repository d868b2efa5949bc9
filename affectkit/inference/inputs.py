"""Paths, patterns and mistakes that users give as inputs."""

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

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a drive of Windows has one letter


def expand_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Resolve inputs to paths that exist; patterns such as `*.mp4` are expanded.

    Args:
        inputs: Paths and patterns. What exists under the very name is no pattern.

    Raises:
        VideoError: A file or folder does not exist, a link leads nowhere, no file matches a pattern, or the input is
            a URL, standard input, a pipe or a device.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("b.mp4", "a.mp4"):
        ...     (folder / name).touch()
        >>> [path.name for path in expand_inputs([folder / "*.mp4"])]
        ['a.mp4', 'b.mp4']
    """
    paths = []
    for given in map(str, inputs):
        if not given:
            raise VideoError(
                "The input is empty.", remedy="Give a file or folder; a variable of the shell may be unset."
            )
        paths += [Path(given)] if os.path.lexists(given) else _matches(given)
    for path in paths:
        _check_kind(path)
    return paths


def _matches(given: str) -> list[Path]:
    """The files that a pattern matches.

    Raises:
        VideoError: There is none, or it is no pattern.
    """
    if given == "-":
        raise VideoError(
            "Standard input is not supported.", path=given, remedy="Save it to a file, and give that."
        )
    if _URL.match(given):
        local = given.lower().startswith("file:")
        raise VideoError(
            "This is a URL, and only files are read.",
            path=given,
            remedy="Give the path without 'file://'." if local else "Download it first, and give the file.",
        )
    if any(character in given for character in "*?["):
        if found := sorted(glob.glob(given, recursive=True)):  # noqa: PTH207 - absolute ones as well
            return [Path(one) for one in found]
        raise VideoError(
            "No file matches this pattern.",
            path=given,
            remedy="Check the folder, the pattern and the suffix.",
        )
    try:
        Path(given).lstat()
    except PermissionError as fault:  # of a folder above it
        raise VideoError(unreachable(Path(given), fault), path=given, remedy="Check the rights.") from fault
    except (OSError, ValueError):
        pass
    raise VideoError("There is no such file or folder.", path=given, remedy="Check the path.")


def _check_kind(path: Path) -> None:
    """Refuse what is neither a file nor a folder; opening a pipe would block."""
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        raise VideoError(unreachable(path, fault), path=path, remedy="Check the path.") from fault
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise VideoError(
            "This is a pipe, socket or device, and only files are read.",
            path=path,
            remedy="Save its content to a file; for a camera, use --webcam.",
        )


def unreachable(path: Path, fault: OSError) -> str:
    """Say why a path leads nowhere.

    Args:
        path: A path that cannot be followed.
        fault: What the system says.
    """
    if isinstance(fault, FileNotFoundError) and path.is_symlink():
        return f"The link leads to {str(path.readlink())!r}, which does not exist."
    return f"It cannot be read: {fault.strerror or fault}."
