"""`affectkit model calibrate`: what it fits on which people, what it saves and says."""

import json

import pytest
import torch
from helpers.toy import ToyDataModule

import affectkit
from affectkit.cli.main import main
from affectkit.metrics import fit_temperature
from affectkit.models import AffectModel
from affectkit.tasks.calibration import collect_logits

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RECIPE = """
model:
  class_path: MultiTask
  init_args:
    backbone: {class_path: TimmBackbone, init_args: {model_name: test_resnet, size: 32}}
    heads:
      au: {class_path: AUHead, init_args: {space: "AU1,AU12"}}
data: {class_path: helpers.toy.ToyDataModule, init_args: {clips: 3, batch_size: 4}}
"""


@pytest.fixture
def files(tmp_path):
    torch.manual_seed(0)
    model = AffectModel(
        {"type": "timm", "model_name": "test_resnet", "size": 32},
        {"au": {"type": "au", "space": "AU1,AU12", "per_frame": True}},
    )
    with torch.no_grad():
        model.head("au").out.weight.mul_(40)  # far too sure
    model.save_pretrained(tmp_path / "model", metadata={"licence": "MIT"})
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 0, "state_dict": tensors, "model_config": model.config}, tmp_path / "best.ckpt")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def test_it_saves_what_it_fitted_and_says_so(files, capsys):
    command = [
        "model",
        "calibrate",
        "--config",
        str(files / "recipe.yaml"),
        "--model",
        str(files / "model"),
        "--test",
    ]
    assert main([*command, "--output", str(files / "calibrated")]) == 0
    said = capsys.readouterr().out.splitlines()
    model = affectkit.load(files / "calibrated")
    head = model.head("au")
    assert head.temperature > 2
    assert head.thresholds != (0.5, 0.5)
    assert model.metadata["licence"] == "MIT"
    report = model.metadata["calibration"]["au"]
    assert report["temperature"] == head.temperature
    assert list(report["measured"]) == ["validation", "test"]
    data = ToyDataModule(clips=3, batch_size=4)
    data.setup("validate")
    fitted = collect_logits(affectkit.load(files / "model"), [data.val_dataloader()])["au"]
    assert head.temperature == pytest.approx(fit_temperature(*fitted.evidence(head)))  # on these people alone
    validation = report["measured"]["validation"]
    assert validation["nll"] < validation["nll_before"]
    assert (
        0 < validation["labels"] <= 2 * 3 * 3 * 2 < report["measured"]["test"]["labels"]
    )  # 2 people, 3 people
    assert said[0] == f"au: temperature {head.temperature:.3f}"
    assert said[1].startswith(f"  validation: expected calibration error {validation['ece_before']:.4f} → ")
    assert said[2].startswith("  test: ")
    assert "| au |" in (files / "calibrated" / "README.md").read_text().partition("## Calibration")[2]
    given, rest = (json.loads((files / name / "config.json").read_text()) for name in ("model", "calibrated"))
    assert given["backbone"] == rest["backbone"]


def test_a_checkpoint_and_the_folder_of_the_model_itself(files, capsys):
    recipe = ["--config", str(files / "recipe.yaml"), "--data.init_args.clips", "2"]
    assert (
        main(
            [
                "model",
                "calibrate",
                *recipe,
                "--model",
                str(files / "best.ckpt"),
                "--output",
                str(files / "new"),
            ]
        )
        == 0
    )
    assert "test:" not in capsys.readouterr().out
    assert (
        main(
            ["model", "calibrate", *recipe, "--model", str(files / "model"), "--output", str(files / "model")]
        )
        == 0
    )
    one, other = (affectkit.load(files / name).head("au") for name in ("new", "model"))
    assert one.temperature == pytest.approx(other.temperature)
    assert one.temperature > 2


def test_a_source_is_needed(files, capsys):
    command = ["model", "calibrate", "--config", str(files / "recipe.yaml"), "--output", str(files / "x")]
    assert main(command) == 2
    assert "required: --model" in capsys.readouterr().err
