"""Folder of files, local or in any store that pyarrow reaches by a URI."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from affectkit.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Folder", "cache_folder", "join_location", "split_location"]

_REMEDIES: Final = (
    (
        "ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|INVALID_CLIENT_TOKEN|EXPIRED|MISSING_AUTH|HTTP status 403",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key with access to this folder.",
    ),
    ("Bucket '.*' not found|NO_SUCH_BUCKET", "Create the bucket or correct its name."),
    ("NETWORK_CONNECTION|curlCode", "Check the network and the endpoint, then run the same command again."),
)
_OTHER_REMEDY: Final = "Check the location, its permissions and the network, then run the same command again."


def join_location(location: str | Path, name: str) -> str:
    """Append a name to a path or URI, before the query of the URI.

    Example:
        >>> join_location("s3://bucket/crops?scheme=http", "casme2")
        's3://bucket/crops/casme2?scheme=http'
    """
    text = str(location)
    base, mark, query = text.partition("?") if "://" in text else (text, "", "")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


def split_location(uri: str) -> tuple[str, str]:
    """Split a URI into its folder and the last name, which is empty if the URI has a bucket only.

    Example:
        >>> split_location("s3://bucket/tables/a.csv?scheme=http")
        ('s3://bucket/tables?scheme=http', 'a.csv')
        >>> split_location("s3://bucket")
        ('s3://bucket', '')
    """
    base, mark, query = uri.partition("?")
    scheme, path = base.rstrip("/").split("://", 1)
    folder, _, name = path.rpartition("/")
    return (f"{scheme}://{folder}{mark}{query}", name) if folder else (uri, "")


def cache_folder() -> Path | None:
    """The folder `AFFECTKIT_CACHE`, by default `~/.cache/affectkit`; None (no cache) if the variable is empty."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "affectkit"
    chosen = os.environ.get("AFFECTKIT_CACHE", str(default))
    return Path(chosen).expanduser() if chosen else None


class Folder:
    """Files below one location, local or remote.

    Args:
        location: A path, or a URI of a file system supported by pyarrow: `file://`, `s3://`, `gs://`, `hdfs://`,
            `fsspec+…://`.

    Attributes:
        location: The same without a user name and password.

    Raises:
        ConfigError: The file system does not exist or the URI is invalid.

    All methods raise `StorageError` if a URI cannot be reached, read or written.
    """

    def __init__(self, location: str | Path) -> None:
        from pyarrow import fs

        self._uri = str(location)
        self.location = re.sub(r"(?<=://)[^/?]*@", "", self._uri)
        if "://" in self._uri:
            try:
                files, root = fs.FileSystem.from_uri(self._uri)
            except (OSError, ValueError, ImportError) as error:
                fault = f"It cannot be opened: {str(error).replace(self._uri, self.location)}."
                remedy = "Give a path or a URI such as s3://bucket/folder."
                raise ConfigError(fault, path=self.location, remedy=remedy) from error
        else:
            files, root = fs.LocalFileSystem(), Path(location).expanduser().absolute().as_posix()
        if isinstance(files, fs.LocalFileSystem):
            files = fs.LocalFileSystem(use_mmap=True)
        self.files = fs.SubTreeFileSystem(root, files)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        """Other processes open the file system themselves."""
        return Folder, (self._uri,)

    def place(self, name: str) -> str:
        """Location of a file, for messages."""
        return join_location(self.location, name)

    @contextmanager
    def _errors(self, name: str | None = None) -> Iterator[None]:
        """Convert errors of remote file systems, except for absent files."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if "://" not in self._uri:
                raise
            fault = str(error).splitlines()[0].rstrip(".") + "."
            known = (remedy for pattern, remedy in _REMEDIES if re.search(pattern, fault))
            path = self.location if name is None else self.place(name)
            raise StorageError(fault, path=path, remedy=next(known, _OTHER_REMEDY)) from error

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access, memory-mapped if it is local."""
        with self._errors(name):
            return self.files.open_input_file(name)

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None if it does not exist."""
        try:
            with self._errors(name), self.files.open_input_stream(name) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def create(self, name: str) -> None:
        """Create a folder below this one, or this one if `name` is empty."""
        with self._errors(name):
            self.files.base_fs.create_dir(self.files.base_path + name, recursive=True)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write or replace a file atomically."""
        partial = f"{name}.{uuid.uuid4().hex}.partial"
        self.create(name.rpartition("/")[0])
        with self._errors(name):
            with self.files.open_output_stream(partial) as file:
                file.write(content)
            self.files.move(partial, name)

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        if self.sizes([name]) != [None]:
            with self._errors(name):
                self.files.delete_file(name)

    def names(self) -> list[str]:
        """Names directly in the folder, without hidden files; empty if it does not exist."""
        from pyarrow import fs

        with self._errors():
            infos = self.files.get_file_info(fs.FileSelector("", allow_not_found=True))
        return [info.base_name for info in infos if not info.base_name.startswith(".")]

    def clear_partial(self) -> None:
        """Delete unfinished files of killed processes."""
        from pyarrow import fs

        with self._errors():
            for info in self.files.get_file_info(fs.FileSelector("", recursive=True, allow_not_found=True)):
                if info.path.endswith(".partial"):
                    self.files.delete_file(info.path)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Sizes of several files in bytes, requested at once; None for absent files."""
        with self._errors():
            infos = self.files.get_file_info(list(names))
        return [int(info.size) if info.is_file else None for info in infos]
