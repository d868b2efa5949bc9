"""Every recipe of AU-TTT is parsed, trained for a step and tested, as are its ablations, and across corpora."""

import importlib
import json

import pytest

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.main import main
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.losses import inverse_frequency_weights
from affectkit.methods.au_ttt import AUTTTHead
from affectkit.models.hub import no_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.init_args.batch_size=2",
    "--data.init_args.eval_batch_size=2",
]
TINY = [
    *(
        f"--model.init_args.backbone.init_args.{name}={value}"
        for name, value in {"width": 16, "depth": 1, "heads": 2, "patch": 56}.items()
    ),
    "--data.init_args.num_workers=0",
]
RENDERED = [
    "--data.init_args.render={identities: 6, clips: 2, frames_per_clip: 4, size: 80, seed: 0, num_workers: 1}"
]
RECIPES = {"au/auttt_bp4d": TINY, "au/auttt_disfa": TINY, "au/auttt_rendered": RENDERED}
# overlay → what it changes in the configuration of the backbone
ABLATIONS = {
    "no_roi": {"roi": False},
    "no_msp": {"msp": False},
    "forward_only": {"scan": "forward"},
    "no_inner": {"inner": False},
    "global": {"scan": "global"},
    "attention": {"scan": "attention"},
    "wide_regions": {"region": 0.5},
    "mean_face": {"landmarks": False},
    "no_heatmap": {},
    "constant_gamma": {},
}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_downloaded():
    with no_weights():
        yield


@pytest.fixture(scope="module", autouse=True)
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    for name in ("bp4d", "disfa"):
        layout = importlib.import_module(f"affectkit.rehearse.{name}")
        getattr(layout, f"write_{name}")(root / name.upper(), size="tiny", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFECTKIT_DATA", str(root))
        yield root


def arguments(name, folder, *overlays):
    configs = [part for recipe in (name, *overlays) for part in ("--config", recipe)]
    places = ["--trainer.logger=false", f"--trainer.default_root_dir={folder}"]
    return [*configs, *QUIET, *RECIPES[name], *places]


def test_every_recipe_is_run():
    shipped = {name for name in recipe_names() if "/auttt_" in name}
    assert shipped == {*RECIPES, *(f"ablation/auttt_{name}" for name in ABLATIONS)}
    for name in ABLATIONS:
        text = (recipe_folder() / f"ablation/auttt_{name}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# Overlay for a recipe of AU-TTT: ")
    for name in RECIPES:
        assert "Protocol `" in (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, tmp_path):
    fold = [] if name == "au/auttt_rendered" else ["--data.init_args.fold=1"]
    cli = launch(["fit", *arguments(name, tmp_path), *fold])
    assert cli.trainer.global_step == 1
    logged, head = cli.trainer.callback_metrics, cli.model.heads["au"]
    assert isinstance(head, AUTTTHead)
    terms = [logged[f"train/au/{term}"] for term in ("loss", "wdi_loss", "heatmap_loss")]
    assert logged["train/loss"].item() == pytest.approx(sum(terms).item(), rel=1e-4)
    assert head.space.name == cli.model.model.backbone.config["units"]
    monitored = [callback.monitor for callback in cli.trainer.checkpoint_callbacks if callback.monitor]
    assert set(monitored) <= set(logged)
    rates = cli.datamodule.label_rates("au", head.space.name)
    if (rates > 0).all():
        expected = inverse_frequency_weights(rates.tolist())
        assert cli.model.losses["au"].weight.tolist() == pytest.approx(expected, rel=1e-5)
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    (result,) = cli.model.results
    assert result.endswith("/au")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build_part(arguments("au/auttt_rendered", tmp_path_factory.mktemp("whole")), "model")


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_thing(name, whole, tmp_path):
    task = build_part(arguments("au/auttt_rendered", tmp_path, f"ablation/auttt_{name}"), "model")
    assert task.model.backbone.config == {**whole.model.backbone.config, **ABLATIONS[name]}
    landmarks = name != "mean_face"
    assert task.heads["au"].config == {**whole.heads["au"].config, "landmarks": landmarks}
    assert task.gamma == ("one" if name == "constant_gamma" else "rate")
    weight = 0.0 if name == "no_heatmap" else 1.0
    assert task.loss_weights == {**whole.loss_weights, "au/heatmap": weight}


def test_corpora_are_tested_on_each_other(tmp_path, capsys):
    command = ["crossval", "--config", "au/auttt_bp4d", "--across", "au/auttt_disfa", *QUIET, *TINY]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results) == {"DISFA/au", "BP4D/au"}
    for name, rows in results.items():
        assert name in printed
        measured = {row["name"] for row in rows if row["value"] is not None}
        assert "all subjects, no training on them" in rows[0]["protocol"]
        shared = {"au/f1_pos/AU1", "au/f1_pos/AU12"}
        assert shared <= measured
        assert not {"au/f1_pos/AU9", "au/f1_pos/AU24"} & measured  # of one corpus only


def test_whole_corpora_have_no_folds(tmp_path):
    command = ["crossval", "--config", "au/auttt_bp4d", "--across", "au/auttt_disfa", *TINY, "--fold", "1"]
    assert main(command) == 2
