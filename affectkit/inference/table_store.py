"""Prediction tables in object storage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from affectkit.data.storage import Folder, cache_folder, split_location
from affectkit.errors import ConfigError
from affectkit.inference.formats import partial_of, sidecar

__all__ = ["TableStore"]

_REQUESTS = 16  # at once


class TableStore:
    """Tables in object storage, each written to a local folder and moved when it is complete.

    The local folder is in `~/.cache/affectkit/tables` (or in the folder `AFFECTKIT_CACHE`) and belongs to the
    location: unfinished tables stay there, and the same command continues them.

    Args:
        location: URI of a table or of a folder of tables, see `affectkit.data.storage.Folder`.

    Attributes:
        output: Local path of the table or folder, for `plan_tables`.

    Raises:
        ConfigError: The URI is invalid, or there is no cache.

    Methods raise `StorageError` if the storage cannot be reached, read or written.

    Example:
        >>> store = TableStore("fsspec+memory:///bucket/tables")
        >>> store.place(store.output / "talk.csv")
        'fsspec+memory:///bucket/tables/talk.csv'
    """

    def __init__(self, location: str) -> None:
        parent, name = split_location(location)
        self._files = Folder(parent)
        cache = cache_folder()
        if cache is None:
            fault = "Unfinished tables have no local folder: AFFECTKIT_CACHE is empty."
            raise ConfigError(fault, remedy="Set AFFECTKIT_CACHE to a folder, or unset it.")
        text = self._files.location
        digest = sha256(text.encode()).hexdigest()[:8]
        self._folder = (cache / "tables" / f"{re.sub(r'[^A-Za-z0-9]+', '-', text)[:80]}-{digest}").absolute()
        self.output = self._folder / name
        self._same: dict[Path, int] = {}  # modification times of files that equal those of the storage

    def place(self, path: Path) -> str:
        """URI of a local file, without keys."""
        return self._files.location if path == self._folder else self._files.place(self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def create(self, table: Path) -> None:
        """Create the folder of a table in the storage: a storage that cannot be written fails before hours of work."""
        self._files.create(self._name(table).rpartition("/")[0])

    def fetch(self, tables: Sequence[Path]) -> None:
        """Copy those tables from the storage that are not here.

        Raises:
            ConfigError: The local folder cannot be written.
        """
        absent = [table for table in tables if not (table.exists() or partial_of(table).exists())]
        try:
            with ThreadPoolExecutor(_REQUESTS) as pool:
                list(pool.map(self._fetch_table, absent))
        except OSError as error:
            raise ConfigError(
                f"The local folder of unfinished tables cannot be written: {error.strerror or error}.",
                path=self._folder,
                remedy="Set AFFECTKIT_CACHE to a writable folder with enough free space.",
            ) from error

    def _fetch_table(self, table: Path) -> None:
        if self._fetch(table) and table.suffix.lower() == ".csv" and self._fetch(sidecar.sidecar_of(table)):
            shared = sidecar.shared_of(table)
            if shared is not None and shared not in self._same:
                self._fetch(shared)

    def _fetch(self, path: Path) -> bool:
        content = self._files.read(self._name(path))
        if content is None:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with sidecar.replacing(path) as file:
            file.write(content)
        self._same[path] = path.stat().st_mtime_ns
        return True

    def move(self, table: Path) -> None:
        """Move a complete table, with its metadata, to the storage; it comes last, so it is never without them."""
        beside, shared = sidecar.sidecar_of(table), sidecar.shared_of(table)
        for file in (shared, beside, table):
            if file is None or not file.exists():
                continue
            if not self._is_same(file):
                self._files.write(self._name(file), file.read_bytes())
                self._same[file] = file.stat().st_mtime_ns
        table.unlink()
        beside.unlink(missing_ok=True)

    def release(self, tables: Sequence[Path]) -> None:
        """Delete the local copies of tables that the storage holds."""
        for table in filter(self._is_same, tables):
            table.unlink()
            sidecar.sidecar_of(table).unlink(missing_ok=True)

    def _is_same(self, path: Path) -> bool:
        return path in self._same and path.exists() and path.stat().st_mtime_ns == self._same[path]
