"""Registry of rehearsals by the name of their corpus, filled by the modules of this folder and by plug-ins."""

from __future__ import annotations

import functools
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from affectkit.datasets import corpora
from affectkit.errors import ConfigError

__all__ = ["Job", "Size", "register", "rehearsals", "rehearse"]

Size = Literal["tiny", "small", "full"]
Writer = Callable[..., dict[str, Any]]

_WRITERS: dict[str, Writer] = {}


@dataclass(frozen=True)
class Job:
    """Folder, size, seed and media of a rehearsal, see `rehearse`."""

    out: Path
    size: Size = "tiny"
    seed: int = 0
    media: bool = True

    @property
    def is_full(self) -> bool:
        """True for the published numbers of people, clips and labels."""
        return self.size == "full"

    def rng(self, *key: int) -> np.random.Generator:
        """Random generator for a key of numbers."""
        return np.random.default_rng([self.seed, *key])


def register(name: str) -> Callable[[Writer], Writer]:
    """Decorate the function that writes a rehearsal.

    The function takes a `Job`, and keywords for variants of the corpus. It fills the folder and returns counts and
    labels. The decorated function takes the folder and, as keywords, the other fields of `Job` and the variants. It
    makes the folder, writes options, counts and labels to `rehearsal.json` and returns the content of this file.

    Args:
        name: Name of the corpus, in lower case.
    """

    def decorate(write: Writer) -> Writer:
        @functools.wraps(write)
        def write_all(
            out: Path, *, size: Size = "tiny", seed: int = 0, media: bool = True, **options: Any
        ) -> dict[str, Any]:
            out.mkdir(parents=True, exist_ok=True)
            job = Job(out, size, seed, media)
            given = inspect.signature(write).bind(job, **options)
            given.apply_defaults()
            chosen = {"size": size, "seed": seed, "media": media, **given.kwargs}
            truths = write(job, **given.kwargs)
            manifest = {"rendered": True, "corpus": corpora()[name].__name__, **chosen, **truths}
            text = json.dumps(manifest, indent=1)
            (out / "rehearsal.json").write_text(text + "\n", encoding="utf-8")
            read: dict[str, Any] = json.loads(text)
            return read

        _WRITERS[name] = write_all
        return write_all

    return decorate


@functools.cache
def _import_all() -> None:
    package = import_module("affectkit.rehearse")
    for module in pkgutil.iter_modules(package.__path__, "affectkit.rehearse."):
        import_module(module.name)


def rehearsals() -> Mapping[str, Writer]:
    """All rehearsals by the name of their corpus, in alphabetical order."""
    corpora()  # imports plug-ins
    _import_all()
    return dict(sorted(_WRITERS.items()))


def rehearse(
    name: str, out: str | Path, *, size: Size = "tiny", seed: int = 0, media: bool = True, **options: Any
) -> dict[str, Any]:
    """Write rendered faces in the layout of a corpus.

    Args:
        name: Name of the corpus; case is ignored.
        out: Folder to write; it must not exist or be empty.
        size: "full" has the published numbers of people, clips and labels; "small" and "tiny" have a few.
        seed: Seed of all random choices.
        media: Render images or videos; False writes the annotations only.
        **options: Variants of the corpus, see the `write_…` function in its module.

    Returns:
        Counts, labels and options, as written to `rehearsal.json` in `out`.

    Raises:
        ConfigError: The corpus or an option is unknown, or `out` is not empty.
    """
    known = rehearsals()
    if name.lower() not in known:
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    write, out = known[name.lower()], Path(out)
    hints = get_type_hints(write) | {"size": Size}
    for option, value in {**options, "size": size}.items():
        own = ["size", *list(inspect.signature(write).parameters)[1:]]
        if option not in own:
            fault = f"The rehearsal of {name} has no option {option!r}."
            raise ConfigError(fault, remedy=f"Use one of: {', '.join(own)}.")
        choices = get_args(hints.get(option)) if get_origin(hints.get(option)) is Literal else (value,)
        if value not in choices:
            remedy = f"Use one of: {', '.join(map(str, choices))}."
            raise ConfigError(f"Invalid {option}={value!r}.", remedy=remedy)
    if out.exists() and any(out.iterdir()):
        raise ConfigError("The folder is not empty.", path=out, remedy="Choose another folder or empty it.")
    return write(out, size=size, seed=seed, media=media, **options)
