"""The page of models names every part, with the recipes that use it."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from affectkit import tasks
from affectkit.cli.recipe import as_text, compose, find_recipe, recipe_names
from affectkit.methods import micro_au_clip, ssm
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
PARTS = {
    find(kind, name).__name__: name
    for kind in ("backbone", "temporal", "head", "bridge")
    for name in list_models(kind)
} | dict.fromkeys(("MultiTask", "SSM", "MicroAU"), "")


def test_every_part_has_a_row():
    assert set(ROWS) == set(PARTS)
    assert all(map(hasattr, (tasks, ssm, micro_au_clip), ("MultiTask", "SSM", "MicroAU")))


@pytest.mark.parametrize("part", PARTS)
def test_a_row_names_the_recipes_that_use_the_part(part):
    use = re.compile(
        rf"class_path: (?:[\w.]+\.)?{part}\b" + (rf"|type: {PARTS[part]}\b" if PARTS[part] else "")
    )
    using = {name for name, text in RECIPES.items() if use.search(text)}
    assert using == {name for name in RECIPES if any(fnmatch(name, pattern) for pattern in ROWS[part])}
