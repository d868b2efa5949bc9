"""Registry of rehearsals by the name of their corpus, filled by the modules of this folder and by plug-ins."""

from __future__ import annotations

import functools
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from affectkit.datasets import corpora
from affectkit.errors import ConfigError

__all__ = ["Size", "register", "rehearsals", "rehearse"]

Size = Literal["tiny", "small", "full"]
Writer = Callable[..., dict[str, Any]]

_WRITERS: dict[str, Writer] = {}


def register(name: str) -> Callable[[Writer], Writer]:
    """Decorate the function that writes a rehearsal.

    The function takes the folder to fill, the keywords `size`, `seed` and `media` of `rehearse`, and further keywords
    for variants of the corpus. It returns counts and labels. The decorated function makes the folder and writes these
    and the options to `rehearsal.json`, whose content it returns.

    Args:
        name: Name of the corpus, in lower case.
    """

    def decorate(write: Writer) -> Writer:
        signature = inspect.signature(write)

        @functools.wraps(write)
        def write_all(out: Path, **options: Any) -> dict[str, Any]:
            given = signature.bind(out, **options)
            given.apply_defaults()
            out.mkdir(parents=True, exist_ok=True)
            truths = write(*given.args, **given.kwargs)
            manifest = {"rendered": True, "corpus": corpora()[name].__name__, **given.kwargs, **truths}
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
        **options: Variants of the corpus, see the `write_…` function of its module.

    Returns:
        Counts, labels and options, as written to `rehearsal.json` in `out`.

    Raises:
        ConfigError: The corpus or an option is unknown, or `out` is not empty.
    """
    known = rehearsals()
    if name.lower() not in known:
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    write, out = known[name.lower()], Path(out)
    options = {"size": size, "seed": seed, "media": media, **options}
    hints = get_type_hints(write)
    for option, value in options.items():
        if option not in inspect.signature(write).parameters:
            choices = ", ".join(inspect.signature(write).parameters)
            raise ConfigError(
                f"The rehearsal of {name} has no option {option!r}.", remedy=f"Use one of: {choices}."
            )
        hint = hints.get(option)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ConfigError(
                f"Invalid {option}={value!r}.", remedy=f"Use one of: {', '.join(map(str, get_args(hint)))}."
            )
    if out.exists() and any(out.iterdir()):
        raise ConfigError("The folder is not empty.", path=out, remedy="Choose another folder or empty it.")
    return write(out, **options)
