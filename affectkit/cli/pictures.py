"""What the commands have in common that read media or draw them: progress, errors of writing, notes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.inference.pictures.clip_table import ClipTable

__all__ = ["media_of", "needed_media", "progress", "say", "writing"]


def media_of(clip: ClipTable, given: Path | None) -> Path | None:
    """The media of a table: what was given, or what the table names, if that is there.

    Raises:
        VideoError: What was given is not there.
        ConfigError: It is a pattern that several files match.
    """
    if given is not None:
        from affectkit.inference.sources import expand_inputs

        files = expand_inputs([given])
        if len(files) > 1:
            raise ConfigError(f"{len(files)} files match this.", path=given, remedy="Give one file.")
        return files[0]
    if clip.source is None:
        return None
    named = Path(clip.source)
    return named if named.exists() else None


def needed_media(clip: ClipTable, given: Path | None) -> Path:
    """The media of a table.

    Raises:
        ConfigError: Neither was it given, nor is there what the table names.
    """
    media = media_of(clip, given)
    if media is None:
        named = "names no media" if clip.source is None else f"names {clip.source!r}, which is not there"
        raise ConfigError(f"The table {named}.", path=clip.path, remedy="Give it with --input.")
    return media


@contextmanager
def progress(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar: what to call with the frames done and the number in all."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from affectkit.inference.wording import printable

    text = TextColumn("{task.description}", markup=False)  # a file may be called "[b].mp4"
    columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system refuses into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"This cannot be written: {error.strerror or error}.",
            path=path,
            remedy="Choose a place with room that you may write to.",
        ) from error


def say(notes: Iterable[str | None]) -> None:
    """Tell what a user should know."""
    from affectkit.inference.wording import printable

    for note in notes:
        if note:
            print(f"note: {printable(note)}", file=sys.stderr)
