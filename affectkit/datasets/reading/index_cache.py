"""Cache of parsed annotations, outside the corpora; an entry is valid while its source files are unchanged."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from affectkit.data.storage import cache_folder

__all__ = ["fingerprint", "load_arrays", "save_arrays"]

_DIGEST: Final = 16  # bytes at the end of a file, of all before them: zip archives do not notice all damage


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
    """Arrays saved under a key, or None if there are none or the file is damaged."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        content = (folder / f"{key}.npz").read_bytes()
    except OSError:
        return None
    archive, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.blake2b(archive, digest_size=_DIGEST).digest() != digest:
        return None
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return dict(arrays)


def save_arrays(key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Save arrays under a key; a folder that is full or not writable is ignored."""
    folder = cache_folder()
    if folder is None:
        return
    archive = io.BytesIO()
    np.savez_compressed(archive, **cast("dict[str, Any]", arrays))
    content = archive.getvalue()
    content += hashlib.blake2b(content, digest_size=_DIGEST).digest()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # Written under another name first, so that concurrent readers never see a partial file.
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(folder / f"{key}.npz")
