"""Cache of parsed annotations, outside the corpora; an entry is valid while its source files are unchanged."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["cache_folder", "fingerprint", "load_arrays", "save_arrays"]


def cache_folder() -> Path | None:
    """The folder `AFFECTKIT_CACHE`, by default `~/.cache/affectkit`; None (no cache) if the variable is empty."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "affectkit"
    chosen = os.environ.get("AFFECTKIT_CACHE", str(default))
    return Path(chosen).expanduser() if chosen else None


def fingerprint(kind: str, paths: Iterable[Path]) -> str:
    """Key of the present state of files: their paths, sizes and modification times.

    Args:
        kind: What is parsed, with the version of the parser.
        paths: Files or folders.
    """
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for path in paths:
        state = path.stat()
        digest.update(f"\n{path.absolute()}\t{state.st_size}\t{state.st_mtime_ns}".encode())
    return digest.hexdigest()


def load_arrays(key: str) -> dict[str, NDArray[Any]] | None:
    """Arrays saved under a key, or None."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        # numpy does not close an unreadable file that it has opened itself.
        with (folder / f"{key}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save_arrays(key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Save arrays under a key; a folder that is full or not writable is ignored."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # Written under another name first, so that concurrent readers never see a partial file.
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            try:
                np.savez_compressed(file, **cast("dict[str, Any]", arrays))
            except OSError:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(folder / f"{key}.npz")
