"""Recipes of EmoCapCLIP run for a step; saved models predict and are evaluated zero-shot on any corpus."""

import importlib
import json
import math
import re

import pandas as pd
import pytest
import torch
from helpers.recipes import ONE_STEP
from PIL import Image
from safetensors.torch import save_file

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.main import main
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.models import AffectModel
from affectkit.models.clip import load_clip
from affectkit.models.hub import no_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
RENDER = "{identities: 6, clips: 2, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1}"
RENDERED = ["--data.init_args.batch_size=4", f"--data.init_args.render={RENDER}"]
TINY = [
    "--model.backbone={class_path: ClipBackbone, init_args: {model_name: affectkit-tiny, tokens: true}}",
    "--model.bridge.init_args.text={model_name: affectkit-tiny, trainable: 1}",
]
# overlay → changed weights or options
ABLATIONS = {
    "ablation/emocap_no_local": {"local_weight": 0.0},
    "ablation/emocap_no_summary": {"summary_weight": 0.0},
    "ablation/emocap_no_mining": {"guide": "off"},
    "ablation/emocap_guide_text": {"guide": "text"},
    "ablation/emocap_shuffled": {"shuffle": True},
}
ZERO_SHOT = {
    "zero_shot/rafdb": "RAF-DB",
    "zero_shot/dfew": "DFEW",
    "zero_shot/affectnet": "AffectNet",
    "zero_shot/ferv39k": "FERV39k",
    "zero_shot/mafw": "MAFW",
}


@pytest.fixture(autouse=True)
def _data(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path_factory.getbasetemp() / "emocap-data"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model of a CLIP with random weights, made by the converter."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    weights = load_clip("affectkit-tiny")
    save_file(
        {name: tensor.clone() for name, tensor in weights.state_dict().items()}, folder / "clip.safetensors"
    )
    command = ["model", "convert", "clip", str(folder / "clip.safetensors"), "--model-name", "affectkit-tiny"]
    assert main([*command, "--output", str(folder / "model")]) == 0
    return folder / "model"


def test_every_recipe_is_run():
    shipped = {n for n in recipe_names() if n.startswith(("caption/", "zero_shot/", "ablation/emocap_"))}
    assert shipped == {"caption/emocap_rendered", "caption/own_captions", *ABLATIONS, *ZERO_SHOT}
    for name in shipped:
        first = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# Overlay for a recipe of EmoCapCLIP: " if "/emocap_no" in name else "# ")


def trained(folder, *overlays):
    """A run of one step of the rendered recipe, whose loss is that of its terms."""
    configs = [option for name in ("caption/emocap_rendered", *overlays) for option in ("--config", name)]
    cli = launch(["fit", *configs, *ONE_STEP, *RENDERED, f"--trainer.default_root_dir={folder}"])
    logged = cli.trainer.callback_metrics
    whole = sum(weight * logged[f"train/{term}/loss"] for term, weight in cli.model.loss_weights.items())
    assert math.isclose(logged["train/loss"], whole, rel_tol=1e-4)
    return cli


@pytest.fixture(scope="module")
def plain():
    return build_part(["--config", "caption/emocap_rendered", *RENDERED], "model").hparams


@pytest.mark.parametrize("overlay", ABLATIONS)
def test_an_overlay_changes_one_thing_and_trains(overlay, plain, tmp_path):
    hparams = trained(tmp_path, overlay).model.hparams
    assert {key: hparams[key] for key in plain} == {**plain, **ABLATIONS[overlay]}


def test_the_rendered_recipe_trains_tests_and_saves(tmp_path):
    cli = trained(tmp_path)
    task = cli.model
    cli.trainer.test(task, datamodule=cli.datamodule, verbose=False)
    assert set(task.results) == {"rendered/expression", "rendered/captions"}
    task.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == task.model.config


def test_own_captions_train_without_any_label(tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    entries, rows = [], []
    for k, split in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        Image.new("RGB", (80, 80), (25 * k, 90, 120)).save(root / f"{k}.png")
        rows.append({"path": f"{k}.png", "subject": f"s{k}", "split": split})
        entry = {"clip": f"{k}.png", "global": f"Face number {k}.", "local": {"brows": f"Raised by {k}."}}
        entries.append(entry if k % 3 else {"clip": f"{k}.png", "summary": f"Only {k}. " * 40})
    pd.DataFrame(rows).to_csv(root / "index.csv", index=False)
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, entries)))
    options = [
        f"--data.root={root}",
        "--data.batch_size=4",
        "--data.num_workers=0",
        "--data.crop_faces=false",
    ]
    arguments = ["--config", "caption/own_captions", *ONE_STEP, *TINY, *options]
    with no_weights():
        cli = launch(["fit", *arguments, f"--trainer.default_root_dir={tmp_path}"])
        logged = dict(cli.trainer.callback_metrics)
        cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert set(cli.model.results) == {"table/captions"}
    assert {"train/global/loss", "train/summary/loss", "train/local/loss"} <= set(logged)


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_a_saved_model_is_evaluated_zero_shot_by_one_command(name, saved, tmp_path, monkeypatch, capsys):
    folder = ZERO_SHOT[name]
    layout = importlib.import_module(f"affectkit.rehearse.{name.partition('/')[2]}")
    getattr(layout, f"write_{name.partition('/')[2]}")(tmp_path / folder, size="tiny", seed=1)
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path))
    options = [*QUIET, "--data.num_workers=0", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", "--config", name, "--model", str(saved), *options]) == 0
    printed, notes = capsys.readouterr()
    for column in ("expression/uar", "expression/war", "interval", "zero-shot by prompts"):
        assert column in " ".join(printed.split())
    assert "prompts of happiness: a photo of a face that shows happiness." in notes
    (rows,) = json.loads((tmp_path / "test_results.json").read_text()).values()
    found = {row["name"]: row for row in rows}
    assert 0 <= found["expression/uar"]["ci"][0] <= found["expression/uar"]["value"]
    assert found["expression/war"]["value"] is not None
    classes = set(re.findall(r"prompts of (\w+):", notes))
    assert len(classes) == {"zero_shot/mafw": 11, "zero_shot/affectnet": 8}.get(name, 7)
    assert ("helplessness" in classes) == (name == "zero_shot/mafw")


def test_classes_need_a_model_with_texts_and_a_corpus_with_expressions(saved, tmp_path, monkeypatch, capsys):
    layout = importlib.import_module("affectkit.rehearse.rafdb")
    layout.write_rafdb(tmp_path / "RAF-DB", size="tiny", seed=1)
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path))
    options = [*QUIET, "--data.num_workers=0", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", "--config", "zero_shot/rafdb", "--model", "demo", *options]) == 2
    assert "no expression head with prototypes" in capsys.readouterr().err


def test_predict_takes_classes(saved, tmp_path):
    Image.new("RGB", (80, 80), (120, 90, 80)).save(tmp_path / "face.png")
    command = ["predict", "--model", str(saved), "--input", str(tmp_path / "face.png"), "--faces", "center"]
    table = tmp_path / "face.csv"
    assert (
        main([*command, "--output", str(table), "--classes", "happiness", "contempt", "a very tired face"])
        == 0
    )
    row = pd.read_csv(table).iloc[0]
    shares = [row[name] for name in ("happiness", "contempt", "a very tired face")]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
