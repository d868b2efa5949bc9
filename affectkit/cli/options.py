"""Check of option names, on the command line and in recipes, before Lightning is imported.

The parser of the command line needs Lightning and every class of a recipe, which takes seconds to import. The names of
their options can be read from the source in milliseconds. This check reports only what it is certain about: a class
whose signature cannot be read, and every value, is left to the parser.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import yaml

import affectkit
from affectkit.cli.recipe import compose, find_recipe
from affectkit.errors import ConfigError

__all__ = ["check_options", "parameters_of", "root_options"]

_METHODS = Path(affectkit.__file__).with_name("methods")
# Packages whose classes recipes may name without a module.
_PACKAGES = (
    "affectkit.tasks",
    "affectkit.datamodules",
    "affectkit.models",
    "affectkit.losses",
    "affectkit.data",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    *(
        f"affectkit.methods.{folder.name}"
        for folder in sorted(_METHODS.iterdir())
        if Path(folder, "__init__.py").is_file()
    ),
)
_DATASETS = Path(affectkit.__file__).with_name("datasets")
_DATAMODULES = (
    "affectkit.datamodules.CorpusDataModule",
    "affectkit.datamodules.FoldDataModule",
    "affectkit.datamodules.RenderedDataModule",
    "affectkit.datamodules.SingleDataModule",
)
_CLASSES: dict[tuple[str, ...], str] = {
    ("trainer",): "lightning.pytorch.Trainer",
    ("results",): "affectkit.tasks.ResultsWriter",
    ("predictions",): "affectkit.tasks.PredictionsWriter",
}
_ROOT = {"config", "imports", "seed_everything", "trainer", "model", "data", "results", "predictions"}
_SPECIAL = {"class_path", "init_args", "dict_kwargs", "help"}
_GIVEN = {"self", "model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}

Place = tuple[str, ...]


def check_options(command: str | None, args: Sequence[str]) -> None:
    """Refuse an option that does not exist.

    Args:
        command: `fit`, `validate`, `test` or `predict`; None for commands that only build a recipe.
        args: Arguments: `--config` with recipes, and options that override them.

    Raises:
        ConfigError: A recipe or an option does not exist.
    """
    known: dict[Place, frozenset[str] | None] = {(): root_options(command)}
    known |= {place: parameters_of(name) for place, name in _CLASSES.items()}
    classes = {place: name.rpartition(".")[2] for place, name in _CLASSES.items()}
    tree = _Tree(known, classes)
    position = 0
    while position < len(args):
        option, equals, value = args[position].partition("=")
        position += 1
        if option in ("-c", "--config"):
            if not equals and position == len(args):
                return  # the parser says that its value is missing
            path = find_recipe(value if equals else args[position])
            position += not equals
            tree.read(path)
        elif option.startswith("--") and not option.startswith("--print_"):
            tree.override(option)


def root_options(command: str | None) -> frozenset[str] | None:
    """Names of the options outside any class; None where Lightning's source cannot be read."""
    if command is None:
        return frozenset(_ROOT)
    found = _find("lightning.pytorch.Trainer")
    run = None if found is None else _function(found[1], command)
    return None if run is None else frozenset(_ROOT | _names(run) - _GIVEN)


class _Tree:
    """Options known at each place of a configuration, as recipes and overrides are read one after the other.

    Args:
        known: Names by place, None where they are unknown; places without an entry take any name.
        classes: Name of the class at a place, for errors.
    """

    def __init__(self, known: dict[Place, frozenset[str] | None], classes: dict[Place, str]) -> None:
        self.known = known
        self.classes = classes
        self.fixed = set(known)

    def read(self, path: Path) -> None:
        """Check the keys of a recipe and remember its classes."""
        self._walk(compose(path), ())

    def override(self, option: str) -> None:
        """Check an option of the command line."""
        keys = [key for key in option.removeprefix("--").removesuffix("+").split(".") if key != "init_args"]
        place: Place = ()
        for key in keys:
            if key in _SPECIAL:
                break
            self._check(key, place, option=option)
            place += (key,)
        if keys[-1] != "help":
            self._forget(place)

    def _walk(self, node: yaml.Node | None, place: Place) -> None:
        if isinstance(node, yaml.SequenceNode):
            self._forget(place)
            for number, child in enumerate(node.value):
                self._walk(child, (*place, f"[{number}]"))
        if not isinstance(node, yaml.MappingNode):
            return
        children = {key.value: child for key, child in node.value if isinstance(key, yaml.ScalarNode)}
        if isinstance(named := children.get("class_path"), yaml.ScalarNode):
            self._forget(place)
            self.known[place] = parameters_of(named.value)
            self.classes[place] = named.value.rpartition(".")[2]
        inner = children.get("init_args", node) if place not in self.fixed else node
        if "class_path" in children and inner is node:
            return
        for key, child in inner.value if isinstance(inner, yaml.MappingNode) else ():
            name = str(key.value).removesuffix("+")
            if name not in _SPECIAL:
                mark = key.start_mark
                self._check(name, place, path=Path(mark.name), line=mark.line + 1)
                self._walk(child, (*place, name))

    def _check(
        self, key: str, place: Place, *, option: str = "", path: Path | None = None, line: int | None = None
    ) -> None:
        names = self.known.get(place)
        if names is None or key in names:
            return
        owner = f"{self.classes[place]} ({'.'.join(place)})" if place else "the command"
        near = difflib.get_close_matches(key, names, n=1)
        raise ConfigError(
            f"There is no option {key!r} of {owner}" + (f", in {option}." if option else "."),
            path=path,
            line=line,
            remedy=f"Did you mean {near[0]}?" if near else f"Choose one of: {', '.join(sorted(names))}.",
        )

    def _forget(self, place: Place) -> None:
        """Forget the classes at a place and below it, which another value has replaced."""
        for one in [one for one in self.known if one[: len(place)] == place and one not in self.fixed]:
            del self.known[one]


