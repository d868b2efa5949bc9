"""`affectkit test --model`: a saved model is evaluated on a corpus as it lies on disk."""

import json

import pytest
import torch

from affectkit.cli.lightning import launch
from affectkit.cli.main import main
from affectkit.datasets import BP4D
from affectkit.errors import ConfigError
from affectkit.metrics import metric_of
from affectkit.models import AffectModel, load
from affectkit.rehearse.bp4d import write_bp4d
from affectkit.rehearse.casme2 import write_casme2

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--data.num_workers=0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    write_bp4d(root / "BP4D", size="tiny", seed=1)
    write_casme2(root / "CASME2", size="tiny", seed=1)
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of meshes and pictures, with units of which BP4D annotates some."""
    torch.manual_seed(0)
    parts = {
        "pictures": {"type": "timm", "model_name": "test_resnet", "size": 32},
        "mesh": {"type": "signals", "signals": {"mesh": 1434, "pose": 3}, "width": 8},
    }
    model = AffectModel(
        {"type": "fused", "parts": parts},
        {
            "au": {"type": "au", "space": "AU1,AU5,AU12,AU12L", "per_frame": True},
            "gaze": {"type": "au", "space": "AU61"},
            "expression": {"type": "expression", "space": "basic7"},
        },
        input_spec={"alignment": "eyes_mouth", "crop_margin": 0.125},
    )
    model.head("au").calibrate(thresholds=[0.4, 0.5, 0.6, 0.5])
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder, metadata={"rendered": True, "trained_on": "rendered faces: rendered"})
    return folder


@pytest.fixture(autouse=True)
def _data(root, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(root))


def evaluate(tmp_path, *options):
    return main(["test", *options[:2], *QUIET, f"--trainer.default_root_dir={tmp_path}", *options[2:]])


def test_results_are_those_of_the_model_on_all_subjects(root, saved, tmp_path, capsys):
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model", str(saved)) == 0
    said = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads((tmp_path / "test_results.json").read_text())["BP4D/au"]}
    assert "all subjects" in rows["au/f1_pos"]["protocol"]
    assert "learned from rendered faces" in rows["au/f1_pos"]["protocol"]
    assert rows["au/f1_pos"]["threshold_rule"] == "val"
    assert "learned from" in said.out
    # The same by hand: measured signals, and faces cropped as the model says.
    model = load(saved)
    data = BP4D(root / "BP4D", window=16, space="bp4d12", signals=model.signals, pictures=model.input_spec)
    metric = metric_of(model.head("au").space, data.num_groups)
    with torch.inference_mode():
        for clip in data:
            given = {name: values[None] for name, values in clip.signals.items()}
            logits = model(clip.frames[None], signals=given, signals_mask=clip.signals_mask[None])["au"]
            target = clip.targets["au"].project(model.head("au").space.name)
            metric.update(logits, target.value[None], target.mask[None], torch.tensor([clip.subject]))
    auc = metric.compute()["auc"]
    assert rows["au/auc"]["value"] == pytest.approx(float(auc), abs=1e-3)


def test_labels_and_heads_that_do_not_fit_are_named(saved, tmp_path, caplog, capsys):
    with caplog.at_level("INFO"):
        assert evaluate(tmp_path, "--config", "au/bp4d", f"--model={saved}", "--data.fold=part1") == 0
    said = caplog.text + capsys.readouterr().err
    assert "BP4D/au: the model lacks: AU2, AU4" in said
    assert "BP4D/au: not annotated and not measured: AU5, AU12L" in said
    assert "the head 'gaze' is left out" in said
    rows = json.loads((tmp_path / "test_results.json").read_text())["BP4D/au"]
    assert "fold part1" in rows[0]["protocol"]


def test_a_model_of_pictures_is_evaluated_too(tmp_path):
    assert evaluate(tmp_path, "--config", "micro/casme2", "--model", "demo") == 0
    results = json.loads((tmp_path / "test_results.json").read_text())
    assert set(results) == {"CASME2/au", "CASME2/expression"}


def test_validation_and_checkpoints(saved, tmp_path, capsys):
    arguments = ["--config", "au/bp4d", *QUIET, f"--trainer.default_root_dir={tmp_path}"]
    cli = launch(["validate", *arguments], model=str(saved))
    assert "val/BP4D/au/f1_pos" in cli.trainer.callback_metrics
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model", str(tmp_path / "none.ckpt")) == 3
    assert "none.ckpt: There is no such file" in capsys.readouterr().err


def test_faults_name_their_remedy(saved, tmp_path, capsys):
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model") == 2
    assert "--model has no value" in capsys.readouterr().err
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model", "nothing") == 3
    assert "no model folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="No head of the model fits"):
        launch(["test", "--config", "au/bp4d", *QUIET, "--data.targets=[intensity]"], model=str(saved))
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model", "demo", f"--data.prepared={tmp_path}") == 2
    assert "prepared" in capsys.readouterr().err
    # A class is not the name of a saved model.
    assert evaluate(tmp_path, "--config", "au/bp4d", "--model", "Nothing") == 2
