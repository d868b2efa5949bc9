"""Names for classes, so that a plain dict can say what to build and nothing else can be imported by it.

A saved model or a recipe names its parts by short strings. They are looked up here and only here: a file from
a stranger can choose among registered classes, but never make Python import a module of its choice. Classes register
themselves when their module is imported; an installed package names its modules as entry points of the group
`affectkit.plugins`.
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
"""Entry points of this group are modules to import, or objects in them, once a name is not known."""

_METHODS = "affectkit.methods"  # imported by name: lower layers must not know it
_lock = RLock()
_loaded = False


def load_plugins() -> None:
    """Import the methods that come with affectkit and the plug-ins that are installed, once.

    Registries do it by themselves before they say that a name is unknown.

    Raises:
        ConfigError: A plug-in cannot be imported.
    """
    global _loaded
    with _lock:
        if _loaded:
            return
        _loaded = True  # now, for what plug-ins look up while they are imported
        try:
            import_module(_METHODS)
            for plugin in entry_points(group=GROUP):
                try:
                    plugin.load()
                except Exception as error:  # a stranger's module may raise anything
                    raise ConfigError(
                        f"The plug-in {plugin.name!r} ({plugin.value}) cannot be imported: "
                        f"{type(error).__name__}: {error}",
                        remedy="Repair or uninstall the package it comes with.",
                    ) from error
        except BaseException:
            _loaded = False
            raise


def plain(value: object) -> Any:
    """Copy a configuration into dicts, lists, strings, numbers, booleans and None, as JSON has them.

    Args:
        value: Any nesting of mappings and sequences, OmegaConf's included.

    Raises:
        ConfigError: Something else is in it.

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
    """An allow-list of classes of one kind, each under one name.

    Args:
        kind: What the classes are, for messages: "backbone", "head", "loss".

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
        """Class decorator that files the class under `name`.

        Raises:
            ConfigError: The name is taken.
        """

        def file(cls: type[T]) -> type[T]:
            if name in self._classes:
                raise ConfigError(
                    f"The {self.kind} {name!r} is registered already.", remedy="Choose another name."
                )
            self._classes[name] = cls
            return cls

        return file

    def names(self) -> tuple[str, ...]:
        """The registered names, sorted; those of plug-ins among them."""
        load_plugins()
        return tuple(sorted(self._classes))

    def name_of(self, cls: type[T]) -> str:
        """The name under which `cls` is registered.

        Raises:
            ConfigError: It is not, so no configuration could name it.
        """
        for name, known in self._classes.items():
            if known is cls:
                return name
        raise ConfigError(
            f"{cls.__name__} is not a registered {self.kind}, so it cannot be named in a configuration.",
            remedy="Register the class under a name first.",
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
        """Construct the class that `config["type"]` names from the other entries of `config`.

        Args:
            config: `{"type": name, argument: value, ...}`, plain values only.
            injected: Arguments that the caller decides, such as widths; `config` may not set them.

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
        parameters = inspect.signature(cls).parameters
        open_to_config = [key for key in parameters if key not in injected]
        if unknown := sorted(set(arguments) - set(open_to_config)):
            raise ConfigError(
                f"The {self.kind} {name!r} has no argument {', '.join(map(repr, unknown))}.",
                remedy=f"It takes: {', '.join(open_to_config) or 'none'}.",
            )
        required = [key for key in open_to_config if parameters[key].default is inspect.Parameter.empty]
        if missing := [key for key in required if key not in arguments]:
            raise ConfigError(
                f"The {self.kind} {name!r} lacks {', '.join(map(repr, missing))}.",
                remedy="Add it to the config.",
            )
        return cls(**arguments, **injected)
