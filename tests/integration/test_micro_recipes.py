"""Every recipe of Micro-AU CLIP is parsed, trained for a step and tested, as are its baselines and ablations."""

import importlib
import math

import pytest
import torch
from helpers.recipes import ONE_STEP

from affectkit.cli.lightning import build_part, launch
from affectkit.cli.recipe import recipe_folder, recipe_names
from affectkit.data import Draw, OnsetApex, draw_weights
from affectkit.datamodules.statistics import clip_positives
from affectkit.methods.micro_au_clip import MicroAUHead
from affectkit.models import AffectModel, FlowBackbone
from affectkit.models.hub import no_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

TINY = "{model_name: affectkit-tiny}"
SMALL = ["--data.init_args.batch_size=4", "--data.init_args.num_workers=0"]
MICRO = "{identities: 6, clips: 4, frames_per_clip: 8, size: 112, seed: 0, regime: micro, fps: 40.0, num_workers: 1}"
MACRO = "{identities: 6, clips: 2, frames_per_clip: 4, size: 112, seed: 0, num_workers: 1}"
RECIPES = {
    "micro/casme2_microauclip": [
        *SMALL,
        "--data.init_args.fold=1",
        "--model.init_args.backbone.init_args={model_name: affectkit-tiny, size: 224, tokens: true}",
        f"--model.init_args.heads.au.init_args.text={TINY}",
    ],
    "micro/microauclip_rendered": [*SMALL, f"--data.init_args.render={MICRO}"],
    "joint/all_rendered": [
        *(
            f"--data.init_args.sources.{name}.init_args.{what}"
            for name, render in {"faces": MACRO, "micro": MICRO}.items()
            for what in ("batch_size=4", f"render={render}")
        )
    ],
}
RECIPES["micro/samm_microauclip"] = RECIPES["micro/casme2_microauclip"]
REHEARSAL = "micro/microauclip_rehearsal"  # an overlay, run by test_micro_crossval.py
LORA, B32 = "ablation/micro_lora", "ablation/micro_vit_b32"
TUNINGS = {"all": {"trainable": "all"}, "last": {"trainable": 2}, "lora": {"lora": {"rank": 8}}}
# overlay → what it leaves of a head or of the weights of the losses
ABLATIONS = {
    "ablation/micro_no_pta": ({"pta": False}, {}),
    "ablation/micro_no_gda": ({"gda": False}, {}),
    "ablation/micro_no_gdloss": ({}, {"au/dependency": 0.0}),
    "ablation/micro_no_miaucl": ({"text": None}, {"au/contrast": 0.0}),
    "ablation/micro_concat": ({"motion": "concat"}, {}),
    "ablation/micro_flow": ({"motion": "apex"}, {}),
    **{
        f"ablation/micro_text_{name}": ({"text": {"model_name": "affectkit-tiny-patch8", **tuning}}, {})
        for name, tuning in TUNINGS.items()
    },
}
FLOW_BASELINES = ("baseline/micro_ststnet", "baseline/micro_offapexnet")
# overlay → backbone and shape of what it reads
BASELINES = {
    "baseline/micro_difference": ("ClipBackbone", (2, 64)),
    "baseline/micro_ststnet": ("STSTNet", (2, 224)),
    "baseline/micro_offapexnet": ("OffApexNet", (2, 224)),
    "baseline/micro_led": ("LEDBackbone", (6, 64)),
}


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_downloaded():
    with no_weights():
        yield


