"""Corpora by name: every module of this folder, and every plug-in, registers the corpora that it defines."""

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
    """Class decorator that makes a dataset known to commands and recipes, by its `name` in lower case.

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
    """The dataset of a name, in any capitals.

    Raises:
        ConfigError: There is none; names those that are known.

    Example:
        >>> find_corpus("CASME2").licence
        'Research only, on a signed agreement with the Chinese Academy of Sciences.'
    """
    _discover()
    return _REGISTRY[name.lower()]


def keyword_options(cls: type) -> dict[str, inspect.Parameter]:
    """The keyword arguments of a class, its own and those that it passes on to its bases as `**options`.

    Args:
        cls: A dataset or a datamodule.

    Returns:
        Keyword-only parameters by name, their annotations resolved.

    Example:
        >>> options = keyword_options(find_corpus("smic"))
        >>> options["part"].default, options["media"].default, options["cache"].default
        ('HS', 'auto', 'none')
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is None:
            continue
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
