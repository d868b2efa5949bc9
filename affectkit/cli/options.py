"""Check of option names, on the command line and in recipes, before Lightning is imported.

The command line's parser imports Lightning and every class of a recipe, which takes seconds. This check reads the names
of their options from the source in milliseconds. It leaves every value, and classes with unreadable signatures, to the
parser.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

import affectkit
from affectkit.cli.recipe import compose, find_recipe
from affectkit.errors import ConfigError, MissingDependencyError, did_you_mean
from affectkit.registry import GROUP

__all__ = ["LOGGERS", "check_class", "check_options", "parameters_of", "root_options"]

_HOME = Path(affectkit.__file__).parent
# Packages whose classes recipes may name without a module.
_PACKAGES = (
    *(f"affectkit.{name}" for name in ("tasks", "datamodules", "models", "losses", "data")),
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    *(f"affectkit.methods.{file.parent.name}" for file in sorted(_HOME.glob("methods/*/__init__.py"))),
)
_DATAMODULES = ("CorpusDataModule", "FoldDataModule", "RenderedDataModule", "SingleDataModule")
_CLASSES = {
    "trainer": "lightning.pytorch.Trainer",
    "results": "affectkit.tasks.ResultsWriter",
    "predictions": "affectkit.tasks.PredictionsWriter",
}
_ROOT = {"config", "imports", "logger", "seed_everything", "model", "data", *_CLASSES}
LOGGERS = ("csv", "tensorboard", "wandb")
"""Values of `--logger`."""
_SPECIAL = {"class_path", "init_args", "dict_kwargs", "help"}
_GIVEN = {"self", "model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}

Place = tuple[str, ...]
Names = frozenset[str] | None  # None if unknown


def check_options(command: str | None, args: Sequence[str]) -> None:
    """Raise `ConfigError` for an option that does not exist.

    Args:
        command: `fit`, `validate`, `test` or `predict`; None for commands that only build a recipe.
        args: `--config` with recipes, and options that override them.
    """
    if args and not args[0].startswith("-"):
        raise ConfigError(
            f"`affectkit {command}` does not take the argument {args[0]!r}.",
            remedy=f"Write --config {args[0]}, or --OPTION VALUE.",
        )
    tree = _Tree(command)
    tree.has_imports |= any(argument.partition("=")[0] == "--imports" for argument in args)
    for index, argument in enumerate(args):
        option, equals, value = argument.partition("=")
        given = value if equals else next(iter(args[index + 1 :]), None)
        if option in ("-c", "--config"):
            if given is None:
                return  # the parser reports the missing value
            recipe = compose(find_recipe(given))
            tree.has_imports |= isinstance(recipe, yaml.MappingNode) and any(
                key.value == "imports" for key, _ in recipe.value
            )
            tree.read(recipe, ())
        elif option.startswith("--") and not option.startswith("--print_"):
            tree.override(option, given)


def root_options(command: str | None) -> Names:
    """Names of the options outside any class; None if Lightning's source cannot be read."""
    if command is None:
        return frozenset(_ROOT)
    trainer = _find("lightning.pytorch.Trainer")
    run = None if trainer is None else _method(trainer[1], command)
    return None if run is None else frozenset(_ROOT | _arguments(run) - _GIVEN)


class _Tree:
    """Classes and their options at each place of a configuration, as recipes and overrides are read in order."""

    def __init__(self, command: str | None) -> None:
        self.known: dict[Place, tuple[str, Names]] = {(): ("", root_options(command))}
        for key, name in _CLASSES.items():
            self._enter((key,), name)
        self.fixed = set(self.known)
        # Modules of one's own may hold classes whose names are similar to ours.
        self.has_imports = bool(entry_points(group=GROUP))

    def _enter(self, place: Place, name: str) -> None:
        self.known[place] = (name.rpartition(".")[2], parameters_of(name))

    def _forget(self, place: Place) -> None:
        """Forget the classes at a place and below it, because another value replaces them."""
        for one in [one for one in self.known if one[: len(place)] == place and one not in self.fixed]:
            del self.known[one]

    def override(self, option: str, value: str | None = None) -> None:
        """Check an option of the command line, and its value if it is a class."""
        keys = [key for key in option.removeprefix("--").removesuffix("+").split(".") if key != "init_args"]
        place: Place = ()
        for key in keys:
            if key in _SPECIAL:
                break
            self._check(key, place, f", in {option}")
            place += (key,)
        if keys[-1] == "class_path" or keys in (["model"], ["data"]):
            self._check_class(value or "")
        if keys == ["imports"]:
            self.has_imports = True
        if keys == ["logger"]:
            _check_logger(value or "")
        if keys[-1] != "help":
            self._forget(place)

    def read(self, node: yaml.Node | None, place: Place) -> None:
        """Check the keys of a recipe below a place and remember its classes."""
        if isinstance(node, yaml.SequenceNode):
            self._forget(place)
            for number, child in enumerate(node.value):
                self.read(child, (*place, f"[{number}]"))
        if not isinstance(node, yaml.MappingNode):
            return
        children = {key.value: child for key, child in node.value if isinstance(key, yaml.ScalarNode)}
        if isinstance(named := children.get("class_path"), yaml.ScalarNode):
            self._forget(place)
            self._check_class(named.value, path=Path(named.start_mark.name), line=named.start_mark.line + 1)
            self._enter(place, named.value)
        inner = children.get("init_args", node) if place not in self.fixed else node
        if "class_path" in children and inner is node:
            return
        for key, child in inner.value if isinstance(inner, yaml.MappingNode) else ():
            name = str(key.value).removesuffix("+")
            if name not in _SPECIAL:
                mark = key.start_mark
                location = {"path": Path(mark.name), "line": mark.line + 1}
                self._check(name, place, **location)
                if (*place, name) == ("logger",):
                    _check_logger(str(child.value), **location)
                self.read(child, (*place, name))

    def _check_class(self, name: str, **location: Any) -> None:
        if not self.has_imports:
            check_class(name, **location)

    def _check(self, key: str, place: Place, text: str = "", **location: Any) -> None:
        owner, names = self.known.get(place, ("", None))
        if names is None or key in names:
            return
        owner = f"{owner} ({'.'.join(place)})" if place else "the command"
        fault = f"There is no option {key!r} of {owner}{text}."
        raise ConfigError(fault, remedy=did_you_mean(key, names), **location)


