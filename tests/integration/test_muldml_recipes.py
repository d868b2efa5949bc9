"""Every recipe of multi-threshold metric learning is trained for a step and tested, and its overlays are parsed."""

import pytest
import torch
from helpers.recipes import ONE_STEP

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.models import AffectModel
from affectkit.models.hub import no_weights
from affectkit.rehearse.rafdb import write_rafdb

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = [
    *ONE_STEP,
    "--data.init_args.batch_size=14",
]
RENDER = "{identities: 6, clips: 7, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1}"
RECIPES = {
    "expression/muldml_rafdb": [
        "--data.init_args.num_workers=0",
        "--data.init_args.size=64",
        "--model.init_args.backbone.init_args.size=64",
    ],
    "expression/muldml_rendered": [f"--data.init_args.render={RENDER}", "--data.init_args.steps_per_epoch=1"],
}
# overlay → what it changes of the task, of its triplet loss, and of the head
OVERLAYS = {
    "tau_02": ({}, {"thresholds": [0.2] * 16}, {}),
    "tau_05": ({}, {"thresholds": [0.5] * 16}, {}),
    "tau_10": ({}, {"thresholds": [1.0] * 16}, {}),
    "tau_15": ({}, {"thresholds": [1.5] * 16}, {}),
    "no_slices": ({}, {"thresholds": [1.0]}, {"slices": 1, "slice_width": 512}),
    "no_dual": ({}, {"dual": "none"}, {}),
    "mined_dual": ({}, {"dual": "mined"}, {}),
    "triplet_only": (
        {"loss_weights": {"expression": 0.0, "expression/triplet": 1.0}},
        {},
        {"classifier": "prototype"},
    ),
    "ce_only": ({"loss_weights": {"expression": 1.0, "expression/triplet": 0.0}}, {}, {}),
    "batch_hard": ({}, {"mining": "batch_hard"}, {}),
    "all_triplets": ({}, {"mining": "all"}, {}),
    "no_warm_start": ({"warm_start": 0.0}, {}, {}),
    "identity_aware": ({}, {"identity_aware": True}, {}),
    "soft": ({}, {"softness": 0.1}, {}),
    "knn": ({}, {}, {"classifier": "knn"}),
    "prototype": ({}, {}, {"classifier": "prototype"}),
}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_downloaded():
    with no_weights():
        yield


@pytest.fixture(scope="module", autouse=True)
def corpora(tmp_path_factory):
    """A tiny rehearsal of RAF-DB; the rendered corpus joins it when it is first asked for."""
    root = tmp_path_factory.mktemp("corpora")
    write_rafdb(root / "RAF-DB", size="tiny", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFECTKIT_DATA", str(root))
        yield root


def arguments(name, folder, *overlays):
    configs = [part for recipe in (name, *overlays) for part in ("--config", recipe)]
    return [*configs, *QUIET, *RECIPES[name], f"--trainer.default_root_dir={folder}"]


def test_every_recipe_is_run():
    shipped = {name for name in recipe_names() if "/muldml_" in name}
    assert shipped == {*RECIPES, *(f"ablation/muldml_{overlay}" for overlay in OVERLAYS)}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, tmp_path):
    assert any("Protocol `" in line for line in (recipe_folder() / f"{name}.yaml").read_text().splitlines())
    cli = launch(["fit", *arguments(name, tmp_path)])
    logged = cli.trainer.callback_metrics
    whole = logged["train/expression/loss"] + logged["train/expression/triplet_loss"]
    torch.testing.assert_close(logged["train/loss"], whole)
    assert logged["train/expression/triplet_loss"] > 0
    assert {callback.monitor for callback in cli.trainer.checkpoint_callbacks if callback.monitor} <= set(
        logged
    )
    labels = cli.datamodule.train_dataloader().dataset
    drawn = [draw.index for draw in cli.datamodule.train_dataloader().sampler][:7]
    shown = {int(labels.annotate(labels.clips[i], [0])["expression"].value) for i in drawn}
    assert len(shown) == 7
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert cli.model.results
    cli.model.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == cli.model.model.config


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return build_part(arguments("expression/muldml_rafdb", tmp_path_factory.mktemp("plain")), "model")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_one_thing(overlay, plain, tmp_path):
    name, path = "expression/muldml_rafdb", f"ablation/muldml_{overlay}"
    first = (recipe_folder() / f"{path}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Overlay for a recipe of multi-threshold metric learning: ")
    changed = build_part(arguments(name, tmp_path, path), "model")
    of_task, of_loss, of_head = OVERLAYS[overlay]

    def settings(task):
        loss, head = task.triplets["expression"], task.heads["expression"]
        return (
            {name: getattr(task, name) for name in ("loss_weights", "warm_start")},
            {
                "thresholds": [round(tau, 5) for tau in loss.thresholds.tolist()],
                **{name: getattr(loss, name) for name in ("dual", "mining", "identity_aware", "softness")},
            },
            head.config,
        )

    task, loss, head = settings(plain)
    assert settings(changed) == (task | of_task, loss | of_loss, head | of_head)
