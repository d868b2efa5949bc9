"""The recipes of engagement and of doubtful labels are trained for a step and tested."""

import csv
import math

import pytest

from affectkit.cli.lightning import launch
from affectkit.cli.recipe import find_recipe, recipe_names
from affectkit.models import AffectModel
from affectkit.rehearse import rehearse

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--data.steps_per_epoch=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.batch_size=4",
    "--data.num_workers=0",
]
ENGAGED = (
    "--data.render={identities: 4, clips: 2, frames_per_clip: 4, size: 112, seed: 1, regime: engagement, "
    "num_workers: 1, val: 0.25, test: 0.25}"
)
FACES = "--data.render={identities: 5, clips: 2, frames_per_clip: 4, size: 80, seed: 1, num_workers: 1}"
RENDERED = {"engagement/rendered": ENGAGED, "expression/noisy_rendered": FACES}
CORPORA = {"engagement/engagenet_signals": "EngageNet", "engagement/daisee": "DAiSEE"}
OVERLAYS = {
    "ablation/engagement_accepted_only": "engagement/rendered",
    "ablation/engagement_as_given": "engagement/rendered",
    "ablation/engagement_evidential": "engagement/rendered",
    "ablation/engagement_hard_labels": "expression/noisy_rendered",
    "ablation/engagement_no_curriculum": "expression/noisy_rendered",
    "ablation/engagement_oracle_split": "engagement/rendered",
    "ablation/engagement_ordinal": "engagement/rendered",
    "ablation/engagement_random_split": "engagement/rendered",
    "baseline/engagement_transformer": "engagement/engagenet_signals",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of the data, with a rehearsal of each corpus."""
    root = tmp_path_factory.mktemp("engagement")
    for name in CORPORA.values():
        rehearse(name, root / name, pixels=128 if name == "DAiSEE" else 32, media=name == "DAiSEE")
    return root


def fit(folder, tmp_path, monkeypatch, *recipes, options=()):
    monkeypatch.setenv("AFFECTKIT_DATA", str(folder))
    configs = [part for recipe in recipes for part in ("--config", recipe)]
    small = [RENDERED[recipes[0]]] if recipes[0] in RENDERED else []
    return launch(["fit", *configs, *QUIET, *small, f"--trainer.default_root_dir={tmp_path}", *options])


def test_every_recipe_is_tested():
    shipped = {name for name in recipe_names() if "engagement" in name or "noisy" in name}
    assert shipped == {*RENDERED, *CORPORA, *OVERLAYS}
    for name in shipped:
        assert find_recipe(name).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("recipe", [*RENDERED, *CORPORA])
def test_a_recipe_is_trained_and_tested(recipe, folder, tmp_path, monkeypatch):
    cli = fit(folder, tmp_path, monkeypatch, recipe)
    assert cli.trainer.global_step == 1
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"])
    monitored = [callback.monitor for callback in cli.trainer.checkpoint_callbacks if callback.monitor]
    assert set(monitored) <= set(cli.trainer.callback_metrics)
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    ((key, results),) = cli.model.results.items()
    target = key.partition("/")[2]
    names = {result.name.partition("/")[2] for result in results}
    if target == "engagement":
        assert {"f1_macro", "acc_adjacent", "qwk", "mae", "acc"} <= names
        assert all(math.isfinite(result.baseline) for result in results if result.name == "engagement/acc")
    cli.model.model.save_pretrained(tmp_path / "saved")
    assert AffectModel.from_pretrained(tmp_path / "saved").signals == cli.model.model.signals
    if recipe in RENDERED:
        with (tmp_path / f"reliability_{target}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(cli.datamodule.datasets["train"])
        assert set(cli.datamodule.datasets["train"].targets) == {target}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_trained(overlay, folder, tmp_path, monkeypatch):
    cli = fit(folder, tmp_path, monkeypatch, OVERLAYS[overlay], overlay)
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"])
    model = cli.model
    assert {
        "accepted_only": lambda: model.curriculum.stages == "accepted",
        "as_given": lambda: not model.ratings and not model.reliability,
        "evidential": lambda: type(model.losses["engagement"]).__name__ == "EvidentialLoss",
        "hard_labels": lambda: not model.soft,
        "no_curriculum": lambda: model.curriculum.stages == "none",
        "oracle_split": lambda: model.split == "oracle",
        "ordinal": lambda: type(model.losses["engagement"]).__name__ == "LevelsLoss",
        "random_split": lambda: model.split == "random",
        "transformer": lambda: model.model.temporal.pool == "max" and not model.segments,
    }[overlay.partition("engagement_")[2]]()