def _check_logger(name: str, **location: Any) -> None:
    if name not in LOGGERS:
        raise ConfigError(f"There is no logger {name!r}.", remedy=did_you_mean(name, LOGGERS), **location)
    if name != "csv" and importlib.util.find_spec(name) is None:
        raise MissingDependencyError(
            f"The logger {name!r} needs the package {name}, which is not installed.",
            remedy=f"Install the extra: pip install 'affectkit[{name}]'.",
            **location,
        )


def check_class(name: str, **location: Any) -> None:
    """Raise `ConfigError` if a class is not found, but one of affectkit or Lightning has a similar name.

    Other names are left to the parser.

    Args:
        name: Class of a recipe, with or without its module.
        location: File and line for the error.
    """
    home, _, short = name.rpartition(".")
    if not home.startswith(("affectkit", "lightning.")) and home:
        return
    known = {one for module in ([home] if home in _PACKAGES else _PACKAGES) for one in _names(module)}
    known |= _datamodules()
    near = difflib.get_close_matches(short, known, n=1, cutoff=0.8)
    if near and short not in known and _find(name) is None:
        raise ConfigError(f"There is no class {name!r}.", remedy=f"Did you mean {near[0]}?", **location)


def _names(module: str) -> set[str]:
    """Names of the public classes of a module, its own and imported ones."""
    names = set()
    for node in _statements(module):
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if name[:1].isupper()}


def _datamodules() -> set[str]:
    """Names of the datamodules that are made from datasets."""
    modules = (f"affectkit.datasets.{file.stem}" for file in _HOME.glob("datasets/*.py"))
    classes = (node.name for one in modules for node in _statements(one) if isinstance(node, ast.ClassDef))
    return {f"{name.removesuffix('Dataset')}DataModule" for name in classes}


@cache
def parameters_of(name: str) -> Names:
    """Read the names of a class's options from its source.

    These are the parameters of `__init__`, with those that `**kwargs` passes on to base classes; None if unknown.

    Example:
        >>> sorted(parameters_of("EMA"))
        ['decay']
    """
    if name.endswith("DataModule"):  # made from the dataset of a corpus: BP4DDataModule from BP4D
        stem = name.removeprefix("affectkit.datamodules.").removesuffix("DataModule")
        for file in sorted(_HOME.glob("datasets/*.py")):
            for dataset in (stem, f"{stem}Dataset"):
                if found := _find(f"affectkit.datasets.{file.stem}.{dataset}"):
                    own = _parameters(*found)
                    modules = [_find(f"affectkit.datamodules.{kind}") for kind in _DATAMODULES]
                    inits = [_method(module[1], "__init__") for module in modules if module]
                    return None if own is None else own.union(*(_arguments(init) for init in inits if init))
    found = _find(name)
    return None if found is None else _parameters(*found)


def _parameters(module: str, node: ast.ClassDef) -> Names:
    init = _method(node, "__init__")
    names: frozenset[str] = frozenset()
    if init is not None:
        names = _arguments(init)
        if init.args.kwarg is None:
            return names
        # `**kwargs` must go to the base class and nowhere else.
        body, kwargs = "\n".join(map(ast.unparse, init.body)), init.args.kwarg.arg
        passed = re.findall(rf"super\(\)\.__init__\([^\n]*\*\*{kwargs}\)", body)
        if not passed or len(passed) < len(re.findall(rf"\b{kwargs}\b", body)):
            return None
    elif any("dataclass" in ast.unparse(one) for one in node.decorator_list):
        names = frozenset(ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign))
    for base in map(ast.unparse, node.bases):
        if base != "ABC":
            found = _find(f"{module}.{base}")
            inherited = None if found is None else _parameters(*found)
            if inherited is None:
                return None
            names |= inherited
    return names


def _arguments(function: ast.FunctionDef) -> frozenset[str]:
    args = function.args
    return frozenset(one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs)) - {"self"}


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


def _find(name: str) -> tuple[str, ast.ClassDef] | None:
    """Find the module that defines a class, and its definition."""
    home, _, short = name.rpartition(".")
    for module in [home] if home else _PACKAGES:
        for node in _statements(module):
            if isinstance(node, ast.ClassDef) and node.name == short:
                return module, node
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                for alias in node.names:
                    if short == (alias.asname or alias.name):
                        return _find(f"{node.module}.{alias.name}")
    return None


@cache
def _statements(module: str) -> list[ast.stmt]:
    """Statements of a module and those below `if`, read without importing more than its outermost package."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        place = Path(folder, *rest)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                body = ast.parse(file.read_text(encoding="utf-8")).body
                return [
                    one for node in body for one in (node, *(node.body if isinstance(node, ast.If) else ()))
                ]
    return []
