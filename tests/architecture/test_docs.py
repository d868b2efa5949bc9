"""The page of models names every part, with the recipes that use it; commands that are named exist."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from helpers.imports import method_tasks

from affectkit.cli.main import COMMANDS, GROUPS
from affectkit.cli.recipe import as_text, compose, find_recipe, recipe_names
from affectkit.models import list_models
from affectkit.models.registry import find

ROOT = Path(__file__).parents[2]
RECIPES = {name: as_text(compose(find_recipe(name))) for name in recipe_names()}
ROWS = {
    row[1]: re.findall(r"`([^`]+)`", row[2])
    for row in re.finditer(
        r"^\| \{py:class\}`~[\w.]+\.(\w+)` \|.*\|([^|]*)\|$", (ROOT / "docs" / "models.md").read_text(), re.M
    )
}
TASKS = ["MultiTask", *(task.__name__ for task in method_tasks().values())]
PARTS = {
    find(kind, name).__name__: name
    for kind in ("backbone", "temporal", "head", "bridge")
    for name in list_models(kind)
} | dict.fromkeys(TASKS, "")


def test_every_part_has_a_row():
    assert set(ROWS) == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_row_names_the_recipes_that_use_the_part(part):
    use = re.compile(
        rf"class_path: (?:[\w.]+\.)?{part}\b" + (rf"|type: {PARTS[part]}\b" if PARTS[part] else "")
    )
    using = {name for name, text in RECIPES.items() if use.search(text)}
    assert using == {name for name in RECIPES if any(fnmatch(name, pattern) for pattern in ROWS[part])}


IN_TEXT = re.compile(r"`(?:\$ )?affectkit ([a-z]+)(?: ([a-z]+)\b)?")
IN_BLOCK = re.compile(r"^\s*(?:\S*/)?affectkit ([a-z]+)(?: ([a-z]+)\b)?", re.M)
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "datasets", "benchmarks") for path in (ROOT / folder).rglob("*.md")),
]
SOURCES = [
    path
    for folder in ("affectkit", "recipes", "examples", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".yaml")
]


def commands_named_in(path):
    text = path.read_text(encoding="utf-8")
    named = IN_TEXT.findall(text)
    if path.suffix == ".md":
        blocks = [*text.split("```")[1::2], *re.findall(r"^ {4}.*$", text, re.M)]
        named += IN_BLOCK.findall("\n".join(blocks))
    return named


def test_commands_that_are_named_exist():
    named = {(path, *command) for path in (*PAGES, *SOURCES) for command in commands_named_in(path)}
    wrong = {
        (path.relative_to(ROOT).as_posix(), name, second)
        for path, name, second in named
        if name not in COMMANDS or (name in GROUPS and second and second not in GROUPS[name])
    }
    assert not wrong
    assert {name for _, name, _ in named} == set(COMMANDS)
