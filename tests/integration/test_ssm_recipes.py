"""Every recipe of SSM is parsed, trained for a step with a tiny tower, and tested, as are its overlays."""

import importlib

import pytest
from helpers.recipes import ONE_STEP

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.recipe import as_text, compose, recipe_folder, recipe_names
from affectkit.models import AffectModel
from affectkit.models.hub import no_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

FOLDERS = {"bp4d": "BP4D", "disfa": "DISFA", "rafdb": "RAF-DB", "dfew": "DFEW"}
TINY = [
    "--model.init_args.backbone.init_args={model_name: affectkit-tiny, size: 224, moe: {last: 1, hidden: 8}}",
    "--model.init_args.bridge.init_args.text={model_name: affectkit-tiny}",
]
RENDER = "{identities: 4, clips: 2, frames_per_clip: 4, size: 112, seed: %d, val: 0.25, test: 0.25, num_workers: 1}"
# recipe → corpora by source; a baseline has one corpus and no name for it
RECIPES = {
    "joint/ssm_bp4d_rafdb": ("bp4d", "rafdb"),
    "joint/ssm_disfa_rafdb": ("disfa", "rafdb"),
    "joint/ssm_bp4d_dfew": ("bp4d", "dfew"),
    "joint/ssm_rendered": ("units", "faces"),
    "au/ssm_bp4d": ("bp4d",),
    "au/ssm_disfa": ("disfa",),
    "expression/ssm_rafdb": ("rafdb",),
    "expression/ssm_dfew": ("dfew",),
}
OVERLAYS = {
    "ablation/ssm_no_tsp": None,
    "ablation/ssm_no_dpm": "none",
    "ablation/ssm_au_to_expression": "au_to_expression",
    "ablation/ssm_expression_to_au": "expression_to_au",
}


@pytest.fixture(autouse=True)
def _nothing_is_downloaded():
    with no_weights():
        yield


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Writes tiny rehearsals of published corpora, once each, and returns the folder of them all."""
    root = tmp_path_factory.mktemp("corpora")

    def write(names):
        for name in names:
            folder = root / FOLDERS.get(name, name)
            if name in FOLDERS and not folder.exists():
                layout = importlib.import_module(f"affectkit.rehearse.{name}")
                getattr(layout, f"write_{name}")(folder, size="tiny", seed=1)
        return root

    return write


def arguments(name, folder, *overlays):
    """Command line of a step of a recipe with a tiny model, small batches and no loader processes."""
    sources = [f"sources.{source}." for source in RECIPES[name]] if len(RECIPES[name]) > 1 else [""]
    small = [
        f"--data.init_args.{source}init_args.{what}"
        for source in sources
        for what in ("batch_size=2", "num_workers=0")
    ]
    if sources == [""]:
        small = ["--data.init_args.batch_size=2", "--data.init_args.num_workers=0"]
        if name.startswith("au/"):
            small.append("--data.init_args.fold=part2")
        if name == "expression/ssm_dfew":
            small.append("--data.init_args.fold=5")
    if name == "joint/ssm_rendered":
        small += [
            f"--data.init_args.sources.{source}.init_args.render={RENDER % seed}"
            for seed, source in enumerate(RECIPES[name])
        ]
    tiny = [] if name == "joint/ssm_rendered" else TINY
    configs = [part for recipe in (name, *overlays) for part in ("--config", recipe)]
    return [*configs, *ONE_STEP, *tiny, *small, f"--trainer.default_root_dir={folder}"]


def test_every_recipe_of_ssm_is_run():
    shipped = {name for name in recipe_names() if "/ssm_" in name}
    assert shipped == set(RECIPES) | set(OVERLAYS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, corpora, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTKIT_DATA", str(corpora(RECIPES[name])))
    cli = launch(["fit", *arguments(name, tmp_path)])
    assert cli.trainer.global_step == 1
    assert cli.trainer.callback_metrics["train/loss"] == pytest.approx(sum(weights(cli.model)) / 3, rel=1e-4)
    monitored = {callback.monitor for callback in cli.trainer.checkpoint_callbacks if callback.monitor}
    assert monitored <= set(cli.trainer.callback_metrics)
    assert len(monitored) == (0 if name == "joint/ssm_rendered" else len(RECIPES[name]))
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert {key.partition("/")[2] for key in cli.model.results} == set(cli.model.heads)
    if name == "joint/ssm_rendered":
        (rows, *_) = cli.model.results.values()
        assert "random frozen text tower" in rows[0].protocol
    cli.model.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == cli.model.model.config


def weights(task):
    return [task.balancer.weights[name] for name in task.heads]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_the_bridge_and_nothing_else(overlay, corpora, tmp_path, monkeypatch):
    name = "joint/ssm_bp4d_rafdb"
    monkeypatch.setenv("AFFECTKIT_DATA", str(corpora(RECIPES[name])))
    tiny = [
        option
        for option in arguments(name, tmp_path, overlay)
        if overlay != "ablation/ssm_no_tsp" or ".bridge." not in option
    ]
    task = build_part(tiny, "model")
    bridge = task.model.bridge
    assert (bridge is None) == (OVERLAYS[overlay] is None)
    if bridge is not None:
        assert bridge.config["directions"] == OVERLAYS[overlay]
        assert (bridge.config["prior"], bridge.config["prompts"]) == ("ssm_bp4d7", "ssm_bp4d")
    assert all(head.uses_prototypes == (bridge is not None) for head in task.heads.values())
    assert task.hparams["map_lr"] == 1e-2


def test_a_fold_of_one_source_is_chosen_from_the_command_line(corpora, tmp_path, monkeypatch):
    name = "joint/ssm_bp4d_dfew"
    monkeypatch.setenv("AFFECTKIT_DATA", str(corpora(RECIPES[name])))
    chosen = [*arguments(name, tmp_path), "--data.sources.bp4d.fold=part3", "--data.sources.dfew.fold=2"]
    cli = launch(chosen, execute=False)
    assert {name: str(source.fold) for name, source in cli.datamodule.sources.items()} == {
        "bp4d": "part3",
        "dfew": "2",
    }


def test_recipes_start_with_what_they_are():
    for name in {**RECIPES, **OVERLAYS}:
        path = recipe_folder() / f"{name}.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert name in OVERLAYS or "AFFECTKIT_DATA" in as_text(compose(path))
        assert all(len(line) <= 120 for line in lines)
