"""A folder of files, on disk or in any store that pyarrow reaches by a URI."""

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
    """Files below one place, local or not.

    Args:
        location: A path, or a URI of a file system that pyarrow knows: `file://`, `s3://`, `gs://`, `hdfs://`,
            `fsspec+…://`.

    Raises:
        ConfigError: There is no such file system, or it cannot be reached.
    """

    def __init__(self, location: str | Path) -> None:
        from pyarrow import fs

        self.location = str(location)
        if "://" in self.location:
            try:
                self.files, self.path = fs.FileSystem.from_uri(self.location)
            except (OSError, ValueError, ImportError) as error:
                remedy = "Give a path or a URI such as s3://bucket/folder."
                raise ConfigError(
                    f"It cannot be opened: {error}.", path=self.location, remedy=remedy
                ) from error
        else:
            self.files, self.path = fs.LocalFileSystem(), Path(location).expanduser().absolute().as_posix()
        if isinstance(self.files, fs.LocalFileSystem):
            self.files = fs.LocalFileSystem(use_mmap=True)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        """Other processes open the file system for themselves."""
        return Folder, (self.location,)

    def place(self, name: str) -> str:
        """Where a file is, for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def open(self, name: str) -> pa.NativeFile:
        """Open a file to read anywhere in it; memory-mapped where it is local."""
        return self.files.open_input_file(f"{self.path}/{name}")

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        try:
            with self.files.open_input_stream(f"{self.path}/{name}") as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file whole or not at all, whatever stood there before."""
        goal = f"{self.path}/{name}"
        partial = f"{goal}.{uuid.uuid4().hex}.partial"
        self.files.create_dir(goal.rpartition("/")[0], recursive=True)
        with self.files.open_output_stream(partial) as file:
            file.write(content)
        self.files.move(partial, goal)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        if self.size(name) is not None:
            self.files.delete_file(f"{self.path}/{name}")

    def names(self) -> list[str]:
        """What lies directly in the folder, but for hidden files; nothing where it does not exist."""
        from pyarrow import fs

        infos = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return [info.base_name for info in infos if not info.base_name.startswith(".")]

    def clear_partial(self) -> None:
        """Delete what killed processes left half written."""
        from pyarrow import fs

        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        for info in self.files.get_file_info(selector):
            if info.path.endswith(".partial"):
                self.files.delete_file(info.path)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        return self.sizes([name])[0]

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of several files, asked for at once."""
        infos = self.files.get_file_info([f"{self.path}/{name}" for name in names])
        return [int(info.size) if info.is_file else None for info in infos]
