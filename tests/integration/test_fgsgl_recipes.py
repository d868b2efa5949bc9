"""Recipes of FG-SGL run for a step; the example makes the table that one of them reads."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.recipes import ONE_STEP
from PIL import Image

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.facs import label_space
from affectkit.models import AffectModel
from affectkit.models.hub import no_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RENDERED = "micro/fgsgl_rendered"
EXAMPLE = Path(__file__).parents[2] / "examples" / "gesture_table.py"
RENDER = "{identities: 6, clips: 2, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1, regime: micro}"
SMALL = ["--data.init_args.batch_size=4", f"--data.init_args.render={RENDER}"]
PARTS = ["part", "motion", "target", "dynamics"]


def without(part):
    return {"head": {"dimensions": [one for one in PARTS if one != part]}}


# overlay → what it changes
ABLATIONS = {
    "no_fine": {"head": {"scores": "category"}},
    "no_category": {"head": {"scores": "fine"}},
    "no_motion": {"head": {"motion": False}},
    "three_dims_no_part": without("part"),
    "three_dims_no_motion": without("motion"),
    "three_dims_no_target": without("target"),
    "three_dims_no_dynamics": without("dynamics"),
    "one_stage": {"task": {"order": "one_stage"}},
    "fine_first": {"task": {"order": "fine_first"}},
    "frozen_text": {"task": {"freeze": ["bridge.text.*"]}},
    "shuffled_texts": {"bridge": {"control": "shuffled"}},
    "random_texts": {"bridge": {"control": "random"}},
}


@pytest.fixture(autouse=True)
def _data(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path_factory.getbasetemp() / "fgsgl-data"))


def arguments(folder, *overlays):
    configs = [part for name in (RENDERED, *overlays) for part in ("--config", name)]
    return [*configs, *ONE_STEP, *SMALL, f"--trainer.default_root_dir={folder}"]


def settings(task):
    """Settings of head, bridge and task that overlays may change."""
    return {
        "head": task.model.config["heads"]["expression"],
        "bridge": task.model.config["bridge"],
        "task": {"order": task.order, "freeze": task.hparams["freeze"]},
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return settings(build_part(arguments(tmp_path_factory.mktemp("plain")), "model"))


def test_every_recipe_is_run():
    shipped = {n for n in recipe_names() if "fgsgl" in n or n.startswith("gesture/")}
    assert shipped - {"model/fgsgl", "model/fgsgl_tiny"} == {
        RENDERED,
        "gesture/own_clips",
        *(f"ablation/fgsgl_{name}" for name in ABLATIONS),
    }
    for name in ABLATIONS:
        text = (recipe_folder() / f"ablation/fgsgl_{name}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# Overlay for a recipe of FG-SGL: ")


@pytest.mark.parametrize("overlay", ABLATIONS)
def test_an_ablation_changes_one_thing_and_trains(overlay, plain, tmp_path):
    cli = launch(["fit", *arguments(tmp_path, f"ablation/fgsgl_{overlay}")])
    changes = ABLATIONS[overlay]
    assert settings(cli.model) == {key: {**value, **changes.get(key, {})} for key, value in plain.items()}
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"])


def test_the_rendered_recipe_trains_tests_and_saves(tmp_path):
    cli = launch(["fit", *arguments(tmp_path)])
    task, logged = cli.model, cli.trainer.callback_metrics
    first = logged["train/expression/loss"] + logged["train/expression/category_loss"]  # the first stage
    assert math.isclose(logged["train/loss"], first, rel_tol=1e-4)
    assert "text" in task.model.config["bridge"]
    cli.trainer.test(task, datamodule=cli.datamodule, verbose=False)
    assert set(task.results) == {"rendered/expression"}
    task.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == task.model.config


def write_recordings(folder):
    """Three recordings as folders of pictures, their label files and their people."""
    for k in range(3):
        name = f"Sample000{k}"
        (folder / "videos" / name).mkdir(parents=True)
        for frame in range(6):
            Image.new("RGB", (40, 40), (40 * frame, 80 * k, 120)).save(
                folder / "videos" / name / f"{frame:03d}.png"
            )
        (folder / "labels" / name).mkdir(parents=True)
        (folder / "labels" / name / f"{name}_finelabels.csv").write_text("3,1,4\n17,5,6\n\n")
    rows = "\n".join(f"Sample000{k},s{k},{split}" for k, split in enumerate(("train", "val", "test")))
    (folder / "people.csv").write_text(f"recording,subject,split\n{rows}\n")
    return folder


@pytest.fixture
def module():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("gesture_table", EXAMPLE)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def example(folder, classes="smg17", *options):
    command = [sys.executable, str(EXAMPLE), classes, "labels", "videos", "people.csv", "index.csv", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_label_files_become_a_table_that_trains(tmp_path):
    folder = write_recordings(tmp_path / "smg")
    done = example(folder)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "index.csv")
    assert list(table["expression"][:2]) == ["folding arms", "illustrative hand gestures"]
    assert table[["clip", "subject", "split", "start", "stop"]].values[:2].tolist() == [
        ["Sample0000_000", "s0", "train", 0, 4],
        ["Sample0000_001", "s0", "train", 4, 6],
    ]
    tower = "{model_name: affectkit-tiny, size: 32, tokens: true, token_block: 2, lora: {rank: 2}}"
    small = [
        f"--model.backbone={{class_path: ClipBackbone, init_args: {tower}}}",
        "--model.temporal={class_path: ClipTokenTransformer, init_args: {heads: 2, head_width: 8}}",
        "--model.bridge.init_args.text={model_name: affectkit-tiny, lora: {rank: 2}}",
        f"--data.root={folder}",
        "--data.batch_size=2",
        "--data.num_frames=2",
        "--data.num_workers=0",
        "--data.final_transform={class_path: Resize, init_args: {size: 32}}",
    ]
    run = [
        "fit",
        "--config",
        "gesture/own_clips",
        *ONE_STEP,
        *small,
        f"--trainer.default_root_dir={tmp_path}",
    ]
    with no_weights():
        cli = launch(run)
    head = cli.model.heads["expression"]
    assert head.space == label_space("smg17")
    assert torch.isfinite(cli.trainer.callback_metrics["val/table/expression/war"])
    for tower in (cli.model.model.backbone.tower, cli.model.bridge.text):  # low-rank additions alone
        trained = [p.shape for p in tower.parameters() if p.requires_grad]
        assert trained
        assert all(2 in shape for shape in trained)


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("labels/Sample0001/Sample0001_finelabels.csv", "18,1,4\n", "label 18 must be from 1 to 17"),
        ("labels/Sample0001/Sample0001_finelabels.csv", "1,0,4\n", "in order, from 1"),
        ("labels/Sample0001/Sample0001_finelabels.csv", "1,5,4\n", "5 to 4"),
        ("labels/Sample0001/Sample0001_finelabels.csv", "one,5,4\n", "not label,start,end"),
        ("people.csv", "recording,subject\nSample0001,s1\n", "no column split"),
        ("people.csv", "recording,subject,split\nSample0001,s1,dev\n", "'dev'"),
        (
            "people.csv",
            "recording,subject,split\nSample0009,s1,train\n",
            "nothing of the recording 'Sample0009'",
        ),
    ],
)
def test_the_example_names_file_and_fault(module, tmp_path, monkeypatch, capsys, file, text, fault):
    folder = write_recordings(tmp_path)
    (folder / file).write_text(text)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stopped:
        module.main(["smg17", "labels", "videos", "people.csv", "index.csv"])
    assert stopped.value.code == 1
    assert fault in capsys.readouterr().err
    assert not (folder / "index.csv").exists()


def test_frames_of_imigue_count_from_0_and_99_is_its_last_class(module, tmp_path):
    path = tmp_path / "a_label.csv"
    path.write_text("99,0,3\n1,4,9\n")
    classes = label_space("imigue32").labels
    assert module.read_gestures(path, classes, 0) == [
        ("illustrative hand gestures", 0, 4),
        ("turtling neck", 4, 10),
    ]
