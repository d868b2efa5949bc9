"""What a kind of label means is asked of its space, and of the tables in which heads, losses and metrics register."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import affectkit
from affectkit.facs import LabelSpace, label_space, spaces
from affectkit.losses import default_loss
from affectkit.metrics import list_metrics
from affectkit.models.registry import find, list_models

ROOT = Path(affectkit.__file__).parent
SPACES = [
    label_space(text) for text in ("AU1", "intensity:AU1", "basic7", "levels:low,high", "dimensions:valence")
]
KINDS = {space.kind for space in SPACES}
NO_FOLDERS = KINDS - {"occurrence", "intensity"}  # which some corpora call their folders
FORMER = {"multilabel", "multiclass"}


def texts(node):
    """All texts within an expression."""
    return {x.value for x in ast.walk(node) if isinstance(x, ast.Constant) and isinstance(x.value, str)}


def asks_for_a_kind(node):
    """Whether an expression reads a `kind` of something other than a signal in a picture, which has its own."""
    names = [x for x in ast.walk(node) if isinstance(x, ast.Attribute) and x.attr == "kind"]
    names = [
        x for x in names if not (isinstance(x.value, ast.Name) and x.value.id in ("signal", "s", "self"))
    ]
    return bool(names) or any(isinstance(x, ast.Name) and x.id in ("kind", "kinds") for x in ast.walk(node))


def comparisons(tree):
    """Where a kind of label is told from its text: comparisons, cases, and tables by kind."""
    for node in ast.walk(tree):
        compared = isinstance(node, ast.Compare) and asks_for_a_kind(node)
        if compared or isinstance(node, ast.MatchValue):
            yield from [node] * bool(texts(node) & KINDS)
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if len(keys & KINDS) > 1 and keys & NO_FOLDERS:
                yield node
        elif isinstance(node, ast.Constant) and node.value in FORMER:
            yield node


@pytest.mark.parametrize(
    "code",
    [
        'if head.space.kind == "intensity": pass',
        'x = 1 if kind in ("levels", "categories") else 0',
        'T = {"occurrence": 1, "categories": 2}',
        'match space.kind:\n    case "levels": pass',
        'kind == "multiclass"',
    ],
)
def test_a_comparison_is_found(code):
    assert list(comparisons(ast.parse(code)))


def test_no_kind_of_label_is_compared_by_its_text():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in comparisons(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_kind_has_its_head_loss_and_metric(space):
    assert isinstance(space, LabelSpace)
    assert space.kind in {find("head", name).kind for name in list_models("head")}
    assert default_loss(space).kind == space.kind
    assert space.kind in list_metrics()


def test_every_kind_is_looked_at_here():
    assert set(spaces._KINDS.names()) == KINDS
