"""Corpora of `affectkit data` by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.datasets import AffectDataset, Corpus

__all__ = ["MANIFEST", "open_corpus", "open_dataset", "published"]

MANIFEST = "rehearsal.json"
"""File in the folder of a rehearsal with its true counts."""


def open_dataset(name: str, root: Path, options: Mapping[str, Any]) -> AffectDataset:
    """Open a registered dataset by its name in any capitals, with options of its class.

    Raises:
        ConfigError: The dataset or an option does not exist.
    """
    from affectkit.datasets import find_corpus
    from affectkit.datasets.registry import keyword_options

    cls = find_corpus(name)
    known = keyword_options(cls)
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(
            f"{name} does not have the option {', '.join(unknown)}.", remedy=f"Options: {', '.join(known)}."
        )
    return cls(root, **options)


def open_corpus(name: str, root: Path, options: Mapping[str, Any]) -> Corpus:
    """Open a dataset with published counts; raises as `open_dataset`."""
    if name not in (known := published()):
        raise ConfigError(f"Unknown corpus {name!r}.", remedy=f"Choose one of: {', '.join(known)}.")
    return cast("Corpus", open_dataset(name, root, options))


def published() -> list[str]:
    """Names of the datasets that are published corpora."""
    from affectkit.datasets import Corpus, corpora

    return [name for name, cls in corpora().items() if issubclass(cls, Corpus)]
