"""The lists of files in CONTRIBUTING.md are true, and its example of a package with parts works."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from helpers.recipes import base_of

from affectkit import facs, losses, metrics, models
from affectkit.cli.main import main
from affectkit.cli.recipe import recipe_names
from affectkit.facs import spaces
from affectkit.losses import base as loss_registry
from affectkit.models import AffectModel, Backbone, Head
from affectkit.models import registry as model_registry
from affectkit.models.convert import model_of_checkpoint

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
METHODS = sorted(path.parent.name for path in (ROOT / "affectkit/methods").glob("*/__init__.py"))
LABEL_KINDS = [spaces._KINDS[name] for name in spaces._KINDS.names()]
PARTS = {
    **{
        title: [model_registry.find(kind, name) for name in models.list_models(kind)]
        for title, kind in (
            ("backbone", "backbone"),
            ("temporal module", "temporal"),
            ("head", "head"),
            ("bridge", "bridge"),
        )
    },
    "loss": [loss_registry._LOSSES[name] for name in losses.list_losses()],
    "metric": list(metrics.list_metrics().values()),
}


def rows(title):
    """The cells of every row of the first table below a heading."""
    section = TEXT[TEXT.index(f"### {title}") :]
    table = re.search(r"^\|---.*\n((?:\|.*\n)+)", section, re.M)[1]
    return [[cell.strip().strip("`") for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def file_of(cls):
    return Path(sys.modules[cls.__module__].__file__).relative_to(ROOT).as_posix()


def fits(file, pattern):
    return re.fullmatch(re.sub(r"NAME|METHOD", r"\\w+", re.escape(pattern)), file)


def exported(cls, file):
    module = importlib.import_module(file.removesuffix("/__init__.py").replace("/", "."))
    return cls.__name__ in module.__all__ and getattr(module, cls.__name__) is cls


PART_ROWS = {row[0]: row[1:] for row in rows("A backbone")}


def test_every_kind_of_part_has_a_row():
    assert set(PART_ROWS) == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_the_row_of_a_part_names_the_file_and_export_of_every_part(part):
    file, registration, export, test = PART_ROWS[part]
    assert (ROOT / test).is_file()
    assert registration.startswith("@register(")
    for cls in PARTS[part]:
        if cls.__module__.startswith("affectkit.methods."):  # only one method uses it
            method = cls.__module__.split(".")[2]
            assert exported(cls, f"affectkit/methods/{method}/__init__.py")
        else:
            assert fits(file_of(cls), file), f"{file_of(cls)} is not {file}"
            assert exported(cls, export)


def test_the_list_of_a_label_kind_names_its_registration_points():
    (space, _), *parts, (example, _) = rows("A label kind")
    assert [path for path, _ in parts] == [PART_ROWS[part][0] for part in ("head", "loss", "metric")]
    for cls in LABEL_KINDS:
        assert fits(file_of(cls), space)
        assert exported(cls, "affectkit/facs/__init__.py")
        assert cls.kind in metrics.list_metrics()
        assert cls.kind in {head.kind for head in PARTS["head"]}
        assert cls.kind in loss_registry._DEFAULTS.names()
    assert "SPACES = " in (ROOT / example).read_text(encoding="utf-8")
    assert facs.register_space is spaces.register_space


def test_the_list_of_a_method_names_its_files():
    listed = [path for path, _ in rows("A method")]
    for path in listed:
        pattern = path.replace("NAME", "ssm").replace("TASK", "*").replace("DATA", "*").rstrip("/")
        assert any(ROOT.glob(pattern)), path
    module, task, _, _, tests, parts, overlays = listed
    assert "BASES = {" in (ROOT / overlays).read_text(encoding="utf-8")
    assert all(base_of(name) for name in recipe_names() if name.startswith("ablation/"))
    for method in METHODS:
        assert all((ROOT / path.replace("NAME", method)).exists() for path in (module, task, tests))
        assert f'"{method}": (' in (ROOT / parts).read_text(encoding="utf-8")
        assert f"affectkit.methods.{method}" in (ROOT / "docs/api/methods.md").read_text(encoding="utf-8")
        assert f"affectkit.methods.{method}." in (ROOT / "docs/models.md").read_text(encoding="utf-8")


def test_hooks_of_heads_exist():
    sentence = re.search(r"through hooks: (.*?)\.\n", TEXT, re.S)[1]
    hooks = [hook.removeprefix("Head.") for hook in re.findall(r"`([\w.]+)`", sentence)]
    assert len(hooks) == 5
    assert all(hasattr(Head, hook) for hook in hooks)


DATA = """
seed_everything: 0
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
data:
  class_path: helpers.toy.ToyDataModule
  init_args: {batch_size: 6}
"""


def test_the_example_of_a_package_with_parts_works(tmp_path, monkeypatch):
    section = TEXT[TEXT.index("## Add a part from your own package") :]
    code, recipe = (re.search(rf"```{kind}\n(.*?)```", section, re.S)[1] for kind in ("python", "yaml"))
    (tmp_path / "my_parts.py").write_text(code, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(recipe + DATA, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for table in (*model_registry._REGISTRIES.values(), loss_registry._LOSSES, loss_registry._DEFAULTS):
        table.names()
        monkeypatch.setattr(table, "_classes", dict(table._classes))  # for this test only
    try:
        assert main(["fit", "--config", "recipe.yaml", "--trainer.default_root_dir", "run"]) == 0
        (newest,) = Path("run").rglob("newest.ckpt")
        parts = sys.modules["my_parts"]
        assert torch.load(newest, weights_only=True)["model_config"]["backbone"]["type"] == "linear"
        model_of_checkpoint(newest).save_pretrained("model")
        model = AffectModel.from_pretrained("model")
        assert type(model.backbone) is parts.LinearBackbone
        assert issubclass(parts.LinearBackbone, Backbone)
        assert type(model.head("au")) is parts.CosineAUHead
        assert json.loads(Path("model/config.json").read_text())["heads"]["au"]["type"] == "cosine_au"
        answer = model.predict(torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8))["au"]
        assert answer.shape == (2, 2)
    finally:
        sys.modules.pop("my_parts", None)
