"""Measured signals on disk, one file per clip or recording."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from affectkit.errors import ConfigError

__all__ = ["SignalFiles", "media_state"]


def media_state(path: Path) -> str:
    """Size and modification time of a file or folder, to notice that it was replaced; empty if there is none."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size}-{state.st_mtime_ns}"


class SignalFiles:
    """Folder of measured signals; only the rows that a clip needs are read.

    A file holds `frames`, int64 [N] in ascending order, and a row per frame of every signal. Its metadata are the
    version of the measurement and the state of the media: files of another state count as absent.

    Args:
        folder: Created when the first file is written.
        version: Version of the measurement.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self.version = version

    def path(self, key: str) -> Path:
        """File of a clip or recording."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:24]
        return self.folder / digest[:2] / f"{digest[2:]}.safetensors"

    def frames(self, key: str, media: str) -> Tensor:
        """Measured frames of a clip or recording, int64 [N]; empty without a valid file."""
        try:
            with safe_open(self.path(key), framework="pt") as file:
                known = file.metadata() or {}
                if (known.get("version"), known.get("media")) == (self.version, media):
                    frames: Tensor = file.get_tensor("frames")
                    return frames
        except (OSError, SafetensorError):  # absent or damaged
            pass
        return torch.empty(0, dtype=torch.int64)

    def read(self, key: str, indices: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
        """Rows of the measured frames `indices`, by name."""
        wanted = torch.tensor(indices)
        with safe_open(self.path(key), framework="pt") as file:
            rows = torch.searchsorted(file.get_tensor("frames"), wanted)
            first, last = int(rows.min()), int(rows.max())
            return {name: file.get_slice(name)[first : last + 1][rows - first] for name in names}

    def write(self, key: str, media: str, indices: Sequence[int], values: Mapping[str, Tensor]) -> None:
        """Write or replace a file atomically.

        Raises:
            ConfigError: The folder is not writable.
        """
        path = self.path(key)
        content = save(
            {"frames": torch.tensor(indices), **values}, {"version": self.version, "media": media, "key": key}
        )
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            raise ConfigError(
                f"The signals cannot be written: {error.strerror or error}.",
                path=path,
                remedy="Name a writable folder with the option signals_root.",
            ) from error
