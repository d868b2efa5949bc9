"""`affectkit recipe`: the recipes of affectkit, and the composition of a recipe from pieces.

Any mapping of a recipe may begin with `include: [trainer/standard, …]`. The named files are merged there in their
order, and then the mapping's own keys.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import yaml

import affectkit
from affectkit.cli.parser import Parser
from affectkit.errors import ConfigError, did_you_mean

__all__ = ["as_text", "compose", "find_recipe", "recipe_folder", "recipe_names", "run"]

_PIECE = "# Piece: "  # first characters of a file that is only included by others


def recipe_folder() -> Path:
    """Folder of the recipes: package data in a wheel, `recipes/` beside the package in a checkout."""
    package = Path(affectkit.__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def recipe_names() -> list[str]:
    """Names such as `joint/demo`, sorted, with overlays and without pieces."""
    return [name for name, first in _first_lines().items() if not first.startswith(_PIECE)]


def _first_lines() -> dict[str, str]:
    """First line of every file by its name, sorted."""
    folder = recipe_folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8").partition("\n")[
            0
        ]
        for path in sorted(folder.rglob("*.yaml"))
    }


def find_recipe(name: str) -> Path:
    """Find a recipe by its path, or by a name with or without a leading `recipes/` and a trailing `.yaml`."""
    if (found := _find(name, Path())) is not None:
        return found
    short = name.removeprefix("recipes/").removesuffix(".yaml")
    same = [known for known in recipe_names() if known.partition("/")[2] == short]
    otherwise = "Give a YAML file, or a name from `affectkit recipe list`."
    remedy = f"Did you mean {' or '.join(same)}?" if same else did_you_mean(short, recipe_names(), otherwise)
    raise ConfigError(f"There is no recipe {name!r}.", remedy=remedy)


def _find(name: str, folder: Path) -> Path | None:
    shipped = recipe_folder() / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    return next((path for path in (folder / name, shipped) if path.is_file()), None)


def as_text(node: yaml.Node | None) -> str:
    """Write a recipe as YAML."""
    return "" if node is None else yaml.serialize(node, Dumper=yaml.SafeDumper, width=118, allow_unicode=True)


def compose(path: Path, chain: tuple[Path, ...] = ()) -> yaml.Node | None:
    """Read a recipe and replace every `include` by the files that it names.

    Mappings are merged key by key. Any other value, and a mapping with another `class_path`, replaces the earlier one.
    Files are included by their path from the folder of `path`, or by name; `chain` are the files that include it.

    Returns:
        The tree, None for an empty file. Every node knows its file and line.
    """
    with path.open(encoding="utf-8") as stream:  # the nodes keep its name
        loader = yaml.SafeLoader(stream)
        try:
            node = loader.get_single_node()
            for one in _mappings(node):
                _check_keys(one, path)
            for one in _mappings(node):
                loader.flatten_mapping(one)  # replaces `<<` by its mapping
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            raise ConfigError(
                f"The file is no YAML: {error.problem}.",
                path=path,
                line=None if mark is None else mark.line + 1,
                remedy="Correct the line.",
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
            raise _fault(f"The key {key.value!r} is duplicated.", key, path, "Remove one of the two.")
        known.add(str(key.value))


def _fault(fault: str, node: yaml.Node, path: Path, remedy: str) -> ConfigError:
    return ConfigError(fault, path=path, line=node.start_mark.line + 1, remedy=remedy)


def _expanded(node: yaml.Node, path: Path, chain: tuple[Path, ...]) -> yaml.Node:
    """Copy a tree without `include` and without aliases."""
    if isinstance(node, yaml.SequenceNode):
        items = [_expanded(child, path, chain) for child in node.value]
        return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark, node.flow_style)
    if not isinstance(node, yaml.MappingNode):
        return copy.copy(node)
    pairs = {}  # by key, which `<<` may have given before
    base: yaml.Node | None = None
    for key, child in node.value:
        if key.value != "include":
            pairs[str(key.value)] = (copy.copy(key), _expanded(child, path, chain))
            continue
        is_list = isinstance(child, yaml.SequenceNode)
        if not is_list or not all(isinstance(name, yaml.ScalarNode) for name in child.value):
            raise _fault(
                "`include` is no list of names.", child, path, "Write `include: [trainer/standard]`."
            )
        for name in child.value:
            piece = _included(name, path, chain)
            base = piece if base is None else _merged(base, piece)
    own = yaml.MappingNode(node.tag, [*pairs.values()], node.start_mark, node.end_mark, node.flow_style)
    return own if base is None else _merged(base, own)


def _included(name: yaml.ScalarNode, path: Path, chain: tuple[Path, ...]) -> yaml.Node:
    """Tree of a file under `include`."""
    found = _find(name.value, path.parent)
    if found is None:
        pieces = ", ".join(piece for piece, first in _first_lines().items() if first.startswith(_PIECE))
        remedy = f"Give a path from this file's folder, the name of a recipe, or one of: {pieces}."
        raise _fault(f"There is no file {name.value!r} to include.", name, path, remedy)
    if found.resolve() in chain:
        raise _fault(f"The file {name.value!r} includes itself.", name, path, "Remove it here.")
    node = compose(found, chain)
    if not isinstance(node, yaml.MappingNode):
        raise _fault(f"The file {name.value!r} is no mapping.", name, path, "Include files of options.")
    return node


def _merged(base: yaml.Node, over: yaml.Node) -> yaml.Node:
    if not isinstance(base, yaml.MappingNode) or not isinstance(over, yaml.MappingNode):
        return over
    first, second = ({str(key.value): (key, child) for key, child in one.value} for one in (base, over))
    classes = {str(pairs["class_path"][1].value) for pairs in (first, second) if "class_path" in pairs}
    if len(classes) > 1:
        return over
    for name, (key, child) in second.items():
        first[name] = (key, _merged(first[name][1], child) if name in first else child)
    flow = base.flow_style and over.flow_style
    return yaml.MappingNode(over.tag, [*first.values()], over.start_mark, over.end_mark, flow)


def run(args: Sequence[str]) -> int:
    """List, show or copy recipes."""
    parser = Parser(prog="affectkit recipe", description="The recipes of affectkit.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names and first lines")
    actions.add_parser("show", help="print a recipe").add_argument("name")
    copied = actions.add_parser("copy", help="copy a recipe with its pieces, for editing")
    copied.add_argument("name")
    copied.add_argument(
        "destination", nargs="?", type=Path, default=Path(), help="a file or folder (default: this folder)"
    )
    options = parser.parse_args(args)
    if options.action == "list":
        for name, first in _first_lines().items():
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
        raise ConfigError("The file already exists.", path=target, remedy="Use another name or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    head = takewhile(lambda line: line.startswith("#"), source.read_text(encoding="utf-8").splitlines())
    whole = re.sub(r"\n(?=\w)", "\n\n", as_text(compose(source)))  # a blank line between the sections
    target.write_text("\n".join([*head, whole]), encoding="utf-8")
    print(target)
