"""An interrupted `affectkit fit` continues from its newest state and ends as if it had never stopped."""

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.aullm import make_aullm
from helpers.emocap import CaptionedDataModule, make_emocap
from helpers.feallm import make_feallm
from helpers.fgsgl import make_fgsgl
from helpers.interrupted import KINDS, KilledError, write_recipe
from helpers.metric import make_metric
from helpers.noisy import write_answers
from helpers.toy import ToyDataModule, WithPoseDataModule
from helpers.training import make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from affectkit.cli.lightning import launch, quietly
from affectkit.cli.main import main
from affectkit.methods.au_ttt import AUTTT, AUTTTBackbone, AUTTTHead
from affectkit.methods.engagement import NoisyLabels
from affectkit.models import AUHead, ExpressionHead, SignalBackbone
from affectkit.tasks import MultiTask

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


UNITS = "AU1,AU4,AU12"


def checkpoints(folder, version=0):
    return folder / "run" / "logs" / f"version_{version}" / "checkpoints"


def load(path):
    return torch.load(path, weights_only=True)


def assert_same(left, right):
    assert left["state_dict"].keys() == right["state_dict"].keys()
    for name, value in left["state_dict"].items():
        torch.testing.assert_close(right["state_dict"][name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(("kind", "every"), [*((kind, 1) for kind in KINDS), ("multitask", 3)])
def test_a_killed_run_continues_after_an_epoch_without_improvement(tmp_path, capsys, kind, every):
    """Also one that validates only every third epoch."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert main(["fit", "--config", write_recipe(whole / "a.yaml", kind, check_val_every_n_epoch=every)]) == 0
    recipe = write_recipe(killed / "a.yaml", kind, kill=2, check_val_every_n_epoch=every)
    with pytest.raises(KilledError):
        main(["fit", "--config", recipe])
    newest = checkpoints(killed) / "newest.ckpt"
    assert f"--ckpt_path {newest}" in capsys.readouterr().out
    assert load(newest)["epoch"] == 1
    best = checkpoints(killed) / "best.ckpt"
    assert best.is_file() is (every == 1)
    before = load(best) if best.is_file() else None

    recipe = write_recipe(killed / "a.yaml", kind, check_val_every_n_epoch=every)
    assert main(["fit", "--config", recipe, "--ckpt_path", str(newest)]) == 0
    assert_same(load(newest), load(checkpoints(whole) / "newest.ckpt"))
    assert load(newest)["epoch"] == 2
    assert not checkpoints(killed, 1).exists()  # the second run goes on in the folder of the first
    if before is not None:  # the best epoch of the first run is still the best
        assert load(best)["epoch"] == before["epoch"] == 0
    assert_same(load(best), load(checkpoints(whole) / "best.ckpt"))


def make_auttt():
    backbone = AUTTTBackbone(UNITS, size=32, patch=8, width=16, depth=1, heads=2)
    return AUTTT(backbone, {"au": partial(AUTTTHead, space=UNITS)}, lr=1e-3)


def make_signals(task=MultiTask, **options):
    """A perceptron of the face mesh's kind, with dropout and noise."""
    heads = {"au": partial(AUHead, space=UNITS), "expression": partial(ExpressionHead, space="basic7")}
    return task(SignalBackbone({"pose": 3}, width=8), heads, lr=1e-3, **options)


def make_noisy():
    write_answers(Path("answers.csv"))
    both = {"ratings": {"expression": "answers.csv"}, "recombine": {"expression": 2}}
    return make_signals(NoisyLabels, **both)


METHODS = {
    "au_ttt": (make_auttt, ToyDataModule),
    "aullm": (make_aullm, ToyDataModule),
    "emocapclip": (make_emocap, CaptionedDataModule),
    "engagement": (make_noisy, WithPoseDataModule),
    "feallm": (make_feallm, ToyDataModule),
    "fgsgl": (make_fgsgl, ToyDataModule),
    "mul_dml": (partial(make_metric, warm_start=0.8), ToyDataModule),
    "signals": (make_signals, WithPoseDataModule),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resumes_bit_for_bit(tmp_path, monkeypatch, method):
    """In a process with another global seed, in the middle of the method's schedule."""
    monkeypatch.chdir(tmp_path)
    make, data = METHODS[method]

    def fit(seed, **resume):
        torch.manual_seed(0)
        task = make()
        start = {name: value.clone() for name, value in task.state_dict().items()}
        torch.manual_seed(seed)
        every = ModelCheckpoint(tmp_path / str(seed), filename="{epoch}", save_top_k=-1)
        limits = {"max_epochs": 3, "limit_train_batches": 2, "limit_val_batches": 1}
        trainer = make_trainer(tmp_path, callbacks=[every], **limits)
        trainer.fit(task, datamodule=data(batch_size=4, seed=0, clips=3), **resume)
        return start, load(every.best_model_path)

    start, whole = fit(1)
    resumed = fit(2, ckpt_path=tmp_path / "1" / "epoch=1.ckpt", weights_only=True)[1]
    assert resumed["epoch"] == whole["epoch"] == 2
    assert any(not torch.equal(value, start[name]) for name, value in whole["state_dict"].items())
    assert_same(resumed, whole)


def test_last_is_the_newest_state_of_the_recipe(tmp_path, capsys):
    recipe = write_recipe(tmp_path / "a.yaml", "multitask", max_epochs=1)
    assert main(["fit", "--config", recipe, "--ckpt_path", "last"]) == 2
    assert "finds no newest.ckpt" in capsys.readouterr().err
    assert main(["fit", "--config", recipe]) == 0
    with quietly():
        again = launch(["fit", "--config", recipe, "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    assert again.trainer.current_epoch == 2
    assert again.trainer.ckpt_path == str(checkpoints(tmp_path) / "newest.ckpt")
    assert main(["test", "--config", recipe, "--ckpt_path", "last"]) == 0


def test_without_a_logger_last_is_in_the_root_folder(tmp_path):
    recipe = write_recipe(tmp_path / "a.yaml", "multitask", max_epochs=1, logger=False)
    assert main(["fit", "--config", recipe]) == 0
    assert (tmp_path / "run" / "checkpoints" / "newest.ckpt").is_file()
    assert main(["test", "--config", recipe, "--ckpt_path", "last"]) == 0


def test_a_moved_checkpoint_starts_a_folder_of_its_own(tmp_path):
    recipe = write_recipe(tmp_path / "a.yaml", "multitask", max_epochs=1)
    assert main(["fit", "--config", recipe]) == 0
    moved = (checkpoints(tmp_path) / "newest.ckpt").rename(tmp_path / "newest.ckpt")
    assert main(["fit", "--config", recipe, f"--ckpt_path={moved}", "--trainer.max_epochs", "2"]) == 0
    assert load(checkpoints(tmp_path, 1) / "newest.ckpt")["epoch"] == 1


@pytest.mark.parametrize("switch", ["enable_checkpointing", "barebones"])
def test_a_trainer_without_checkpoints_keeps_no_state(tmp_path, switch):
    settings = {"enable_checkpointing": False} if switch == "enable_checkpointing" else {"barebones": True}
    settings |= {"logger": False, "callbacks": None}
    if switch == "barebones":
        settings |= dict.fromkeys(["enable_progress_bar", "enable_model_summary", "num_sanity_val_steps"])
    recipe = write_recipe(tmp_path / "a.yaml", "multitask", **settings)
    assert launch(["--config", recipe], execute=False).trainer.checkpoint_callbacks == []
