"""SSM through Lightning: its loss, its optimiser, averaged weights, resuming, and the corpora it takes."""

import math
from functools import partial

import pytest
import torch
from helpers.ssm import HEADS, PartlyLabelledDataModule, make_sources, make_ssm
from helpers.training import make_data, make_trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint

from affectkit.data import ClipMixup
from affectkit.errors import ConfigError
from affectkit.methods.ssm import SSM
from affectkit.models import AffectModel, AUHead, AUIntensityHead
from affectkit.tasks import EMA


class Watch(Callback):
    """Keeps what a function says of the task after every step."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.seen.append(self.look(task, outputs))


class StopAfter(Callback):
    """Ends a run early, as a killed job would, after this many epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, task):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def fit(task, data, folder, *callbacks, epochs=1, **options):
    trainer = make_trainer(
        folder, max_epochs=epochs, enable_checkpointing=False, callbacks=list(callbacks), limit_val_batches=0
    )
    trainer.fit(task, datamodule=data, **options)
    return trainer


def weights(task):
    return {name: value.clone() for name, value in task.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("heads", "expected"), [(("au", "expression"), 1.0), (("au",), 2 / 3), (("expression",), 1 / 3)]
)
def test_the_first_loss_of_an_epoch_weighs_every_task_as_published(tmp_path, heads, expected):
    watch = Watch(lambda task, outputs: (outputs["loss"].item(), task.balancer.seen.all().item()))
    fit(make_ssm(heads=heads), make_sources(), tmp_path, watch, epochs=2)
    first_losses = [loss for loss, _ in watch.seen[::3]]
    # In the second epoch the prototype losses come in: a(1/4) each of them, and every ratio is 1 again.
    ramp = 2 / (1 + math.exp(-10 / 4)) - 1
    assert first_losses == pytest.approx([expected, expected + len(heads) * ramp / 3], rel=1e-5)
    assert all(seen for _, seen in watch.seen)
    assert abs(watch.seen[1][0] - expected) > 1e-4  # later steps are measured against the mean


def test_what_is_logged_has_a_name_of_its_own_for_every_loss(tmp_path):
    trainer = fit(make_ssm(), make_sources(), tmp_path)
    assert {key for key in trainer.callback_metrics if key.startswith("train/")} == {
        "train/loss",
        *(f"train/{head}/{kind}" for head in ("au", "expression") for kind in ("loss", "prototype_loss")),
    }


def test_every_parameter_learns_at_its_own_rate(tmp_path):
    task = make_ssm(backbone_lr=2e-3, lr=3e-3, map_lr=4e-3, weight_decay=0.5, milestones=[1])
    trainer = make_trainer(tmp_path, max_epochs=2, enable_checkpointing=False, limit_val_batches=0)
    rates = {}
    watch = Watch(lambda task, _: rates.setdefault(task.current_epoch, read_rates(task)))
    trainer.callbacks.append(watch)
    trainer.fit(task, datamodule=make_sources())
    assert set(rates[0]) == {name for name, p in task.model.named_parameters() if p.requires_grad}
    for name, (rate, decay) in rates[0].items():
        expected = 2e-3 if name.startswith("backbone.") else 4e-3 if name.startswith("bridge.map.") else 3e-3
        assert (rate, decay) == (expected, 0.5), name
        assert rates[1][name][0] == pytest.approx(expected / 10)
    assert any(name.endswith("mlp.gate.weight") or ".gate" in name for name in rates[0])


