"""Folder of files, local or in any store that pyarrow reaches by a URI."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Folder"]


class Folder:
    """Files below one location, local or remote.

    Args:
        location: A path, or a URI of a file system supported by pyarrow: `file://`, `s3://`, `gs://`, `hdfs://`,
            `fsspec+…://`.

    Raises:
        ConfigError: The file system does not exist or cannot be reached.
    """

    def __init__(self, location: str | Path) -> None:
        from pyarrow import fs

        self.location = str(location)
        if "://" in self.location:
            try:
                files, root = fs.FileSystem.from_uri(self.location)
            except (OSError, ValueError, ImportError) as error:
                remedy = "Give a path or a URI such as s3://bucket/folder."
                raise ConfigError(
                    f"It cannot be opened: {error}.", path=self.location, remedy=remedy
                ) from error
        else:
            files, root = fs.LocalFileSystem(), Path(location).expanduser().absolute().as_posix()
        if isinstance(files, fs.LocalFileSystem):
            files = fs.LocalFileSystem(use_mmap=True)
        self.files = fs.SubTreeFileSystem(root, files)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        """Other processes open the file system themselves."""
        return Folder, (self.location,)

    def place(self, name: str) -> str:
        """Location of a file, for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access, memory-mapped if it is local."""
        return self.files.open_input_file(name)

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None if it does not exist."""
        try:
            with self.files.open_input_stream(name) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write or replace a file atomically."""
        partial = f"{name}.{uuid.uuid4().hex}.partial"
        self.files.base_fs.create_dir(self.files.base_path + name.rpartition("/")[0], recursive=True)
        with self.files.open_output_stream(partial) as file:
            file.write(content)
        self.files.move(partial, name)

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        if self.sizes([name]) != [None]:
            self.files.delete_file(name)

    def names(self) -> list[str]:
        """Names directly in the folder, without hidden files; empty if it does not exist."""
        from pyarrow import fs

        infos = self.files.get_file_info(fs.FileSelector("", allow_not_found=True))
        return [info.base_name for info in infos if not info.base_name.startswith(".")]

    def clear_partial(self) -> None:
        """Delete unfinished files of killed processes."""
        from pyarrow import fs

        for info in self.files.get_file_info(fs.FileSelector("", recursive=True, allow_not_found=True)):
            if info.path.endswith(".partial"):
                self.files.delete_file(info.path)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Sizes of several files in bytes, requested at once; None for absent files."""
        return [int(info.size) if info.is_file else None for info in self.files.get_file_info(list(names))]
