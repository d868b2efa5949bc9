"""What the commands of `affectkit data` have in common: corpora by name, and their options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets import AffectDataset, Corpus

__all__ = ["MANIFEST", "add_option", "open_corpus", "open_dataset", "published", "read_options"]

MANIFEST = "rehearsal.json"
"""What a rehearsal knows about itself, in its folder."""


def add_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--option NAME=VALUE`, which may be repeated; `what` says whose options these are."""
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=f"option {what}")


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options given as `NAME=VALUE`; values are JSON, or else text.

    Raises:
        ConfigError: One has no value.

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


def open_dataset(name: str, root: Path, options: Mapping[str, Any]) -> AffectDataset:
    """A registered dataset.

    Args:
        name: Its name, in any capitals.
        root: Its folder.
        options: Those of its class.

    Raises:
        ConfigError: There is no such dataset, or it has no such option.
    """
    from affectkit.datasets import find_corpus
    from affectkit.datasets.registry import keyword_options

    cls = find_corpus(name)
    known = keyword_options(cls)
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(
            f"{name} does not have the option {', '.join(unknown)}.", remedy=f"It has: {', '.join(known)}."
        )
    return cls(root, **options)


def open_corpus(name: str, root: Path, options: Mapping[str, Any]) -> Corpus:
    """The same for a dataset with published counts.

    Raises:
        ConfigError: See `open_dataset`; or it has none.
    """
    if name not in (known := published()):
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    return cast("Corpus", open_dataset(name, root, options))


def published() -> list[str]:
    """Names of the datasets that are published corpora."""
    from affectkit.datasets import Corpus, corpora

    return [name for name, cls in corpora().items() if issubclass(cls, Corpus)]
