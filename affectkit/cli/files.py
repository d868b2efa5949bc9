"""Check of the files that a recipe names, before Lightning is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from affectkit.cli.recipe import as_text, compose, find_recipe
from affectkit.errors import ConfigError, DatasetNotFoundError

__all__ = ["check_files"]

_VARIABLE = re.compile(r"\$\{oc\.env:([^,}]+)(?:,([^}]*))?\}")
_NO_FILE = re.compile(r"(best|hpc|last)$|registry|\w+://")  # what Lightning resolves by itself


def check_files(args: Sequence[str]) -> None:
    """Check that the roots of corpora and a checkpoint exist.

    Roots that other settings determine are left to the datamodule.

    Args:
        args: `--config` with recipes, and options that override them.

    Raises:
        DatasetNotFoundError: A root does not exist, and the corpus is not rendered first.
        ConfigError: The checkpoint does not exist.
    """
    data: dict[str, Any] = {}
    for option, value in _options(args):
        if option in ("-c", "--config"):
            recipe = yaml.safe_load(as_text(compose(find_recipe(value))))
            given = recipe.get("data") if isinstance(recipe, dict) else None
            data = _merged(data, given) if isinstance(given, dict) else data
        elif option in ("--data.root", "--data.init_args.root"):
            data = _merged(data, {"init_args": {"root": value}})
        elif option == "--ckpt_path" and not _NO_FILE.match(value):
            _check_checkpoint(Path(value))
        elif option == "--data":
            return  # another class
    for root in _roots(data):
        path = Path(_VARIABLE.sub(lambda found: os.environ.get(found[1], found[2] or ""), root))
        if "${" not in str(path) and not path.exists():
            raise DatasetNotFoundError(
                "The root of the data does not exist.",
                path=path,
                remedy="Give the folder of the corpus with --data.root, or see its card for how to obtain it.",
            )


def _options(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values."""
    for argument, following in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = argument.partition("=")
        if option.startswith("-"):
            yield option, value if equals else following


def _check_checkpoint(path: Path) -> None:
    if not path.exists():
        raise ConfigError(
            f"There is no checkpoint {path}.",
            remedy="Checkpoints of `affectkit fit` are in the folder `checkpoints` of its logs, below the recipe's "
            "default_root_dir; `last` is the newest one.",
        )


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key; another class replaces the earlier one."""
    if base.get("class_path", "") != over.get("class_path", base.get("class_path", "")):
        return dict(over)
    both = dict(base)
    for key, value in over.items():
        known = both.get(key)
        both[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both


def _roots(data: Mapping[str, Any]) -> Iterator[str]:
    """Roots of a datamodule or of the sources of a mixture; not those of corpora that are rendered first."""
    arguments = {**data, **(data.get("init_args") or {})}
    if isinstance(arguments.get("root"), str) and not arguments.get("render"):
        yield arguments["root"]
    for source in (arguments.get("sources") or {}).values():
        if isinstance(source, dict):
            yield from _roots(source)