def read_rates(task):
    names = {parameter: name for name, parameter in task.model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in task.optimizers().param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("data", ["two sources", "one source of both", "one source of units"])
def test_every_trainable_parameter_gets_a_gradient_and_finite_ones(tmp_path, monkeypatch, data):
    def gradients(task, _):
        return {
            n: p.grad is not None and bool(p.grad.isfinite().all()) for n, p in task.model.named_parameters()
        }

    sources = {
        "two sources": make_sources,
        "one source of both": partial(make_data, 4),
        "one source of units": partial(PartlyLabelledDataModule, "au", batch_size=4, seed=0),
    }
    watch = Watch(gradients)
    task = make_ssm()
    monkeypatch.setattr("affectkit.tasks.base.find_unlearned", lambda *_: {})  # refuses units alone
    fit(task, sources[data](), tmp_path, watch)
    trained = {name for name, p in task.model.named_parameters() if p.requires_grad}
    assert all(watch.seen[-1][name] for name in trained)
    assert not any(watch.seen[-1][name] for name in watch.seen[-1].keys() - trained)
    if data == "one source of units":
        assert not task.balancer.seen[task.balancer.names.index("expression")]


def test_only_clips_of_nothing_but_units_are_mixed(tmp_path, monkeypatch):
    mixed = []
    original = ClipMixup.__call__

    def remember(self, batch, target, rng=None):
        mixed.append((set(batch.targets), target))
        return original(self, batch, target, rng)

    monkeypatch.setattr(ClipMixup, "__call__", remember)
    fit(make_ssm(), make_sources(), tmp_path)
    assert mixed == [({"au"}, "au")] * 3
    mixed.clear()
    fit(make_ssm(), make_data(4), tmp_path)
    fit(make_ssm(mixup=0.0), make_sources(), tmp_path)
    assert mixed == []


def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(tmp_path):
    """With experts' noise, MixUp, moving means, averaged weights and a rate that changes after the interruption."""

    def run(name, stop_after=None, **options):
        task = make_ssm(milestones=[1, 3])
        callbacks = [ModelCheckpoint(tmp_path / name, save_last=True), StopAfter(stop_after), EMA(0.9)]
        trainer = make_trainer(tmp_path, max_epochs=4, callbacks=callbacks, gradient_clip_val=1.0)
        trainer.fit(task, datamodule=make_sources(), **options)
        return weights(task)

    whole = run("whole")
    stopped = run("stopped", stop_after=2)
    resumed = run("resumed", ckpt_path=tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert_same(resumed, whole)
    for name in ("model.heads.au.out.weight", "model.bridge.map.delta_ae", "model.bridge.prompts.au.ctx"):
        assert not torch.equal(stopped[name], whole[name])


def test_draws_depend_on_the_seed_and_the_step(tmp_path, monkeypatch):
    def run(seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        task = make_ssm()
        fit(task, make_sources(), tmp_path)
        return weights(task)["model.heads.au.out.weight"]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


class Prototypes(Callback):
    """Compares the heads' prototypes with the bridge's, wherever clips are evaluated."""

    def __init__(self):
        self.checked = []

    def check(self, task, stage):
        with torch.no_grad():
            for name, vectors in task.model.bridge().items():
                torch.testing.assert_close(task.model.head(name).prototypes, vectors)
        self.checked.append((stage, weights(task)["model.bridge.prompts.au.ctx"]))

    def on_train_batch_end(self, trainer, task, *_):
        self.raw = weights(task)["model.bridge.prompts.au.ctx"]

    def on_validation_batch_end(self, trainer, task, *_):
        self.check(task, "val")

    def on_test_batch_end(self, trainer, task, *_):
        self.check(task, "test")


def test_averaged_weights_and_their_own_prototypes_are_evaluated_and_saved(tmp_path):
    task, watch = make_ssm(), Prototypes()
    callbacks = [EMA(0.9), watch, ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=2)]
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=callbacks)
    data = make_sources()
    trainer.fit(task, datamodule=data)
    stage, averaged = watch.checked[-1]
    assert stage == "val"
    assert not torch.equal(averaged, watch.raw)  # validation saw other weights than training
    assert torch.equal(averaged, weights(task)["model.bridge.prompts.au.ctx"])
    for name, vectors in task.model.bridge().items():
        torch.testing.assert_close(task.model.head(name).prototypes, vectors)
    trainer.test(task, datamodule=data, verbose=False)
    assert watch.checked[-1][0] == "test"

    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)  # taken within the epoch, after two steps
    model = AffectModel(**saved["model_config"])
    start = "model."
    state = {n.removeprefix(start): v for n, v in saved["state_dict"].items() if n.startswith(start)}
    model.load_state_dict(state)
    for name, vectors in model.bridge().items():
        torch.testing.assert_close(model.head(name).prototypes, vectors)


def test_the_average_leaves_what_is_no_weight_alone(tmp_path):
    task = make_ssm()
    before = weights(task)
    fit(task, make_sources(), tmp_path, EMA(0.5))
    after = weights(task)
    frozen = [n for n in before if ".text." in n or n.endswith((".suffix", ".prefix", ".eot", "map.prior"))]
    assert any(name.endswith("eot") for name in frozen)
    for name in frozen:
        assert torch.equal(before[name], after[name]), name


