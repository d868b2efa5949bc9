"""`affectkit describe`: counts, labels and shapes of every recipe, without data and without downloads."""

import json

import pytest
import torch
from helpers.recipes import base_of

from affectkit.cli import describe
from affectkit.cli.main import main
from affectkit.cli.recipe import recipe_names
from affectkit.errors import ConfigError
from affectkit.models import AffectModel

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

# Ablations are built by the tests of their methods.
RECIPES = [name for name in recipe_names() if not name.startswith("ablation/")]
# Their language model is part of no package: the tiny one takes its place.
LANGUAGE = {name: ["--config", "ablation/aullm_tiny"] for name in ("micro/casme2_aullm", "micro/samm_aullm")}
MODEL = {
    "backbone": {"type": "timm", "model_name": "test_resnet", "size": 32},
    "heads": {
        "au": {"type": "au", "space": "AU1,AU12", "per_frame": True},
        "expression": {"type": "expression", "space": "basic7", "hidden": 8},
        "strength": {"type": "intensity", "space": "intensity:AU6,AU12", "per_frame": True},
    },
    "temporal": {"type": "transformer", "heads": 2, "max_frames": 8},
}


@pytest.fixture(scope="module")
def model():
    return AffectModel(**MODEL, input_spec={"frames": 5, "fps": 25.0})


def described(arguments, capsys):
    assert main(["describe", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_described_without_data_and_downloads(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path / "absent"))
    found = described([*base_of(name), "--config", name, *LANGUAGE.get(name, []), "--no-weights"], capsys)
    assert set(found) == {"parameters", "input", "labels", "outputs"}
    modules = found["parameters"]["modules"]
    for kind in ("trainable", "frozen"):
        assert found["parameters"][kind] == sum(counts[kind] for counts in modules.values())
    assert found["parameters"]["trainable"] > 0
    without_parameters = name.startswith("caption/") or "emocap" in name
    heads = () if without_parameters else found["labels"]
    assert {"backbone", *(f"heads.{head}" for head in heads)} <= set(modules)
    for head, output in found["outputs"].items():
        *axes, labels = output["shape"]
        assert (axes, labels) in (
            (["B"], len(found["labels"][head])),
            (["B", "T"], len(found["labels"][head])),
        )
    assert not (tmp_path / "absent").exists()


def test_numbers_of_a_recipe_are_those_counted_by_hand(capsys):
    found = described(["--config", "au/bp4d", "--no-weights"], capsys)
    modules = found["parameters"]["modules"]
    assert modules["backbone"] == {"trainable": 27_820_128, "frozen": 0}  # ConvNeXt-T without its classifier
    assert modules["heads.au"] == {"trainable": 768 * 12 + 12, "frozen": 0}
    assert found["labels"]["au"][:4] == ["AU1", "AU2", "AU4", "AU6"]
    assert (found["input"]["size"], found["input"]["frames"], found["input"]["fps"]) == (224, None, None)
    assert found["outputs"]["au"]["shape"] == ["B", "T", 12]


def test_the_parameters_of_ssm_are_those_of_its_authors(capsys):
    found = described(["--config", "joint/ssm_bp4d_dfew", "--no-weights"], capsys)
    assert (found["parameters"]["trainable"], found["parameters"]["frozen"]) == (109_425_885, 38_131_200)
    modules = found["parameters"]["modules"]
    assert modules["backbone"]["trainable"] == 86_192_640 + 18_923_550
    assert modules["bridge.text"] == {"trainable": 0, "frozen": 38_131_200}
    assert modules["bridge.prompts"]["trainable"] == (7 + 12) * 8 * 512
    assert modules["bridge.map"]["trainable"] == 2 * 7 * 12
    assert modules["bridge"]["trainable"] == 2
    assert found["outputs"]["expression"]["shape"] == ["B", 7]


def test_overrides_and_frozen_parts(capsys):
    found = described(
        [
            "--config",
            "joint/demo",
            "--no-weights",
            "--model.init_args.freeze=[backbone.*]",
            "--model.init_args.init_from=/absent",
        ],
        capsys,
    )
    counts = found["parameters"]["modules"]["backbone"]
    assert counts["trainable"] == 0
    assert found["parameters"]["frozen"] == counts["frozen"] > 100_000


def test_weights_that_are_wanted_are_looked_for(capsys):
    assert main(["describe", "--config", "joint/demo", "--model.init_args.init_from=/absent"]) == 3
    assert "/absent" in capsys.readouterr().err


def test_shapes_are_those_of_predictions(model):
    sizes = {"B": 2, "T": 5}
    said = model.predict(torch.rand(2, 5, 3, 32, 32))
    found = describe.describe(model)["outputs"]
    assert {name: [sizes.get(axis, axis) for axis in output["shape"]] for name, output in found.items()} == {
        name: list(values.shape) for name, values in said.items()
    }
    assert [found[name]["kind"] for name in ("au", "expression", "strength")] == [
        "occurrence",
        "categories",
        "intensity",
    ]
    assert found["strength"]["meaning"] == "intensity of each unit, 0 (absent) to 5; of every frame"


def test_a_saved_model_in_words(model, tmp_path, capsys):
    model.save_pretrained(tmp_path)
    assert main(["describe", "--model", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    total = sum(p.numel() for p in model.parameters())
    assert f"| total | {total:,} | 0 |" in text
    assert "input: size 32, frames 5, fps 25.0, mean [0.5, 0.5, 0.5]" in text
    assert "| expression | B × 7 |" in text
    assert "AU1, AU12" in text
    assert described(["--model", str(tmp_path)], capsys) == describe.describe(model)


def test_parameters_beside_the_model_are_counted(model):
    task = torch.nn.Module()
    task.model, task.scale = model, torch.nn.Linear(2, 2)
    counts = describe.describe(task)["parameters"]
    assert counts["modules"]["scale"] == {"trainable": 6, "frozen": 0}
    assert counts["trainable"] == describe.describe(model)["parameters"]["trainable"] + 6


def test_what_cannot_be_described(tmp_path, capsys):
    with pytest.raises(ConfigError, match="Linear holds no AffectModel"):
        describe.describe(torch.nn.Linear(2, 2))
    for wrong in (["--no-weights"], ["--model.lr", "1"]):
        assert main(["describe", "--model", str(tmp_path), *wrong]) == 2
        assert f"{' '.join(wrong)} does not go with --model" in capsys.readouterr().err
