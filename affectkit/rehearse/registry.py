"""Rehearsals by the name of their corpus: every module of this folder, and every plug-in, registers its own."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from affectkit.datasets import corpora
from affectkit.errors import ConfigError

__all__ = ["Size", "Writer", "register", "rehearsals", "rehearse"]

Size = Literal["tiny", "small", "full"]
Writer = Callable[..., dict[str, Any]]

_WRITERS: dict[str, Writer] = {}


def register(name: str) -> Callable[[Writer], Writer]:
    """Decorator of the function that writes a rehearsal.

    It takes the empty folder to fill, `size`, `seed` and `media` (whether faces are rendered), and as further keywords
    the variants that the real corpus comes in. It returns the truths, which it writes as `rehearsal.json` too.

    Args:
        name: Name of the corpus, in lower case.
    """

    def file(writer: Writer) -> Writer:
        _WRITERS[name] = writer
        return writer

    return file


def rehearsals() -> Mapping[str, Writer]:
    """All rehearsals by the name of their corpus, in alphabetical order."""
    corpora()  # a plug-in brings both
    _discover()
    return dict(sorted(_WRITERS.items()))


def rehearse(
    name: str, out: str | Path, *, size: Size = "tiny", seed: int = 0, media: bool = True, **options: Any
) -> dict[str, Any]:
    """Write rendered faces in the layout of a corpus.

    Args:
        name: Name of the corpus, in any capitals.
        out: The folder to make.
        size: "full" has as many people, clips and labels as the real corpus.
        seed: Of every draw.
        media: Whether faces are rendered; else only the annotation is written.
        **options: Those of the layout.

    Returns:
        The truths, which lie in the folder as `rehearsal.json` too.

    Raises:
        ConfigError: There is no such rehearsal or option, or the folder is not empty.
    """
    known = rehearsals()
    if name.lower() not in known:
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    writer, out = known[name.lower()], Path(out)
    given = {"size": size, "seed": seed, "media": media, **options}
    hints = get_type_hints(writer)
    for option, value in given.items():
        if option not in inspect.signature(writer).parameters:
            remedy = f"It has: {', '.join(inspect.signature(writer).parameters)}."
            raise ConfigError(f"The rehearsal of {name} has no option {option!r}.", remedy=remedy)
        choices = get_args(hints.get(option)) if get_origin(hints.get(option)) is Literal else (value,)
        if value not in choices:
            remedy = f"Use one of: {', '.join(map(str, choices))}."
            raise ConfigError(f"{option}={value!r} is not known.", remedy=remedy)
    if out.exists() and any(out.iterdir()):
        raise ConfigError("The folder is not empty.", path=out, remedy="Give another folder, or empty it.")
    out.mkdir(parents=True, exist_ok=True)
    return writer(out, **given)


@functools.cache
def _discover() -> None:
    package = import_module("affectkit.rehearse")
    for module in pkgutil.iter_modules(package.__path__, "affectkit.rehearse."):
        if not module.ispkg:
            import_module(module.name)
