"""`affectkit recipe`: the recipes that come with affectkit, and the composition of a recipe from pieces.

Any mapping of a recipe may begin with `include: [trainer/standard, …]`. The files that it names are merged there, in
their order, and the mapping's own keys come last.
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import yaml

import affectkit
from affectkit.errors import ConfigError

__all__ = ["as_text", "compose", "find_recipe", "recipe_folder", "recipe_names", "run"]

_PIECE = "# Piece: "  # begins a file that is no recipe of its own


def recipe_folder() -> Path:
    """The folder of the recipes: package data in a wheel, `recipes/` beside the package in a checkout."""
    package = Path(affectkit.__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def recipe_names() -> list[str]:
    """Names such as `joint/demo`, sorted; overlays belong to them, pieces do not."""
    return [name for name, first in _first_lines() if not first.startswith(_PIECE)]


def _first_lines() -> Iterator[tuple[str, str]]:
    """The name and the first line of every file, sorted."""
    folder = recipe_folder()
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        yield name, path.read_text(encoding="utf-8").partition("\n")[0]


def find_recipe(name: str) -> Path:
    """Resolve what a user typed after `--config`: a file of their own, or the name of a shipped recipe.

    Args:
        name: A path, or a name with or without a leading `recipes/` and a trailing `.yaml`.

    Raises:
        ConfigError: Neither a file nor a recipe.
    """
    if (found := _find(name, Path())) is not None:
        return found
    raise ConfigError(
        f"No recipe {name!r}.", remedy=f"Give a YAML file, or one of: {', '.join(recipe_names())}."
    )


def _find(name: str, folder: Path) -> Path | None:
    shipped = recipe_folder() / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    return next((path for path in (folder / name, shipped) if path.is_file()), None)


def compose(path: Path) -> yaml.Node | None:
    """Read a recipe, every `include` replaced by the files that it names.

    Mappings are merged key by key. Any other value replaces the earlier one, and so does a mapping with another
    `class_path`.

    Args:
        path: A file. It includes others by their path from its folder, or by name as `find_recipe` finds them.

    Returns:
        The tree of the whole, None for an empty file. Every node knows the file and the line that it is from.

    Raises:
        ConfigError: A file is no YAML, includes itself, or includes what does not exist or is no mapping.
    """
    return _read(path, ())


def as_text(node: yaml.Node | None) -> str:
    """Write a recipe as YAML."""
    return "" if node is None else yaml.serialize(node, Dumper=yaml.SafeDumper, width=118, allow_unicode=True)


def _read(path: Path, chain: tuple[Path, ...]) -> yaml.Node | None:
    with path.open(encoding="utf-8") as stream:  # whose name the nodes keep
        loader = yaml.SafeLoader(stream)
        try:
            node = loader.get_single_node()
            for one in _mappings(node):
                _check_keys(one, path)
            for one in _mappings(node):
                loader.flatten_mapping(one)  # replaces `<<` by what it stands for
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise ConfigError(
                f"The file is no YAML: {error.problem}.",
                path=path,
                line=None if mark is None else mark.line + 1,
                remedy="Mend the line.",
            ) from error
    return None if node is None else _expanded(node, path, (*chain, path.resolve()))


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for one in child if isinstance(child, tuple) else (child,):
            yield from _mappings(one)


def _check_keys(node: yaml.MappingNode, path: Path) -> None:
    known: set[str] = set()
    for key, _ in node.value:
        if str(key.value) in known:
            raise ConfigError(
                f"The key {key.value!r} is there twice.",
                path=path,
                line=key.start_mark.line + 1,
                remedy="Remove one of the two.",
            )
        known.add(str(key.value))


def _expanded(node: yaml.Node, path: Path, chain: tuple[Path, ...]) -> yaml.Node:
    """A copy of a tree, without `include` and without aliases."""
    if isinstance(node, yaml.SequenceNode):
        items = [_expanded(child, path, chain) for child in node.value]
        return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark, node.flow_style)
    if not isinstance(node, yaml.MappingNode):
        return copy.copy(node)
    pairs = {}  # by key, which `<<` may have given before
    for key, child in node.value:
        if key.value != "include":
            pairs[str(key.value)] = (copy.copy(key), _expanded(child, path, chain))
    own = yaml.MappingNode(node.tag, [*pairs.values()], node.start_mark, node.end_mark, node.flow_style)
    base: yaml.Node | None = None
    for key, child in node.value:
        for name in _names(child, path) if key.value == "include" else ():
            piece = _included(name, path, chain)
            base = piece if base is None else _merged(base, piece)
    return own if base is None else _merged(base, own)


def _names(node: yaml.Node, path: Path) -> list[yaml.ScalarNode]:
    """The names under `include`."""
    names = [one for one in node.value if isinstance(one, yaml.ScalarNode)]
    if not isinstance(node, yaml.SequenceNode) or len(names) < len(node.value):
        raise ConfigError(
            "`include` is no list of names.",
            path=path,
            line=node.start_mark.line + 1,
            remedy="Write it as `include: [trainer/standard]`.",
        )
    return names


def _included(name: yaml.ScalarNode, path: Path, chain: tuple[Path, ...]) -> yaml.Node:
    """The tree of a file under `include`."""
    line = name.start_mark.line + 1
    found = _find(name.value, path.parent)
    if found is None:
        pieces = ", ".join(piece for piece, first in _first_lines() if first.startswith(_PIECE))
        raise ConfigError(
            f"There is no file {name.value!r} to include.",
            path=path,
            line=line,
            remedy=f"Give a path from this file's folder, the name of a recipe, or one of: {pieces}.",
        )
    if found.resolve() in chain:
        raise ConfigError(
            f"The file {name.value!r} includes itself.", path=path, line=line, remedy="Remove it here."
        )
    node = _read(found, chain)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"The file {name.value!r} is no mapping.",
            path=path,
            line=line,
            remedy="Include files of options.",
        )
    return node


def _merged(base: yaml.Node, over: yaml.Node) -> yaml.Node:
    if not isinstance(base, yaml.MappingNode) or not isinstance(over, yaml.MappingNode):
        return over
    first = {str(key.value): (key, child) for key, child in base.value}
    second = {str(key.value): (key, child) for key, child in over.value}
    classes = {str(pairs["class_path"][1].value) for pairs in (first, second) if "class_path" in pairs}
    if len(classes) > 1:
        return over
    for name, (key, child) in second.items():
        first[name] = (key, _merged(first[name][1], child) if name in first else child)
    flow = base.flow_style and over.flow_style
    return yaml.MappingNode(over.tag, [*first.values()], over.start_mark, over.end_mark, flow)


def run(args: Sequence[str]) -> int:
    """List, show or copy recipes."""
    parser = argparse.ArgumentParser(
        prog="affectkit recipe", description="The recipes that come with affectkit."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names and first lines")
    show = actions.add_parser("show", help="print one")
    show.add_argument("name")
    copied = actions.add_parser("copy", help="copy one, with what it includes, to edit it")
    copied.add_argument("name")
    copied.add_argument(
        "destination", nargs="?", type=Path, default=Path(), help="a file or folder (default: here)"
    )
    options = parser.parse_args(args)
    if options.action == "list":
        for name, first in _first_lines():
            if not first.startswith(_PIECE):
                print(f"{name:<28} {first.removeprefix('#').strip()}")
    elif options.action == "show":
        print(find_recipe(options.name).read_text(encoding="utf-8"), end="")
    else:
        _copy(find_recipe(options.name), options.destination)
    return 0


def _copy(source: Path, destination: Path) -> None:
    target = destination / source.name if destination.is_dir() else destination
    if target.exists():
        raise ConfigError("The file exists already.", path=target, remedy="Give another name or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    head = takewhile(lambda line: line.startswith("#"), source.read_text(encoding="utf-8").splitlines())
    whole = re.sub(r"\n(?=\w)", "\n\n", as_text(compose(source)))  # a blank line between the sections
    target.write_text("\n".join([*head, whole]), encoding="utf-8")
    print(target)
