"""Options, checks and output shared by several commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.cli.options import check_options, root_options
from affectkit.cli.parser import HelpFormatter, Parser, make_parser
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

    from affectkit.models import AffectModel

__all__ = [
    "HelpFormatter",
    "add_shared",
    "make_parser",
    "open_model",
    "parse_with_recipe",
    "print_notes",
    "progress",
    "progress_bar",
    "read_options",
    "refuse_options",
    "replacing",
    "writing",
]

_SHARED: dict[str, dict[str, Any]] = {
    "--backend": {"default": "auto", "choices": ("auto", "pyav", "decord"), "help": "video reader"},
    "--config": {"action": "append", "help": "recipe; a second one overlays the first"},
    "--engine": {"default": "processes", "choices": ("processes", "ray")},
    "--faces": {
        "help": "`mesh`, `centerface`, `center`, or a box `x,y,w,h` in pixels (default: mesh; center for models of "
        "whole pictures)"
    },
    "--fps": {"type": float, "metavar": "N", "help": "frames per second, if the clip does not state it"},
    "--model": {
        "required": True,
        "help": "folder or Hub name of a saved model, `demo`, or a .ckpt file of `affectkit fit`",
    },
    "--option": {"action": "append", "default": [], "metavar": "NAME=VALUE"},
    "--quiet": {"action": "store_true", "help": "no progress bar"},
    "--seed": {"type": int, "default": 0, "help": "seed of random numbers"},
}


def add_shared(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Add options that several commands have, with changed settings if any."""
    for name in names:
        flags = (name, "-c") if name == "--config" else (name,)
        parser.add_argument(*flags, **{**_SHARED[name], **changes})


def parse_with_recipe(parser: Parser, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the options of a command, and return its recipes and overrides as arguments of `launch`."""
    parser.check_names(args, root_options(None) or ())
    options, overrides = parser.parse_known_args(args)
    recipes = options.config or []
    recipe = [*(argument for name in recipes for argument in ("--config", name)), *overrides]
    if recipes:
        check_options(None, recipe)
    return options, recipe


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Read options given as `NAME=VALUE`; values are JSON, or else text.

    Example:
        >>> read_options(["kind=compound", "window=8"])
        {'kind': 'compound', 'window': 8}
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"The option {text!r} has no value.", remedy="Write --option NAME=VALUE.")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def open_model(name: str) -> AffectModel:
    """Open a saved model, or that of a checkpoint with its thresholds."""
    if name.endswith(".ckpt"):
        from affectkit.models.convert import model_of_checkpoint

        return model_of_checkpoint(Path(name))
    from affectkit.models import load

    return load(name)


def refuse_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace, names: Iterable[str], chosen: str
) -> None:
    """Raise `ConfigError` if an option without meaning for another one, `chosen`, differs from its default."""
    for name in names:
        if getattr(options, name) != parser.get_default(name):
            raise ConfigError(
                f"--{name.replace('_', '-')} does not go with {chosen}.", remedy="Leave one of them out."
            )


def progress_bar(quiet: bool, *columns: Any) -> Progress:
    """Make a progress bar on a terminal's stderr, with further columns before the remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)  # a file may be called "[b].mp4"
    console = Console(stderr=True)
    disable = quiet or not console.is_terminal
    bar = (text, BarColumn(), *columns, TimeRemainingColumn())
    return Progress(*bar, console=console, disable=disable, transient=True)


@contextmanager
def progress(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; the value is called with the finished frames and their total."""
    from rich.progress import TaskProgressColumn

    from affectkit.inference.wording import printable

    with progress_bar(quiet, TaskProgressColumn()) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the file system into one that names the file."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"Cannot write the file: {error.strerror or error}.",
            path=path,
            remedy="Choose a writable path with enough free space.",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the yielded path; it replaces `path` only when complete."""
    unfinished = path.with_name(f"{path.name}.part")
    yield unfinished
    unfinished.replace(path)


def print_notes(*notes: str | None) -> None:
    """Print notes on stderr, one per line; None and empty ones are skipped."""
    from affectkit.inference.wording import printable

    for note in filter(None, notes):
        print(f"note: {printable(note)}", file=sys.stderr)
