"""What was parsed once is kept, outside the corpora, for as long as the files stay as they were."""

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
    """Where indices are kept: `AFFECTKIT_CACHE`, by default `~/.cache/affectkit`; None where it is set to nothing."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "affectkit"
    chosen = os.environ.get("AFFECTKIT_CACHE", str(default))
    return Path(chosen).expanduser() if chosen else None


def fingerprint(kind: str, paths: Iterable[Path]) -> str:
    """Name the present state of files: it changes with their paths, sizes and times of change.

    Args:
        kind: What is made of the files, and by which version.
        paths: The files or folders.
    """
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for path in paths:
        state = path.stat()
        digest.update(f"\n{path.absolute()}\t{state.st_size}\t{state.st_mtime_ns}".encode())
    return digest.hexdigest()


def load_arrays(key: str) -> dict[str, NDArray[Any]] | None:
    """What was kept under a key; None where nothing readable is."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        # Opened here, since numpy leaves a file that it cannot read open.
        with (folder / f"{key}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save_arrays(key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep arrays under a key; where that is impossible (no space, no rights), nothing is kept."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # Under another name first: what is found under the key is complete, whoever else writes it now.
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            try:
                np.savez_compressed(file, **cast("dict[str, Any]", arrays))
            except OSError:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(folder / f"{key}.npz")