@pytest.fixture(scope="module", autouse=True)
def corpora(tmp_path_factory):
    """Tiny rehearsals of both corpora; rendered ones join them when they are first asked for."""
    root = tmp_path_factory.mktemp("corpora")
    for name in ("casme2", "samm"):
        layout = importlib.import_module(f"affectkit.rehearse.{name}")
        getattr(layout, f"write_{name}")(root / name.upper(), size="tiny", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFFECTKIT_DATA", str(root))
        yield root


def arguments(name, folder, *overlays):
    """Command line of a step of a recipe with a tiny model and small batches."""
    configs = [part for recipe in (name, *overlays) for part in ("--config", recipe)]
    options = RECIPES[name]
    if any(overlay.startswith("baseline/") for overlay in overlays):
        options = [option for option in options if not option.startswith("--model.")]
    return [*configs, *ONE_STEP, *options, f"--trainer.default_root_dir={folder}"]


def test_every_recipe_is_run():
    shipped = {name for name in recipe_names() if "microauclip" in name or "/micro_" in name}
    assert shipped | {"joint/all_rendered"} == {*RECIPES, *ABLATIONS, *BASELINES, REHEARSAL, LORA, B32}


def test_recipes_start_with_what_they_are():
    for name in RECIPES:
        lines = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert any("Protocol `" in line for line in lines)
    for name in (*ABLATIONS, *BASELINES, REHEARSAL, LORA, B32):
        first = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# Overlay for a recipe of Micro-AU CLIP")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, tmp_path):
    cli = launch(["fit", *arguments(name, tmp_path)])
    assert cli.trainer.global_step == 1
    logged = cli.trainer.callback_metrics
    head = "micro_au" if name == "joint/all_rendered" else "au"
    terms = {"loss": 1.0, "contrast_loss": 0.1, "dependency_loss": 0.1}
    whole = sum(weight * logged[f"train/{head}/{term}"] for term, weight in terms.items())
    if name == "joint/all_rendered":
        whole = whole + logged["train/au/loss"] + 0.5 * logged["train/expression/loss"]
        assert min(logged["train/au/loss"], logged["train/expression/loss"]) > 0
    assert math.isclose(logged["train/loss"], whole, rel_tol=1e-4)
    assert logged[f"train/{head}/loss"] > 0
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    found = set(cli.model.results)
    if name == "joint/all_rendered":
        assert found == {"faces/au", "faces/expression", "micro/micro_au"}
    else:
        corpus = cli.datamodule.dataset_class.name
        assert found == {f"{corpus}/au", f"{corpus}/au by rules"}
    cli.model.model.save_pretrained(tmp_path / "model")
    assert AffectModel.from_pretrained(tmp_path / "model").config == cli.model.model.config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build_part(arguments("micro/microauclip_rendered", tmp_path_factory.mktemp("whole")), "model")


@pytest.mark.parametrize("overlay", ABLATIONS)
def test_an_ablation_changes_one_thing(overlay, whole, tmp_path):
    name = "micro/microauclip_rendered"
    task = launch(["fit", *arguments(name, tmp_path, overlay)]).model
    head, weights = ABLATIONS[overlay]
    assert task.heads["au"].config == {**whole.heads["au"].config, **head}
    assert task.loss_weights == {**whole.loss_weights, **weights}
    tower = whole.model.backbone.config
    if overlay == "ablation/micro_flow":
        tower = {"type": "flow", "backbone": tower, "size": 64, "shift": 4.0, "strain": 0.5}
    assert task.model.backbone.config == tower
    rates = {"all": 1e-6, "last": 1e-6, "lora": 1e-4}
    tuned = overlay.removeprefix("ablation/micro_text_")
    groups = [{"pattern": "heads.au.tower.*", "lr": rates[tuned]}] if tuned in rates else None
    assert task.hparams["param_groups"] == groups
    assert {key: task.hparams[key] for key in ("lr", "balance", "recognition")} == {
        key: whole.hparams[key] for key in ("lr", "balance", "recognition")
    }


def test_low_rank_additions_take_the_place_of_the_last_blocks(tmp_path):
    configs = [part for name in ("micro/casme2_microauclip", REHEARSAL, LORA) for part in ("--config", name)]
    cli = launch(["fit", *configs, *ONE_STEP, "--data.fold=1", f"--trainer.default_root_dir={tmp_path}"])
    assert cli.trainer.global_step == 1
    backbone = cli.model.model.backbone
    assert (backbone.config["trainable_blocks"], backbone.config["lora"]["rank"]) == (None, 8)
    learn = {name.rpartition(".")[2] for name, value in backbone.named_parameters() if value.requires_grad}
    assert learn == {"down", "up"}
    assert cli.model.hparams["param_groups"] == [{"pattern": "backbone.*", "lr": 1e-4}]


def test_vit_b32_has_49_patches_and_small_regions(tmp_path):
    """Random weights of the whole tower, for a step of a corpus."""
    name = "micro/casme2_microauclip"
    options = [*SMALL, "--data.init_args.fold=1", f"--trainer.default_root_dir={tmp_path}"]
    cli = launch(["fit", "--config", name, "--config", B32, *ONE_STEP, *options])
    assert cli.trainer.global_step == 1
    backbone, head = cli.model.model.backbone, cli.model.heads["au"]
    assert backbone.tower.grid_size == (7, 7)
    assert backbone.config["trainable_blocks"] == 4
    assert (head.config["region"], head.config["text"]["model_name"]) == (2, backbone.config["model_name"])
    assert cli.model.hparams["param_groups"] == [{"pattern": "backbone.*", "lr": 1e-6}]


@pytest.mark.parametrize("overlay", BASELINES)
def test_a_baseline_runs_for_a_step_on_the_same_data(overlay, tmp_path):
    flow = overlay in FLOW_BASELINES
    more = ["--model.backbone.init_args.size=64"] if flow else []
    cli = launch(["fit", *arguments("micro/microauclip_rendered", tmp_path, overlay), *more])
    check_baseline(cli, overlay, side=64 if flow else None)
    assert cli.trainer.global_step == 1
    assert cli.trainer.callback_metrics["train/loss"] > 0


@pytest.mark.parametrize("overlay", BASELINES)
def test_a_baseline_goes_with_a_corpus(overlay, tmp_path):
    tower = "--model.init_args.backbone.init_args={model_name: affectkit-tiny, size: 224}"
    more = [tower] if overlay == "baseline/micro_difference" else []
    cli = launch([*arguments("micro/casme2_microauclip", tmp_path, overlay), *more], execute=False)
    cli.datamodule.setup("fit")
    check_baseline(cli, overlay, side=224 if more else None)
    rates = cli.model.hparams["param_groups"]
    assert (rates is None) == (overlay in FLOW_BASELINES)


def check_baseline(cli, overlay, side=None):
    """The network is the one of the overlay, with a linear head, and reads what it was made for."""
    backbone, (length, usual) = BASELINES[overlay]
    found = cli.model.model.backbone
    assert type(found.backbone if isinstance(found, FlowBackbone) else found).__name__ == backbone
    assert not isinstance(cli.model.heads["au"], MicroAUHead)
    batch = next(iter(cli.datamodule.val_dataloader()))
    assert batch.frames.shape[1:] == (length, 3, side or usual, side or usual)
    assert cli.model(batch.frames, batch.frame_mask)["au"].shape == (len(batch), 8)
    assert cli.datamodule.input_format["frames"] == length
    assert cli.model.hparams["recognition"] is not None


def test_rare_units_are_drawn_more_often_and_the_apex_moves(tmp_path):
    """The options of the recipe reach the draws."""
    data = build_part(arguments("micro/microauclip_rendered", tmp_path), "data")
    data.prepare_data()
    data.setup("fit")
    train = data.datasets["train"]
    assert data.train_frames == OnsetApex(jitter=1)
    shown = clip_positives(train, "au", "casme2_8")
    assert shown.shape == (len(train), 8)
    torch.testing.assert_close(data.train_dataloader().sampler.weights, draw_weights(shown, share=0.25))
    seen = {tuple(train[Draw(0, seed)].meta["indices"]) for seed in range(20)}
    assert {first for first, _ in seen} == {train.clips[0].onset}
    apices = {apex for _, apex in seen}
    assert train.clips[0].apex in apices
    assert len(apices) > 1
    assert all(abs(apex - train.clips[0].apex) <= 1 for apex in apices)


def test_one_backbone_has_three_kinds_of_heads(tmp_path):
    cli = launch(arguments("joint/all_rendered", tmp_path), execute=False)
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    (batch, _, _) = next(iter(data.train_dataloader()))
    assert {name: set(part.targets) for name, part in batch.items()} == {
        "faces": {"au", "expression"},
        "micro": {"micro_au"},
    }
    assert data.sources["micro"].train_dataloader().sampler.weights is not None
    assert data.cooccurrence("micro_au", "casme2_8").shape == (8, 8)
    assert data.label_rates("au", "AU1,AU12").isfinite().all()
    assert [type(head).__name__ for head in cli.model.heads.values()] == [
        "AUHead",
        "ExpressionHead",
        "MicroAUHead",
    ]
