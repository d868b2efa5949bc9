"""Training, evaluating and saving with every kind of label, and with one that another package brings."""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from helpers.mood import LEVELS, MoodDataModule, MoodDataset, make_mood_task
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer
from lightning.pytorch import seed_everything

from affectkit import registry
from affectkit.data import Target
from affectkit.facs import label_space, spaces
from affectkit.losses import base as losses
from affectkit.metrics import base as metrics
from affectkit.models import AffectModel, TimmBackbone, load
from affectkit.models import registry as heads
from affectkit.tasks import MultiTask
from affectkit.tasks.calibration import calibrate, collect_logits, measure


def plain(value):
    """Whether a checkpoint's extras are nothing but containers, texts and numbers."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, str | int | float | bool)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mood")
    seed_everything(0, verbose=False)
    task, data = make_mood_task(), MoodDataModule(batch_size=6, seed=0)
    trainer = make_trainer(folder, max_epochs=30)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    return task, data, trainer, folder


def test_moods_levels_and_distributions_are_learned(trained):
    task, *_ = trained
    rows = {row.name: row for rows in task.results.values() for row in rows}
    for name in ("va/ccc", "levels/qwk", "levels/mae", "expression/uar"):
        better = (rows[name].estimate.value - rows[name].baseline) * (-1 if name.endswith("mae") else 1)
        assert better > 0.1, rows[name]
        assert rows[name].estimate.low <= rows[name].estimate.value <= rows[name].estimate.high
        assert rows[name].threshold_rule is None
    assert rows["va/rmse"].estimate.value < rows["va/rmse"].baseline
    assert {"va/ccc/valence", "va/pcc", "levels/acc_adjacent", "levels/acc"} <= rows.keys()
    logged = task.trainer.logged_metrics.keys()
    assert {"test/toy/va/ccc", "test/toy/levels/qwk", "test/toy/expression/uar"} <= logged


def test_a_checkpoint_and_a_saved_model_name_their_spaces(trained, tmp_path):
    task, _, trainer, _ = trained
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert plain(checkpoint["model_config"])
    assert checkpoint["model_config"]["heads"]["levels"]["space"] == LEVELS
    task.model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert {name: head["space"] for name, head in config["heads"].items()} == {
        "va": "va",
        "levels": LEVELS,
        "expression": "happiness,anger,neutral",
    }
    clips = torch.rand(2, 3, 3, 32, 32)
    first, second = task.model.eval().predict(clips), load(tmp_path / "model").predict(clips)
    for name in first:
        torch.testing.assert_close(second[name], first[name])
    assert (first["va"].shape, first["levels"].shape) == ((2, 3, 2), (2, 3))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| va | valence, arousal | value on each dimension, per frame | – |" in card
    assert "| levels | none, one, two | probability of each level; they sum to 1, per clip | – |" in card


def test_heads_without_probabilities_are_not_calibrated(trained):
    task, data, *_ = trained
    found = collect_logits(task.model, [data.val_dataloader()])
    assert sorted(found) == ["expression", "levels"]
    calibrate(task.model, found)
    assert task.model.head("va").temperature == 1.0
    assert all(one["nll"] <= one["nll_before"] + 1e-9 for one in measure(task.model, found).values())


ANGLES = '''
"""Head pose, a kind of label that affectkit does not know: angles in degrees around a circle."""
from dataclasses import dataclass
from functools import partial

import torch

from affectkit.facs import LabelSpace, register_space
from affectkit.losses import MaskedLoss
from affectkit.losses import register as register_loss
from affectkit.metrics import GroupedMetric, Tally
from affectkit.metrics import register as register_metric
from affectkit.models import Head, register


@register_space
@dataclass(frozen=True, slots=True)
class Angles(LabelSpace):
    kind = "angles"
    over_frames = "mean"
    axes: tuple[str, ...]

    @classmethod
    def parse(cls, text):
        return cls(tuple(text.removeprefix("angles:").split(",")))

    @property
    def name(self):
        return "angles:" + ",".join(self.axes)

    @property
    def labels(self):
        return self.axes

    @property
    def value_range(self):
        return -180.0, 180.0


@register("head", "angles")
class AnglesHead(Head):
    target = "pose"
    kind = "angles"
    meaning = "angle of each axis in degrees"

    def predict(self, logits):
        return 180 * logits.float().tanh()


@register_loss("angles", default=True)
class AngleLoss(MaskedLoss):
    kind = "angles"

    def per_entry(self, logits, value):
        return 1 - torch.deg2rad(180 * logits.tanh() - value).cos()


@register_metric("angles")
class AngleMetrics(GroupedMetric):
    logged = ("mae",)
    monitor = "mae"
    baselines = {"mae": 90.0}
    ranges = {"mae": (0.0, 180.0)}

    def __init__(self, labels, num_groups, **kwargs):
        super().__init__(labels, num_groups, **kwargs)
        self.add_state("sums", torch.zeros(num_groups, 2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction, value, mask, group, valid=None):
        keep, group = self._observed(mask, group, valid, prediction=prediction, value=value)
        apart = ((prediction - value + 180) % 360 - 180).abs()[keep]
        terms = torch.stack([torch.ones_like(group), (apart * 1000).round().long()], -1)
        self.sums.index_put_((group,), terms, accumulate=True)

    def _tally(self):
        return Tally(self.labels, self.sums.cpu().double(), results, ranges=self.ranges)


def results(sums, fine):
    return {"mae": sums[:, 1] / sums[:, 0] / 1000}
'''


class PoseDataset(ToyDataset):
    """The toy with an angle for its first patch."""

    def __init__(self, root=Path(), **options):
        super().__init__(root, **options)
        self.spaces["pose"] = "angles:yaw"

    def labels(self, record, indices):
        found = super().labels(record, indices)
        pose = Target.make(120 * found["au"].value[:, :1] - 60, found["au"].mask[:, :1], space="angles:yaw")
        return {**found, "pose": pose}


class PoseDataModule(ToyDataModule):
    def make_dataset(self, split):
        return PoseDataset(self.root, split=split, clips=self.clips)


def load_package(folder, monkeypatch, how):
    """Make a package of the kind there and import it, as a plug-in is."""
    (folder / "angles_of_mine.py").write_text(ANGLES)
    monkeypatch.syspath_prepend(str(folder))
    for table in (
        spaces._KINDS,
        heads._REGISTRIES["head"],
        losses._LOSSES,
        losses._DEFAULTS,
        metrics._METRICS,
    ):
        monkeypatch.setattr(table, "_classes", dict(table._classes))  # for this test only
    monkeypatch.delitem(sys.modules, "angles_of_mine", raising=False)
    if how == "import":
        return importlib.import_module("angles_of_mine")
    plugin = EntryPoint("angles", "angles_of_mine", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [plugin] if group == registry.GROUP else [])
    monkeypatch.setattr(registry, "_loaded", False)
    assert label_space("angles:yaw").kind == "angles"  # nobody imported it by name
    return sys.modules["angles_of_mine"]


@pytest.mark.parametrize("how", ["import", "entry point"])
def test_a_kind_from_another_package(tmp_path, monkeypatch, how):
    angles = load_package(tmp_path, monkeypatch, how)
    assert label_space("angles:yaw,pitch") == angles.Angles(("yaw", "pitch"))
    torch.manual_seed(0)
    factories = {"pose": partial(angles.AnglesHead, space="angles:yaw", per_frame=True)}
    task = MultiTask(TimmBackbone("test_convnext", size=32), factories, lr=3e-4)
    assert type(task.losses["pose"]) is angles.AngleLoss
    trainer = make_trainer(tmp_path, max_epochs=20)
    data = PoseDataModule(batch_size=6, seed=0)
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    (row,) = task.results["toy/pose"]
    assert (row.name, row.baseline) == ("pose/mae", 90.0)
    assert row.estimate.low <= row.estimate.value <= row.estimate.high < 60
    task.model.save_pretrained(tmp_path / "model")
    again = AffectModel.from_pretrained(tmp_path / "model")
    assert again.head("pose").space == angles.Angles(("yaw",))
    clips = torch.rand(1, 2, 3, 32, 32)
    torch.testing.assert_close(again.predict(clips), task.model.eval().predict(clips))


def test_moods_are_annotated_where_the_toy_is():
    dataset = MoodDataset(split="test")
    clip = dataset[0]
    assert clip.targets["expression"].soft
    assert (clip.targets["va"].leading, clip.targets["levels"].leading) == (1, 0)
