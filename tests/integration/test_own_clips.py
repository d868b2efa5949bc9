"""A new user's way: own clips and a table, through the commands of docs/howto/own_data.md, to values of a new video."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.own_clips import film, write_own_clips

from affectkit.cli.lightning import build_part
from affectkit.cli.main import main
from affectkit.data.video import open_video
from affectkit.datasets import TableDataset
from affectkit.datasets.preparing import measure
from affectkit.faces import frame_faces
from affectkit.inference import Predictor
from affectkit.models import load
from affectkit.synth import write_video

PAGE = Path(__file__).parents[2] / "docs/howto/own_data.md"
SMALL = [
    "--model.init_args.backbone.init_args={model_name: test_convnext, pretrained: false, size: 48}",
    "--model.init_args.temporal.init_args.heads=4",
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_model_summary=false",
    "--trainer.enable_progress_bar=false",
    "--data.num_workers=0",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The user's folder, in which all commands run."""
    home = tmp_path_factory.mktemp("home")
    write_own_clips(home / "my-clips")
    write_video(home / "new.mp4", film(99, smile=True), fps=25.0)
    before = Path.cwd()
    os.chdir(home)
    yield home
    os.chdir(before)


def commands():
    """Arguments of the six commands of the page."""
    block = re.search(r"```\n((?:affectkit .*\n){6})```", PAGE.read_text(encoding="utf-8"))
    return [line.split()[1:] for line in block[1].splitlines()]


class Warnings(logging.Handler):
    """Warnings that are logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture(scope="module")
def said(home):
    """What the six commands of the page print; they leave recipe, model and predictions in `home`."""
    text, logged = io.StringIO(), Warnings()
    logging.getLogger().addHandler(logged)
    with redirect_stdout(text), redirect_stderr(text):
        codes = [main([*a, *(SMALL if a[0] in ("fit", "test") else [])]) for a in commands()]
    logging.getLogger().removeHandler(logged)
    assert codes == [0] * 6
    assert logged.texts == []
    return text.getvalue()


def test_six_commands_from_clips_to_predictions(home, said):
    assert "warning" not in said.lower()
    assert "faces: in 60 of 60 frames" in said
    assert "table: a face in 48 of 48 frames of 8 clips" in said
    spec = load("runs/my-clips/model").input_spec
    assert (spec.size, spec.frames, spec.alignment, spec.crop_margin) == (48, 8, "five_points", 0.15)
    # 6 frames at 25 per second, sampled as 8 frames from the first to the last.
    assert spec.fps == pytest.approx(25 * 7 / 5)
    table = pd.read_csv("new.csv")
    assert table["success"].tolist() == [1] * 6
    assert {"AU04", "AU12", "happiness", "anger", "valence", "arousal"} <= set(table)
    assert list(home.glob(".signals/my-clips/**/*.safetensors"))


@pytest.mark.usefixtures("said")
def test_the_exported_model_sees_the_crops_that_it_was_trained_on():
    """The pixels of training equal those of prediction, for the same frames of the same media."""
    model = load("runs/my-clips/model")
    data = build_part(["--config", "my-clips.yaml", *SMALL], "data")
    data.adapt(model)
    data.prepare_data()
    data.setup("fit")
    trained = data.datasets["val"]
    for index, record in enumerate(trained.clips):
        clip = trained[index]
        with open_video(record.path) as video:
            shown = list(frame_faces(video, Predictor(model).faces, model.input_spec))
        expected = [shown[number].faces[0].picture for number in clip.meta["indices"]]
        assert torch.equal(clip.frames, torch.stack(expected))
    # Augmentation varies these crops; its evaluation form leaves the place of the face as it is.
    assert data.transform(train=True)(clip).frames.shape == clip.frames.shape


@pytest.mark.usefixtures("said")
def test_the_recipe_may_not_contradict_the_data(capsys):
    fit = ["fit", "--config", "my-clips.yaml", *SMALL]
    for stated, fault in (
        ("{frames: 4}", "states frames 4 for the model's input, but the data make frames 8"),
        ("{fps: 25}", "fps 25 for the model's input, but the data make fps 35"),
    ):
        assert main([*fit, f"--model.init_args.input_spec={stated}"]) == 2
        message = capsys.readouterr().err
        assert fault in message
        assert "Remove" in message
    assert main([*fit, "--data.size=64"]) == 2
    assert "Training makes pictures of 64 pixels, evaluation of 48." in capsys.readouterr().err
    small = "--data.train_transform={class_path: RandomResizedCrop, init_args: {size: 40}}"
    assert (
        main([*fit, small, "--data.eval_transform=CenterCrop", "--data.eval_transform.init_args.size=40"])
        == 2
    )
    message = capsys.readouterr().err
    assert "The data make pictures of 40 pixels, the backbone reads 48." in message


def test_faces_are_measured_once_even_if_the_process_is_killed(home, tmp_path):
    """A killed preparation continues with the clips that are left, and its files are whole."""
    folder = write_own_clips(tmp_path / "clips", each=1, frames=12)
    program = (
        "from affectkit.datasets import TableDataset\n"
        "from affectkit.datasets.preparing import measure\n"
        f"measure([TableDataset({str(folder)!r}, pictures=48)])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    store = tmp_path / ".signals"
    deadline = time.monotonic() + 120
    while len(list(store.rglob("*.safetensors"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = measure([TableDataset(folder, pictures=48)])
    assert 1 <= left <= 3
    assert measure([TableDataset(folder, pictures=48)]) == 0
    again = TableDataset(folder, pictures=48, signals_root=tmp_path / "other")
    kept = TableDataset(folder, pictures=48)
    assert all(torch.equal(kept[k].frames, again[k].frames) for k in range(len(kept)))


@pytest.mark.usefixtures("said")
def test_results_name_the_protocol():
    (results,) = Path("runs/my-clips").rglob("test_results.json")
    (rows, *_) = json.loads(results.read_text(encoding="utf-8")).values()
    assert "subjects disjoint" in rows[0]["protocol"]
