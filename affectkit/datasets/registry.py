"""Registry of corpora by name, filled by the modules of this folder and by plug-ins."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar, get_type_hints

from affectkit.datasets.bases.dataset import AffectDataset
from affectkit.registry import Registry

__all__ = ["corpora", "find_corpus", "keyword_options", "register"]

D = TypeVar("D", bound=AffectDataset)

_REGISTRY: Registry[AffectDataset] = Registry("corpus")


def register(cls: type[D]) -> type[D]:
    """Class decorator that registers a dataset for commands and recipes under its `name` in lower case.

    Raises:
        ConfigError: The name is taken.
    """
    _REGISTRY.register(cls.name.lower())(cls)
    return cls


def corpora() -> Mapping[str, type[AffectDataset]]:
    """All registered datasets by name, in alphabetical order."""
    _discover()
    return {name: _REGISTRY[name] for name in _REGISTRY.names()}


def find_corpus(name: str) -> type[AffectDataset]:
    """The dataset of a name; the case is ignored.

    Raises:
        ConfigError: There is no such dataset; lists the known ones.

    Example:
        >>> find_corpus("CASME2").licence
        'Research only, on a signed agreement with the Chinese Academy of Sciences.'
    """
    _discover()
    return _REGISTRY[name.lower()]


def keyword_options(cls: type) -> dict[str, inspect.Parameter]:
    """Keyword-only parameters of a dataset or datamodule, including those of its bases passed on as `**options`.

    Returns:
        Parameters by name, with resolved annotations.

    Example:
        >>> options = keyword_options(find_corpus("smic"))
        >>> options["part"].default, options["media"].default, options["cache"].default
        ('HS', 'auto', 'none')
    """
    found: dict[str, inspect.Parameter] = {}
    for init in (vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)):
        hints = get_type_hints(init)
        parameters = inspect.signature(init).parameters
        for name, parameter in parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                annotation = hints.get(name, parameter.annotation)
                found.setdefault(name, parameter.replace(annotation=annotation))
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


@functools.cache
def _discover() -> None:
    package = import_module("affectkit.datasets")
    for module in pkgutil.iter_modules(package.__path__, "affectkit.datasets."):
        if not module.ispkg:
            import_module(module.name)
