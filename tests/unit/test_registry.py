"""Registries and plug-ins: what an installed package or a recipe's imports add, and what a file cannot."""

import json
import sys

import pytest

import affectkit.registry
from affectkit.cli.main import main
from affectkit.errors import ConfigError
from affectkit.models import AffectModel, build, list_models
from affectkit.registry import load_plugins

BACKBONE = {"type": "timm", "model_name": "test_resnet", "size": 32}
HEAD = """
from affectkit.models import AUHead, register


@register("head", "{name}")
class {cls}(AUHead):
    pass
"""
RECIPE = """
{imports}
model:
  class_path: MultiTask
  init_args:
    backbone: {{class_path: TimmBackbone, init_args: {{model_name: test_resnet, pretrained: false, size: 32}}}}
    heads:
      au: {{class_path: {cls}, init_args: {{space: "AU1,AU12"}}}}
data:
  class_path: BP4DDataModule
  init_args: {{root: nowhere}}
"""


def write_package(folder, module, *, name, cls, entry_point=True):
    """A module with a head, and the note that an installer leaves about it."""
    (folder / f"{module}.py").write_text(HEAD.format(name=name, cls=cls))
    if entry_point:
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[affectkit.plugins]\n{name} = {module}\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that Python imports from, and plug-ins that are not loaded yet; what is registered goes again."""
    from affectkit.models.registry import _REGISTRIES

    load_plugins()  # what comes with affectkit stays when the test is over
    heads = _REGISTRIES["head"]
    monkeypatch.setattr(heads, "_classes", dict(heads._classes))
    monkeypatch.setattr(affectkit.registry, "_loaded", False)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def test_an_installed_package_adds_a_head(folder, tmp_path):
    write_package(folder, "plug_a", name="elsewhere_a", cls="HeadA")
    head = build("head", {"type": "elsewhere_a", "space": "AU1,AU12"}, in_features=4)
    assert type(head).__module__ == "plug_a"
    assert {"elsewhere_a", "prototype_au", "micro_au"} <= set(list_models("head"))
    model = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32},
        {"au": {"type": "elsewhere_a", "space": "AU1"}},
    )
    model.save_pretrained(tmp_path / "model")
    assert type(AffectModel.from_pretrained(tmp_path / "model").head("au")) is type(head)


def test_known_names_load_no_plugin(folder):
    write_package(folder, "plug_b", name="elsewhere_b", cls="HeadB")
    build("head", {"type": "au", "space": "AU1"}, in_features=4)
    assert "plug_b" not in sys.modules


def test_a_broken_plugin_is_named_every_time(folder):
    write_package(folder, "plug_c", name="elsewhere_c", cls="HeadC")
    (folder / "plug_c.py").write_text("raise RuntimeError('out of order')")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"'elsewhere_c' \(plug_c\).*out of order"):
            list_models("head")


def test_a_plugin_may_look_names_up_while_it_is_imported(folder):
    write_package(folder, "plug_d", name="elsewhere_d", cls="HeadD")
    with (folder / "plug_d.py").open("a") as file:
        file.write("\nfrom affectkit.models import list_models\nFOUND = list_models('head')\n")
    load_plugins()
    assert "elsewhere_d" in sys.modules["plug_d"].FOUND


@pytest.mark.parametrize("name", ["plug_e", "plug_e.HeadE", "elsewhere_e", 3, None, ["au"]])
def test_a_saved_model_cannot_make_python_import_anything(folder, tmp_path, name):
    write_package(folder, "plug_e", name="elsewhere_e", cls="HeadE", entry_point=False)
    model = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32}, {"au": {"type": "au", "space": "AU1"}}
    )
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["heads"]["au"]["type"] = name
    config["imports"] = ["plug_e"]
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no head named"):
        AffectModel.from_pretrained(tmp_path / "model")
    assert "plug_e" not in sys.modules


def test_a_recipe_names_modules_to_import(folder, tmp_path, capsys):
    write_package(folder, "plug_f", name="elsewhere_f", cls="HeadF", entry_point=False)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(imports="imports: [plug_f]", cls="HeadF"))
    assert main(["describe", "--config", str(recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"au": ["AU1", "AU12"]}
    recipe.write_text(RECIPE.format(imports="", cls="HeadF"))
    assert main(["describe", "--config", str(recipe), "--imports=[plug_f]"]) == 0
    capsys.readouterr()
    recipe.write_text(RECIPE.format(imports="imports: [plug_g]", cls="HeadF"))
    assert main(["describe", "--config", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in ("plug_g", str(recipe), "PYTHONPATH"))
