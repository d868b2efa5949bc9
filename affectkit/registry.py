"""Registries: allow-lists of classes, by which a saved model or a recipe names the parts to build.

A file can choose among registered classes only; it can never make Python import another module. Classes register when
their module is imported; installed packages name their modules as entry points of the group `affectkit.plugins`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from threading import RLock
from typing import Any, Generic, TypeVar

from affectkit.errors import ConfigError

__all__ = ["GROUP", "Registry", "load_plugins", "plain"]

T = TypeVar("T")

GROUP = "affectkit.plugins"
"""Group of entry points that are imported when a name is unknown."""

_METHODS = "affectkit.methods"  # imported by name: lower layers may not depend on it
_lock = RLock()
_loaded = False


def load_plugins() -> None:
    """Import the methods of affectkit and all installed plug-ins, once.

    Registries call this before they report an unknown name.

    Raises:
        ConfigError: A plug-in cannot be imported.
    """
    global _loaded
    with _lock:
        if _loaded:
            return
        _loaded = True  # plug-ins may look up names while they are imported
        try:
            import_module(_METHODS)
            for plugin in entry_points(group=GROUP):
                try:
                    plugin.load()
                except Exception as error:  # plug-ins may raise anything
                    raise ConfigError(
                        f"The plug-in {plugin.name!r} ({plugin.value}) cannot be imported: "
                        f"{type(error).__name__}: {error}",
                        remedy="Repair or uninstall its package.",
                    ) from error
        except BaseException:
            _loaded = False
            raise


def plain(value: object) -> Any:
    """Convert nested mappings and sequences, also of OmegaConf, to plain JSON types.

    Raises:
        ConfigError: A value has another type.

    Example:
        >>> plain({"sizes": (1, 2)})
        {'sizes': [1, 2]}
    """
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise ConfigError(
        f"{value!r} is a {type(value).__name__}, which a configuration cannot hold.",
        remedy="Use strings, numbers, booleans, lists and dicts only.",
    )


class Registry(Generic[T]):
    """An allow-list of classes of one kind by name.

    Args:
        kind: Kind of the classes, for messages: "backbone", "head", "loss".

    Example:
        >>> shapes: Registry[object] = Registry("shape")
        >>> @shapes.register("square")
        ... class Square:
        ...     def __init__(self, side: int) -> None:
        ...         self.side = side
        >>> shapes.build({"type": "square", "side": 3}).side
        3
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that registers a class as `name`.

        Raises:
            ConfigError: The name is already registered.
        """

        def decorate(cls: type[T]) -> type[T]:
            if name in self._classes:
                raise ConfigError(
                    f"The {self.kind} {name!r} is already registered.", remedy="Choose another name."
                )
            self._classes[name] = cls
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """Return all registered names, including plug-ins, sorted."""
        load_plugins()
        return tuple(sorted(self._classes))

    def name_of(self, cls: type[T]) -> str:
        """Return the name of a class.

        Raises:
            ConfigError: The class is not registered.
        """
        for name, known in self._classes.items():
            if known is cls:
                return name
        raise ConfigError(
            f"{cls.__name__} is not a registered {self.kind}, so a configuration cannot name it.",
            remedy="Register the class first.",
        )

    def __getitem__(self, name: str) -> type[T]:
        try:
            if name not in self._classes:
                load_plugins()
            return self._classes[name]
        except (KeyError, TypeError):
            raise ConfigError(
                f"There is no {self.kind} named {name!r}.", remedy=f"Known: {', '.join(self.names())}."
            ) from None

    def build(self, config: Mapping[str, Any], **injected: Any) -> T:
        """Construct the class named by `config["type"]` with the other entries of `config`.

        Args:
            config: `{"type": name, argument: value, ...}`, plain values only.
            injected: Arguments set by the caller, such as widths; `config` may not set them.

        Raises:
            ConfigError: The type or an argument is unknown, or a required argument is missing.
        """
        arguments = plain(config)
        if not isinstance(arguments, dict) or "type" not in arguments:
            raise ConfigError(
                f"A {self.kind} needs a 'type': {arguments!r}.", remedy=f"Known: {', '.join(self.names())}."
            )
        name = arguments.pop("type")
        cls = self[name]
        parameters = {k: p for k, p in inspect.signature(cls).parameters.items() if k not in injected}
        if unknown := sorted(set(arguments) - set(parameters)):
            raise ConfigError(
                f"The {self.kind} {name!r} has no argument {', '.join(map(repr, unknown))}.",
                remedy=f"It takes: {', '.join(parameters) or 'none'}.",
            )
        required = [
            key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty
        ]
        if missing := [key for key in required if key not in arguments]:
            raise ConfigError(
                f"The {self.kind} {name!r} lacks {', '.join(map(repr, missing))}.",
                remedy="Add it to the config.",
            )
        return cls(**arguments, **injected)
