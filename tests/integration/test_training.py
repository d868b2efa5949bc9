"""Training through Lightning, on a corpus without media."""

from functools import partial

import pytest
import torch
from helpers.training import make_data, make_mixture, make_task, make_trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint

from affectkit.errors import ConfigError
from affectkit.models import AffectModel, AUIntensityHead, TimmBackbone
from affectkit.tasks import MultiTask


class StopAfter(Callback):
    """Ends a run early, as a killed job would, after this many epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, task):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def weights(task):
    return {name: value.clone() for name, value in task.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, msg=name)


def test_training_beats_the_trivial_baselines(tmp_path):
    task = make_task(balance={"au": "positives"}, lr=3e-3)
    trainer = make_trainer(tmp_path, max_epochs=8, enable_checkpointing=False)
    data = make_data(4)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    results = {row.name: row for row in task.results["toy/au"]}
    assert results["au/f1_pos"].estimate.value > results["au/f1_pos"].baseline + 0.1
    assert results["au/f1_pos"].threshold_rule == "fixed"
    assert "subjects disjoint" in results["au/f1_pos"].protocol


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("ema", [False, True])
def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(tmp_path, dropout, ema):
    def run(name, stop_after=None, **fit):
        task = make_task()
        for head in task.heads.values():
            head.body[0].p = dropout
        callbacks = [ModelCheckpoint(tmp_path / name, save_last=True), StopAfter(stop_after)]
        callbacks += [EMAWeightAveraging(decay=0.9)] if ema else []
        make_trainer(tmp_path, max_epochs=4, callbacks=callbacks).fit(task, datamodule=make_data(4), **fit)
        return weights(task)

    whole = run("whole")
    stopped = run("stopped", stop_after=2)
    resumed = run("resumed", ckpt_path=tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert_same(resumed, whole)
    assert not torch.equal(stopped["model.heads.au.out.weight"], whole["model.heads.au.out.weight"])


def test_a_mixture_trains_one_head_from_two_unit_lists(tmp_path):
    task = make_task(balance={"au": "inverse_frequency"})
    trainer = make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    data = make_mixture(4)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    assert sorted(task.results) == ["first/au", "first/expression", "second/au", "second/expression"]
    labelled = {row.name for row in task.results["second/au"] if row.estimate.value == row.estimate.value}
    assert "au/f1_pos/AU12" in labelled
    assert "au/f1_pos/AU1" not in labelled
    for name in ("first", "second"):  # each of its own corpus, not of both
        assert task.results[f"{name}/au"][0].protocol.startswith(f"{name}: test split")


def test_thresholds_come_from_validation_and_travel_with_the_checkpoint(tmp_path):
    task = make_task(threshold="val")
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    data = make_data(4)
    trainer.fit(task, datamodule=data)
    chosen = task.thresholds["au"]
    assert set(chosen) == {"AU1", "AU4", "AU12"}
    assert chosen == task.evaluation["val"].best_thresholds()["au"]
    assert set(chosen.values()) != {0.5}

    fresh = make_task(threshold="val")
    with pytest.raises(ConfigError, match="no thresholds"):
        make_trainer(tmp_path).test(fresh, datamodule=data, verbose=False)
    make_trainer(tmp_path, enable_checkpointing=False).test(
        fresh, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True, verbose=False
    )
    assert fresh.thresholds["au"] == chosen
    rules = {row.threshold_rule for row in fresh.results["toy/au"]}
    assert rules == {"fixed", "val", None}


def test_oracle_is_labelled(tmp_path):
    task = make_task(threshold="oracle")
    make_trainer(tmp_path).test(task, datamodule=make_data(4), verbose=False)
    f1 = {row.threshold_rule: row.estimate.value for row in task.results["toy/au"] if row.name == "au/f1_pos"}
    assert set(f1) == {"fixed", "oracle"}
    assert f1["oracle"] >= f1["fixed"]


def test_fine_tuning_starts_from_a_saved_model_and_freezes(tmp_path):
    first = make_task()
    first.model.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        first.model.backbone.net.stem[0].weight.add_(1.0)
    first.model.save_pretrained(tmp_path / "model")
    task = make_task(init_from=str(tmp_path / "model"), replace_heads=["au"], freeze=["backbone.*"])
    torch.testing.assert_close(
        task.model.backbone.net.stem[0].weight, first.model.backbone.net.stem[0].weight
    )
    before = weights(task)
    make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(task, datamodule=make_data(4))
    after = weights(task)
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"heads"}


def test_a_checkpoint_holds_plain_values_and_rebuilds_the_model(tmp_path):
    task = make_task()
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    trainer.fit(task, datamodule=make_data(4))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["trained_on"] == {"corpora": {"toy": "none"}, "rendered": False}
    model = AffectModel(**saved["model_config"])
    prefix = "model."
    model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in saved["state_dict"].items() if k.startswith(prefix)}
    )
    frames = torch.randint(0, 255, (1, 2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(model.predict(frames)["au"], task.model.predict(frames)["au"])


@pytest.mark.parametrize("per_frame", [True, False])
def test_intensities_are_learned_by_frame_and_by_clip(tmp_path, per_frame):
    torch.manual_seed(0)
    head = partial(AUIntensityHead, space="intensity:AU1,AU4,AU12", per_frame=per_frame)
    task = MultiTask(TimmBackbone("test_convnext", size=32), {"intensity": head}, lr=3e-3)
    trainer = make_trainer(tmp_path, max_epochs=8, enable_checkpointing=False)
    data = make_data(4)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    error = next(row for row in task.results["toy/intensity"] if row.name == "intensity/mae")
    assert error.estimate.value < error.baseline


@pytest.mark.parametrize("options", [{"weights": {"aus": 1.0}}, {"balance": {"emotion": "positives"}}])
def test_settings_for_heads_that_do_not_exist_are_errors(options):
    with pytest.raises(ConfigError, match="Heads are"):
        make_task(**options)


def test_balance_needs_a_binary_loss(tmp_path):
    task = make_task(balance={"expression": "positives"})
    with pytest.raises(ConfigError, match="cannot be balanced"):
        make_trainer(tmp_path, max_epochs=1).fit(task, datamodule=make_data(4))