def test_another_average_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tasks\.EMA"):
        fit(make_ssm(), make_sources(), tmp_path, EMAWeightAveraging())


def test_without_a_bridge_heads_are_linear_and_learn(tmp_path):
    task = make_ssm(bridge=False)
    assert task.balancer.names == ("au", "expression")
    assert not any("prototype" in name for name in task.state_dict())
    trainer = fit(task, make_sources(), tmp_path)
    trainer.test(task, datamodule=make_sources(), verbose=False)
    assert set(task.results) == {"units/au", "faces/expression"}


@pytest.mark.parametrize("directions", ["none", "au_to_expression", "expression_to_au"])
def test_ablations_of_the_maps_train_what_they_have(tmp_path, directions):
    task = make_ssm(directions=directions)
    before = weights(task)
    fit(task, make_sources(), tmp_path)
    after = weights(task)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    learned = {
        name.rpartition(".")[2]
        for name in moved
        if name.startswith(("model.bridge.map", "model.bridge.al", "model.bridge.be"))
    }
    assert learned == {
        "none": set(),
        "au_to_expression": {"delta_ae", "alpha"},
        "expression_to_au": {"delta_ea", "beta"},
    }[directions]  # fmt: skip


def test_learning_from_one_process_and_local_means_is_the_same_thing(tmp_path):
    found = []
    for normalize in ("global", "local"):
        task = make_ssm(normalize=normalize)
        fit(task, make_sources(), tmp_path)
        found.append(weights(task))
    assert_same(*found)


def test_fine_tuning_starts_from_a_saved_model_and_freezes(tmp_path):
    first = make_ssm()
    with torch.no_grad():
        first.model.head("au").out.weight.add_(1.0)
        first.model.bridge.alpha.add_(1.0)
    first.model.save_pretrained(tmp_path / "model")
    task = make_ssm(init_from=str(tmp_path / "model"), freeze=["backbone.*", "bridge.map.*"])
    before = weights(task)
    assert torch.equal(before["model.heads.au.out.weight"], first.model.head("au").out.weight)
    assert torch.equal(before["model.bridge.alpha"], first.model.bridge.alpha)
    fit(task, make_sources(), tmp_path)
    after = weights(task)
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved - {"values", "seen"} == {"heads", "bridge"}
    assert torch.equal(before["model.bridge.map.delta_ae"], after["model.bridge.map.delta_ae"])


@pytest.mark.parametrize(
    ("heads", "options", "fault"),
    [
        ({"intensity": partial(AUIntensityHead, space="intensity:AU1")}, {}, "cannot learn the heads"),
        ({"au": HEADS["au"], "more": HEADS["au"]}, {}, "cannot learn the heads"),
        ({}, {}, "cannot learn the heads"),
        ({"au": partial(AUHead, space="AU1")}, {}, "prototypes of the bridge"),
        ({"au": HEADS["au"]}, {"loss_weights": {"aus": 1.0}}, "aus"),
    ],
)
def test_what_does_not_fit_together_is_said(heads, options, fault):
    tiny = make_ssm(heads=("au",))
    with pytest.raises(ConfigError, match=fault):
        SSM(tiny.model.backbone, heads, lambda spaces: tiny.model.bridge, **options)


def test_compiling_means_the_backbone(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    make_ssm(compile_model=True)
    assert compiled == ["ClipBackbone"]


def test_a_source_that_teaches_nothing_is_left_out(tmp_path):
    data = make_sources()
    data.sources["else"] = PartlyLabelledDataModule("intensity", batch_size=2, seed=3)
    found = []
    for sources in (make_sources(), data):
        task = make_ssm(noise=0.0)
        fit(task, sources, tmp_path)
        found.append(weights(task))
    assert_same(*found)


def test_a_note_is_read_with_the_results(tmp_path):
    task = make_ssm(note="random text tower")
    make_trainer(tmp_path, limit_test_batches=1).test(task, datamodule=make_sources(), verbose=False)
    for rows in task.results.values():
        assert all(row.protocol.endswith("; random text tower") for row in rows)
