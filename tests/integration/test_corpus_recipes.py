"""Every recipe of a published corpus is parsed, trained for a step and tested on a rehearsal of its corpus."""

import importlib
import json
import math

import pytest
import torch
import yaml

from affectkit.cli.lightning import launch
from affectkit.cli.main import main
from affectkit.cli.recipe import as_text, compose, find_recipe, recipe_folder, recipe_names
from affectkit.data import check_disjoint
from affectkit.datamodules import (
    BP4DDataModule,
    CASME2DataModule,
    DFEWDataModule,
    DISFADataModule,
    FERV39kDataModule,
    MixtureDataModule,
    RAFDBDataModule,
    SAMMDataModule,
    SMICDataModule,
)
from affectkit.facs import AUSet
from affectkit.tasks.base import balance_weights

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

FOLDERS = {
    "bp4d": "BP4D",
    "disfa": "DISFA",
    "rafdb": "RAF-DB",
    "casme2": "CASME2",
    "samm": "SAMM",
    "smic": "SMIC",
    "dfew": "DFEW",
    "ferv39k": "FERV39k",
    "mafw": "MAFW",
    "affectnet": "AffectNet",
    "affwild2": "AffWild2",
}
# What a test changes in a recipe: a small network, small pictures, one step.
SMALL = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--model.init_args.backbone.init_args.model_name=test_convnext",
    "--model.init_args.backbone.init_args.pretrained=false",
    "--model.init_args.backbone.init_args.size=32",
    "--data.init_args.size=32",
    "--data.init_args.batch_size=2",
    "--data.init_args.num_workers=0",
]
RECIPES = {
    "au/bp4d": ["fold=part2"],
    "au/bp4d_intensity": [],
    "au/disfa": ["fold=me-graphau/1"],
    "au/disfa_intensity": ["fold=part1"],
    "expression/affectnet": [],
    "joint/affwild2_mtl": ["num_frames=4"],
    "expression/dfew": ["fold=set_5", "num_frames=3"],
    "expression/ferv39k": ["num_frames=3"],
    "expression/mafw": ["fold=1", "num_frames=3"],
    "expression/rafdb": [],
    "micro/casme2": ["fold=1"],
    "micro/megc2019": ["fold=casme2/sub05"],
    "micro/samm": ["fold=1"],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Writes a tiny rehearsal of a corpus, once, and returns its folder."""
    root = tmp_path_factory.mktemp("corpora")

    def write(name):
        folder = root / FOLDERS[name]
        if not folder.exists():
            layout = importlib.import_module(f"affectkit.rehearse.{name}")
            getattr(layout, f"write_{name}")(folder, size="tiny", seed=1)
        return folder

    write.root = root
    return write


def test_every_corpus_recipe_is_tested():
    shipped = {name for name in recipe_names() if name.partition("/")[0] in ("au", "expression", "micro")}
    shipped.add("joint/affwild2_mtl")
    # Those of methods, which have tasks of their own, and of the face mesh are tested in other files.
    models = {name: yaml.safe_load(as_text(compose(find_recipe(name)))).get("model", {}) for name in shipped}
    plain = {name for name, model in models.items() if model.get("class_path") == "MultiTask"}
    shipped = {name for name in plain if "/mesh" not in name}
    assert shipped == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_for_a_step(name, corpus, tmp_path, monkeypatch):
    for needed in {"micro/megc2019": ("smic", "casme2", "samm")}.get(
        name, (name.partition("/")[2].removesuffix("_intensity").removesuffix("_mtl"),)
    ):
        corpus(needed)
    monkeypatch.setenv("AFFECTKIT_DATA", str(corpus.root))
    chosen = [f"--data.init_args.{option}" for option in RECIPES[name]]
    cli = launch(["fit", "--config", name, *SMALL, f"--trainer.default_root_dir={tmp_path}", *chosen])
    assert cli.trainer.global_step == 1
    assert math.isfinite(cli.trainer.callback_metrics["train/loss"])
    monitored = [callback.monitor for callback in cli.trainer.checkpoint_callbacks if callback.monitor]
    assert set(monitored) <= set(cli.trainer.callback_metrics)
    cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    heads = {key.partition("/")[2] for key in cli.model.results}
    assert heads - {"mtl"} == set(cli.model.heads)
    assert ("mtl" in heads) == name.endswith("_mtl")
    check_disjoint({split: data.subjects for split, data in cli.datamodule.datasets.items()})
    (rows, *_) = cli.model.results.values()
    assert cli.datamodule.fold_protocol.description in rows[0].protocol


def test_aff_wild2_is_rehearsed_in_three_commands(tmp_path, capsys):
    root, out = tmp_path / "affwild2", tmp_path / "runs"
    assert main(["data", "rehearse", "affwild2", "--output", str(root)]) == 0
    recipe = [
        "--config",
        "joint/affwild2_mtl",
        "--config",
        "joint/affwild2_rehearsal",
        "--data.root",
        str(root),
    ]
    quick = [
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=1",
        "--trainer.enable_progress_bar=false",
    ]
    recipe += [*quick, f"--trainer.default_root_dir={out}", f"--trainer.logger.save_dir={out}"]
    assert main(["fit", *recipe]) == 0
    (best,) = out.rglob("best.ckpt")
    capsys.readouterr()
    assert main(["test", *recipe, "--ckpt_path", str(best)]) == 0
    printed = capsys.readouterr().out
    assert "AffWild2/mtl" in printed
    assert "mtl/score" in printed
    (path,) = out.rglob("test_results.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert list(results) == ["AffWild2/au", "AffWild2/expression", "AffWild2/va", "AffWild2/mtl"]
    (score,) = results["AffWild2/mtl"]
    named = {row["name"]: row["value"] for rows in results.values() for row in rows}
    assert score["value"] == pytest.approx(named["au/f1_pos"] + named["expression/uf1"] + named["va/ccc"])
    assert "the validation lists are tested" in score["protocol"]
    assert score["ci_over"] == "videos"


def test_recipes_start_with_what_they_are():
    for name in RECIPES:
        path = recipe_folder() / f"{name}.yaml"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert any(line.startswith("# Protocol `") for line in lines)
        assert "AFFECTKIT_DATA" in as_text(compose(path))


@pytest.mark.parametrize(("kind", "name"), [(BP4DDataModule, "bp4d"), (DISFADataModule, "disfa")])
def test_windows_cover_every_coded_frame_of_a_split_once(kind, name, corpus):
    data = kind(str(corpus(name)), fold="part1", num_frames=16, size=32)
    data.setup("test")
    dataset = data.datasets["test"]
    seen = [
        (record.extra["sequence"], k) for record in dataset.clips for k in range(record.start, record.stop)
    ]
    assert len(seen) == len(set(seen)) == dataset.count(media=False).parts["part1"].frames
    assert max(record.stop - record.start for record in dataset.clips) == 16
    clip = dataset[0]
    assert clip.frames.shape[0] == dataset.clips[0].stop - dataset.clips[0].start


def test_training_weights_come_from_the_subjects_that_are_trained_on(corpus):
    data = BP4DDataModule(str(corpus("bp4d")), fold="part3")
    data.setup("fit")
    rates = data.label_rates("au", "bp4d12")
    train = data.datasets["train"]
    whole = type(train)(train.root)
    records = [record for record in whole.everything if record.subject in train.subjects]
    frames = sum(whole.coded_frames(record) for record in records)
    positives = [sum(whole.positives(r)[label] for r in records) for label in AUSet.parse("bp4d12").labels]
    torch.testing.assert_close(rates, torch.tensor(positives, dtype=torch.float64) / frames)
    assert balance_weights(rates, "inverse_frequency").mean().item() == pytest.approx(1)


def test_corpora_mix(corpus):
    sources = {
        "faces": RAFDBDataModule(str(corpus("rafdb")), size=32, batch_size=2),
        "micro": CASME2DataModule(str(corpus("casme2")), fold=1, num_frames=2, size=32, batch_size=3),
    }
    data = MixtureDataModule(sources, steps_per_epoch=1)
    data.setup("fit")
    (batch, _, _) = next(iter(data.train_dataloader()))
    assert {name: tuple(part.frames.shape) for name, part in batch.items()} == {
        "faces": (2, 1, 3, 32, 32),
        "micro": (3, 2, 3, 32, 32),
    }
    assert "RAF-DB" in data.protocol
    assert "CASME II" in data.protocol


def test_clips_of_films_mix_with_windows(corpus):
    sources = {
        "films": DFEWDataModule(str(corpus("dfew")), fold=5, size=32, batch_size=2),
        "units": BP4DDataModule(str(corpus("bp4d")), fold="part1", size=32, batch_size=3),
    }
    data = MixtureDataModule(sources)
    data.setup("fit")
    loader = data.train_dataloader()
    steps = [len(source.train_dataloader()) for source in sources.values()]
    assert steps[0] == steps[1] == len(list(loader))
    (batch, _, _) = next(iter(loader))
    assert {name: tuple(part.frames.shape) for name, part in batch.items()} == {
        "films": (2, 16, 3, 32, 32),
        "units": (3, 16, 3, 32, 32),
    }
    targets = {
        name: {key: tuple(t.value.shape) for key, t in part.targets.items()} for name, part in batch.items()
    }
    assert targets["films"] == {"expression": (2,)}
    assert targets["units"]["au"] == (3, 16, 12)
    assert batch["films"].targets["expression"].space == "dfew7"
    assert "DFEW, the 5 folds of its lists" in data.protocol
    assert "BP4D" in data.protocol


def test_films_are_read_by_sixteen_segments_and_changed_as_published(corpus):
    data = FERV39kDataModule(str(corpus("ferv39k")), size=32, batch_size=2, space="basic7")
    assert [type(step).__name__ for step in data.transform(train=True).transforms] == [
        "RandomRotation",
        "RandomResizedCrop",
        "HorizontalFlip",
    ]
    data.setup("test")
    dataset = data.datasets["test"]
    assert len(dataset) == len(data.folds()[0].test) == 7
    assert dataset[0].frames.shape == (16, 3, 32, 32)
    assert dataset.spaces == {"expression": "basic7"}


def test_micro_expression_classes_and_cameras_are_chosen_in_python(corpus):
    data = SMICDataModule(str(corpus("smic")), part="HS", num_frames=2, size=32)
    assert len(data.folds()) > 1
    data.fold = data.folds()[0].name
    data.setup("test")
    assert data.datasets["test"].spaces == {"expression": "megc3"}
    samm = SAMMDataModule(str(corpus("samm")), classes="megc3", require=["expression"], fold=1, size=32)
    samm.setup("fit")
    assert samm.datasets["train"].spaces["expression"] == "megc3"
