"""`affectkit demo`, made tiny, and what a stranger does with what it leaves behind."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affectkit.cli.main import main
from affectkit.models import AffectModel, AUHead

MEDIA = Path(__file__).parents[2] / "media"
TINY = [
    "--data.render={identities: 8, clips: 7, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1, progress: false}",
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that a tiny demo left behind, and its exit code."""
    folder = tmp_path_factory.mktemp("demo")
    code = main(
        ["--debug", "demo", "--output", str(folder / "out"), f"--data.root={folder / 'faces'}", *TINY]
    )
    return folder, code


def test_exit_code_tells_whether_the_baselines_were_beaten(demo):
    folder, code = demo
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    beaten = (
        metrics["au/f1_mean"] > metrics["au/f1_all_positive"]
        and metrics["expression/uar"] > metrics["expression/uar_chance"]
    )
    assert code == (0 if beaten else 1)


def test_metrics_hold_what_is_promised(demo):
    metrics = json.loads((demo[0] / "out" / "metrics.json").read_text())
    for name in ("au/f1_mean", "au/f1_all_positive", "expression/uar", "expression/uar_ceiling", "seconds"):
        assert metrics[name] >= 0
    for name in ("au/f1_ci95", "expression/uar_ci95"):
        low, high = metrics[name]
        assert low <= high
    assert metrics["test/num_subjects"] == 2
    assert metrics["au/num_units"] >= 16
    assert metrics["rendered"] is True


def test_one_seed_gives_the_same_metrics_again(demo):
    folder, code = demo
    assert main(["demo", "--output", str(folder / "again"), f"--data.root={folder / 'faces'}", *TINY]) == code
    first, again = (json.loads((folder / run / "metrics.json").read_text()) for run in ("out", "again"))
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


def test_predictions_have_a_row_for_every_frame(demo):
    with (demo[0] / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert list(rows[0])[:4] == ["frame", "timestamp", "face", "success"]
    assert {"AU01", "AU02"} <= set(rows[0])
    assert {row["face"] for row in rows} == {"0"}
    assert {row["success"] for row in rows} == {"1"}
    assert all(0 <= float(row["happiness"]) <= 1 for row in rows)


def test_report_is_one_page_that_says_rendered(demo):
    page = (demo[0] / "out" / "report" / "index.html").read_text()
    assert "Rendered faces" in page
    assert (
        "http"
        not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "").split("<body")[1]
    )


def test_exported_model_and_single_head_load(demo):
    model = AffectModel.from_pretrained(demo[0] / "out" / "model")
    assert model.metadata["rendered"] is True
    head = AUHead.from_pretrained(demo[0] / "out" / "model")
    assert head.labels == model.labels("au")


def test_predict_command_on_a_photograph(demo, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((90, 120, 3), 128, np.uint8)).save(photo)
    model, table = demo[0] / "out" / "model", tmp_path / "photo.csv"
    arguments = [f"--model={model}", f"--input={photo}", f"--output={table}", "--faces=center", "--quiet"]
    assert main(["predict", *arguments]) == 0
    assert len(table.read_text().splitlines()) == 2
    assert "trained on rendered faces" in capsys.readouterr().err
    described = json.loads(table.with_suffix(".json").read_text())
    assert described["trained_on"] == "rendered faces"


def test_the_two_forms_of_predict_exclude_each_other(capsys):
    assert main(["predict", "--model", "m", "--config", "c"]) == 2
    assert "does not go with --config" in capsys.readouterr().err


def test_a_damaged_photograph_is_bad_input(demo, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    arguments = [f"--model={demo[0] / 'out' / 'model'}", f"--input={photo}", f"--output={tmp_path / 'o.csv'}"]
    assert main(["predict", *arguments, "--quiet"]) == 3
    assert "photo.png" in capsys.readouterr().err


@pytest.mark.realmedia
def test_a_real_video_has_a_row_for_every_frame(demo, tmp_path):
    table = tmp_path / "face.csv"
    arguments = [
        f"--model={demo[0] / 'out' / 'model'}",
        f"--input={MEDIA / 'single_face.mp4'}",
        f"--output={table}",
    ]
    assert main(["predict", *arguments, "--faces=218,121,154,154", "--quiet"]) == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(72))


def test_data_render_renders_and_says_what(tmp_path, capsys):
    root = tmp_path / "faces"
    arguments = [
        "data",
        "render",
        f"--output={root}",
        "--identities=4",
        "--clips=1",
        "--frames-per-clip=4",
        "--size=32",
        "--workers=1",
    ]
    assert main(arguments) == 0
    assert "4 rendered clips" in capsys.readouterr().out
    assert json.loads((root / "manifest.json").read_text())["rendered"] is True
