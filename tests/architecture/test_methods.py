"""Methods stay in their folders: nobody else names their classes, and using their models needs no Lightning."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from helpers.imports import method_tasks, modules_after

from affectkit.models import AffectModel

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "affectkit"
METHODS = PACKAGE / "methods"
PARTS = {
    "ssm": (
        {"type": "clip", "model_name": "affectkit-tiny"},
        {"au": {"type": "prototype_au", "space": "AU6,AU12"}},
        {"type": "semantic", "text": {"model_name": "affectkit-tiny"}},
    ),
    "aullm": (
        {"type": "led_maps"},
        {"au": {"type": "aullm", "space": "AU4,AU12", "language": {"name": "tiny"}}},
        None,
    ),
    "micro_au_clip": (
        {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True},
        {"au": {"type": "micro_au", "space": "AU4,AU12", "attention_heads": 4}},
        None,
    ),
    "mul_dml": (
        {"type": "timm", "model_name": "test_resnet", "size": 64},
        {"expression": {"type": "metric_expression", "space": "basic7", "classifier": "knn"}},
        None,
    ),
    "au_ttt": (
        {"type": "au_ttt", "units": "AU6,AU12", "size": 64, "patch": 16, "width": 16, "depth": 1, "heads": 2},
        {"au": {"type": "au_ttt", "space": "AU6,AU12"}},
        None,
    ),
    "emocapclip": (
        {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True},
        {"expression": {"type": "zero_shot", "space": "basic7"}},
        {"type": "captions", "text": {"model_name": "affectkit-tiny"}},
    ),
    "feallm": (
        {
            "type": "feallm",
            "tower": {"type": "clip", "model_name": "affectkit-tiny-patch8"},
            "blocks": [2, 4],
            "crop": 8,
            "width": 16,
            "local_width": 8,
        },
        {"au": {"type": "feallm", "space": "AU4,AU12"}},
        None,
    ),
    "fgsgl": (
        {"type": "clip", "model_name": "affectkit-tiny-patch8", "tokens": True, "token_block": 2},
        {"expression": {"type": "process", "space": "basic7"}},
        {"type": "process", "text": {"model_name": "affectkit-tiny"}},
    ),
    "engagement": (
        {"type": "tcctnet", "signals": {"pose": 3}, "depth": 1},
        {"engagement": {"type": "tcct_levels", "space": "levels:low,high"}},
        None,
    ),
}


def classes_of_methods():
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in METHODS.rglob("*.py"))
    found = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return {name for name in found if not name.startswith("_")}


def names_in(path):
    """Every identifier and every string that could name a class; not what prose says."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "name", "asname", "arg"):
            if isinstance(found := getattr(node, field, None), str):
                yield found
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_nobody_else_names_a_class_of_a_method():
    classes = classes_of_methods()
    assert {"SSM", "SemanticBridge", "MicroAU", "MicroAUHead"} <= classes
    code = re.compile(rf"`[\w.]*\b({'|'.join(map(re.escape, classes))})\b[\w.]*`")
    found = [
        f"{path.relative_to(ROOT)}: {name[:60]}"
        for path in PACKAGE.rglob("*.py")
        if METHODS not in path.parents and PACKAGE / "cli" not in path.parents
        for name in names_in(path)
        if name in classes or code.search(name)
    ]
    assert found == []


def test_no_task_reaches_through_its_trainer():
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"trainer\.datamodule\b.*type: ignore", path.read_text(encoding="utf-8")), path


def test_methods_are_imported_without_lightning():
    loaded = modules_after(f"import {', '.join(f'affectkit.methods.{name}' for name in PARTS)}")
    assert not loaded & {"lightning", "pytorch_lightning", "torchmetrics", "matplotlib", "timm", "open_clip"}


def test_models_of_methods_predict_without_lightning(tmp_path):
    for method, (backbone, heads, bridge) in PARTS.items():
        torch.manual_seed(0)
        model = AffectModel(backbone, heads, bridge=bridge, input_spec={"frames": 2})
        model.save_pretrained(tmp_path / method)
    loaded = modules_after(
        "import torch; from affectkit import Predictor\n"
        f"for method in {list(PARTS)}:\n"
        f"    model = Predictor({str(tmp_path)!r} + '/' + method, faces='center').model\n"
        "    signals = {name: torch.zeros(1, 2, 3) for name in model.signals}\n"
        "    model.predict(torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8), signals=signals)"
    )
    assert not loaded & {"lightning", "pytorch_lightning", "torchmetrics"}


def test_a_task_is_found_on_first_use():
    tasks = method_tasks()
    assert tasks.keys() == PARTS.keys()
    for method, task in tasks.items():
        module = import_module(f"affectkit.methods.{method}")
        assert getattr(module, task.__name__) is task
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            _ = module.Nothing
