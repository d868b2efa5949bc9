"""One's own table as people have it, from `fit` to `predict`."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from affectkit.cli.main import main
from affectkit.models import load

RECIPE = """
model:
  class_path: MultiTask
  init_args:
    backbone: {class_path: TimmBackbone, init_args: {model_name: test_convnext, size: 32}}
    heads:
      au: {class_path: AUHead, init_args: {space: "AU1,AU4,AU9"}}
      expression: {class_path: ExpressionHead, init_args: {space: "Überraschung,高兴,none"}}
    lr: LR
data:
  class_path: TableDataModule
  init_args: {root: ROOT, num_frames: 1, batch_size: 4, crop_faces: false}
trainer:
  accelerator: cpu
  max_epochs: 2
  default_root_dir: OUT
  enable_progress_bar: false
  enable_model_summary: false
  logger: {class_path: CSVLogger, init_args: {save_dir: OUT}}
"""


@pytest.fixture
def recipe(tmp_path):
    """A table in Excel's manner and a recipe for it; made by `recipe(header, lr)`."""
    rng = np.random.default_rng(0)
    for k in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")

    def make(header="Path;Subject;Split;Expression;au01;au_4", lr=0.001):
        words = ["Überraschung", "高兴", "none", "NA"]
        rows = [
            f"{k}.png;{k % 6},0;{('train', 'train', 'train', 'train', 'val', 'test')[k % 6]};"
            f"{words[k % 4]};{('TRUE', 'FALSE')[k % 2]};{('yes', 'no', '')[k % 3]}"
            for k in range(12)
        ]
        (tmp_path / "index.csv").write_bytes("\r\n".join([header, *rows]).encode("utf-16"))
        text = (
            RECIPE.replace("ROOT", str(tmp_path))
            .replace("OUT", str(tmp_path / "runs"))
            .replace("LR", str(lr))
        )
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "recipe.yaml")

    return make


def test_from_a_table_to_predictions(tmp_path, recipe, caplog):
    assert main(["fit", "--config", recipe()]) == 0
    assert "The head 'au' has no training label for AU9" in caplog.text
    caplog.clear()
    checkpoint = str(next((tmp_path / "runs").rglob("*.ckpt")))
    assert main(["test", "--config", recipe(), "--ckpt_path", checkpoint]) == 0
    assert "The head 'au' has no training label for AU9" in caplog.text
    results = json.loads(next((tmp_path / "runs").rglob("test_results.json")).read_text(encoding="utf-8"))
    assert {row["name"] for row in results["table/expression"]} >= {"expression/uar"}
    assert main(["model", "export", "--model", checkpoint, "--output", str(tmp_path / "model")]) == 0
    assert "Not learned by au: AU9." in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert load(tmp_path / "model").labels("expression") == ("überraschung", "高兴", "none")
    table = tmp_path / "out.csv"
    arguments = [
        "--model",
        str(tmp_path / "model"),
        "--input",
        str(tmp_path / "0.png"),
        "--output",
        str(table),
    ]
    assert (
        load(tmp_path / "model").input_spec.alignment == "frame"
    )  # pictures as they are, also in prediction
    assert main(["predict", *arguments, "--quiet"]) == 0
    values = pd.read_csv(table)[["überraschung", "高兴", "none"]]
    assert values.sum(axis=1).tolist() == pytest.approx([1.0], abs=1e-4)


def test_misnamed_units_are_no_training(tmp_path, recipe, capsys):
    assert main(["fit", "--config", recipe("Path;Subject;Split;Expression;AU1y;AU1x")]) == 2
    message = capsys.readouterr().err
    for part in ("'au'", "table annotates expression (none,überraschung,高兴)", "AU1y, AU1x"):
        assert part in message
    assert not list((tmp_path / "runs").rglob("*.ckpt"))


def test_training_that_diverges(recipe, capsys):
    assert main(["fit", "--config", recipe(lr=1e30)]) == 3
    message = capsys.readouterr().err
    assert "diverged" in message
    assert "Traceback" not in message