@cache
def parameters_of(name: str) -> frozenset[str] | None:
    """Read the names of a class's options from its source.

    Args:
        name: Full name, or that of a class in one of the packages of recipes.

    Returns:
        The parameters of `__init__`, those that `**kwargs` passes on to base classes included; None where the source
        does not tell.

    Example:
        >>> sorted(parameters_of("EMA"))
        ['decay']
    """
    if name.endswith("DataModule") and (dataset := _dataset_of(name)) is not None:
        options = _parameters(*dataset)
        return None if options is None else options.union(*map(_own_parameters, _DATAMODULES))
    found = _find(name)
    return None if found is None else _parameters(*found)


def _dataset_of(name: str) -> tuple[str, ast.ClassDef] | None:
    """The dataset of a corpus, from which its datamodule is made: `BP4D` of `BP4DDataModule`."""
    stem = name.removeprefix("affectkit.datamodules.").removesuffix("DataModule")
    for file in sorted(_DATASETS.glob("*.py")):
        for dataset in (stem, f"{stem}Dataset"):
            if (found := _find(f"affectkit.datasets.{file.stem}.{dataset}")) is not None:
                return found
    return None


def _own_parameters(name: str) -> frozenset[str]:
    """The parameters that a class names itself."""
    found = _find(name)
    init = None if found is None else _function(found[1], "__init__")
    return frozenset() if init is None else _names(init) - {"self"}


def _parameters(module: str, node: ast.ClassDef) -> frozenset[str] | None:
    init = _function(node, "__init__")
    if init is not None:
        names = _names(init) - {"self"}
        if init.args.kwarg is None:
            return names
        if not _only_passed_on(init, init.args.kwarg.arg):
            return None
    else:
        dataclass = any("dataclass" in ast.unparse(one) for one in node.decorator_list)
        fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)] if dataclass else []
        names = frozenset(field.id for field in fields if isinstance(field, ast.Name))
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id == "ABC":
            continue
        found = _find(f"{module}.{base.id}") if isinstance(base, ast.Name) else None
        inherited = None if found is None else _parameters(*found)
        if inherited is None:
            return None
        names |= inherited
    return names


def _only_passed_on(init: ast.FunctionDef, kwargs: str) -> bool:
    """Whether `**kwargs` goes to `super().__init__` and nowhere else."""
    calls = [
        keyword.value
        for call in ast.walk(init)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__"
        for keyword in call.keywords
        if keyword.arg is None
    ]
    uses = [one for one in ast.walk(init) if isinstance(one, ast.Name) and one.id == kwargs]
    return bool(calls) and all(use in calls for use in uses)


def _names(function: ast.FunctionDef) -> frozenset[str]:
    args = function.args
    return frozenset(one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs))


def _function(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


def _find(name: str) -> tuple[str, ast.ClassDef] | None:
    """The module that defines a class, and its definition."""
    home, _, short = name.rpartition(".")
    for module in [home] if home else _PACKAGES:
        tree = _parse(module)
        for node in () if tree is None else _statements(tree.body):
            if isinstance(node, ast.ClassDef) and node.name == short:
                return module, node
            if source := _imported(node, short):
                return _find(source)
    return None


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those below `if` included: a class that is imported on first use is named there."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements(node.body)


def _imported(node: ast.stmt, name: str) -> str | None:
    """The full name of what a statement imports as `name`."""
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
        for alias in node.names:
            if name == (alias.asname or alias.name):
                return f"{node.module}.{alias.name}"
    return None


@cache
def _parse(module: str) -> ast.Module | None:
    for file in _files(module):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def _files(module: str) -> Iterator[Path]:
    """Where a module may be; only its outermost package is asked for, which imports nothing."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        place = Path(folder, *rest)
        yield place / "__init__.py"
        yield place.with_name(f"{place.name}.py")
