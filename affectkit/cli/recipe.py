"""`affectkit recipe`: the recipes that come with affectkit, from a checkout or from an installed wheel."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import affectkit
from affectkit.errors import ConfigError

__all__ = ["find_recipe", "recipe_folder", "recipe_names", "run"]


def recipe_folder() -> Path:
    """The folder of the recipes: package data in a wheel, `recipes/` beside the package in a checkout."""
    package = Path(affectkit.__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def recipe_names() -> list[str]:
    """Names such as `joint/demo`, sorted; overlays under `trainer/` included."""
    folder = recipe_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Resolve what a user typed after `--config`: a file of their own, or the name of a shipped recipe.

    Args:
        name: A path, or a name with or without a leading `recipes/` and a trailing `.yaml`.

    Raises:
        ConfigError: Neither a file nor a recipe.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = recipe_folder() / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    if shipped.is_file():
        return shipped
    raise ConfigError(
        f"No recipe {name!r}.", remedy=f"Give a YAML file, or one of: {', '.join(recipe_names())}."
    )


def run(args: Sequence[str]) -> int:
    """List, show or copy recipes."""
    parser = argparse.ArgumentParser(
        prog="affectkit recipe", description="The recipes that come with affectkit."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="names and first lines")
    show = actions.add_parser("show", help="print one")
    show.add_argument("name")
    copy = actions.add_parser("copy", help="copy one to edit it")
    copy.add_argument("name")
    copy.add_argument(
        "destination", nargs="?", type=Path, default=Path(), help="a file or folder (default: here)"
    )
    options = parser.parse_args(args)
    if options.action == "list":
        for name in recipe_names():
            first = find_recipe(name).read_text(encoding="utf-8").splitlines()[0]
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
    shutil.copyfile(source, target)
    print(target)
