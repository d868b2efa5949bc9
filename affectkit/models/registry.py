"""Registry of the parts of models, by kind and name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from affectkit.errors import ConfigError
from affectkit.registry import Registry

__all__ = ["build", "find", "list_models", "name_of", "register"]

M = TypeVar("M")

_REGISTRIES: dict[str, Registry[Any]] = {
    kind: Registry(kind) for kind in ("backbone", "temporal", "head", "bridge", "converter")
}


def _registry(kind: str) -> Registry[Any]:
    if kind not in _REGISTRIES:
        raise ConfigError(f"Unknown kind of part: {kind!r}.", remedy=f"Known: {', '.join(_REGISTRIES)}.")
    return _REGISTRIES[kind]


def register(kind: str, name: str) -> Callable[[type[M]], type[M]]:
    """Class decorator that registers a part under `name`, its `type` in configurations and saved models.

    Args:
        kind: "backbone", "temporal", "head", "bridge" or "converter".
        name: A new name; a taken one raises ConfigError.
    """
    return _registry(kind).register(name)


def build(kind: str, config: Mapping[str, Any], **injected: Any) -> Any:
    """Build one part from `{"type": name, argument: value, ...}`.

    Args:
        kind: "backbone", "temporal", "head" or "bridge".
        config: The part's name and arguments; plain values only.
        injected: Arguments set by the caller (`in_features`, `spaces`), which `config` must not contain.

    Raises:
        ConfigError: The kind, type or an argument is unknown, or a required argument is missing.

    Example:
        >>> build("head", {"type": "au", "space": "AU1,AU12"}, in_features=8).labels
        ('AU1', 'AU12')
    """
    return _registry(kind).build(config, **injected)


def find(kind: str, name: str) -> type[Any]:
    """Class registered under `name`; raises ConfigError if there is none."""
    return _registry(kind)[name]


def list_models(kind: str) -> tuple[str, ...]:
    """Registered names of one kind, sorted.

    Example:
        >>> "timm" in list_models("backbone")
        True
    """
    return _registry(kind).names()


def name_of(kind: str, part: nn.Module) -> str:
    """Registered name of a part's class; raises ConfigError if the class is not registered."""
    return _registry(kind).name_of(type(part))
