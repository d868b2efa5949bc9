"""Heads that the training data do not teach: an error, or a warning that travels with the checkpoint."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from affectkit.data import Target
from affectkit.datamodules import MixtureDataModule, TableDataModule
from affectkit.datamodules.statistics import find_annotated
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.models import AUHead, AUIntensityHead, ExpressionHead, TimmBackbone
from affectkit.models.card import model_card
from affectkit.models.convert import model_of_checkpoint
from affectkit.tasks import MultiTask
from affectkit.tasks.data import find_unlearned, task_data, unlearned_warning


def make_task(au="AU1,AU4", **options):
    torch.manual_seed(0)
    heads = {"au": partial(AUHead, space=au), "expression": partial(ExpressionHead, space="basic7")}
    return MultiTask(TimmBackbone("test_convnext", size=32), heads, **options)


class SomeLabels(ToyDataset):
    """Units in frames 1 and 2 alone, AU4 nowhere; happiness and anger; a third of the clips without the target."""

    def labels(self, record, indices):
        found = super().labels(record, indices)
        known = torch.tensor([[frame > 0, True, False] for frame in indices])
        found["au"] = Target.make(found["au"].value, known, space=self.spaces["au"])
        number = self.clips.index(record)
        found["expression"] = Target.make(torch.tensor([1, 3, -1][number % 3]), space="basic7")
        if number % 3 == 2:
            del found["au"]
        return found


class SomeDataModule(ToyDataModule):
    def make_dataset(self, split):
        return SomeLabels(self.root, split=split, space=self.space, clips=self.clips)


def test_what_is_annotated_of_every_kind_of_labels():
    data = SomeLabels(split="train")  # its units are AU1, AU12 and AU4
    assert find_annotated(data, "au", "AU4,AU1,AU25,AU12").tolist() == [False, True, False, True]
    assert find_annotated(data, "intensity", "intensity:AU1,AU9").tolist() == [True, False]
    assert find_annotated(data, "expression", "basic7").tolist() == [False, True, False, True] + [False] * 3
    assert find_annotated(data, "expression", "anger,contempt").tolist() == [True, False]
    assert find_annotated(data, "gaze", "AU61") is None
    with pytest.raises(LabelSpaceError):
        find_annotated(data, "expression", "AU1")


def test_it_ends_where_everything_is_found(monkeypatch):
    data, asked = ToyDataset(split="train"), []
    original = data.labels
    monkeypatch.setattr(
        data, "labels", lambda record, indices: asked.append(record) or original(record, indices)
    )
    assert find_annotated(data, "au", "AU1").tolist() == [True]
    assert len(asked) == 1


def test_a_mixture_annotates_what_any_source_does():
    sources = {"a": ToyDataModule(space="AU1,AU25"), "b": ToyDataModule(space="AU12,AU25")}
    mixture = MixtureDataModule(sources)
    mixture.setup("fit")
    assert mixture.annotated("au", "AU12,AU1,AU4").tolist() == [True, True, False]
    assert mixture.annotated("gaze", "AU61") is None
    assert {name: targets["au"] for name, targets in mixture.annotations.items()} == {
        "a": "AU1,AU25",
        "b": "AU12,AU25",
    }
    sources["a"].datasets["train"].unread = ("x", "y")
    sources["b"].datasets["train"].unread = ("y", "z")
    assert mixture.unread == ("x", "y", "z")


@pytest.mark.parametrize("balance", [None, {"au": "positives"}])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_head_without_a_label_is_an_error_before_training(tmp_path, balance, mixed):
    data = ToyDataModule(space="AU12,AU25", batch_size=4)
    data = MixtureDataModule({"mine": data}) if mixed else data
    task = make_task(balance=balance)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    with pytest.raises(ConfigError) as caught:
        make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(task, datamodule=data)
    for part in ("'au'", "AU1,AU4", "au (AU12,AU25)", "mine" if mixed else "toy"):
        assert part in caught.value.fault
    assert "heads.au.*" in caught.value.remedy
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_near_misses_among_the_columns_are_named(tmp_path):
    (tmp_path / "index.csv").write_text("path,split,expression,AU1x\na,train,happy,1\nb,val,sad,1\n")
    data = TableDataModule(str(tmp_path), crop_faces=False)
    with pytest.raises(ConfigError) as caught:
        make_trainer(tmp_path, max_epochs=1).fit(make_task(), datamodule=data)
    for part in ("'au'", "expression (basic7)", "AU1x"):
        assert part in caught.value.fault


def test_a_head_of_another_kind_than_its_labels():
    data = ToyDataModule()
    data.setup("fit")
    head = AUIntensityHead(8, space="intensity:AU1")
    head.target = "au"
    with pytest.raises(LabelSpaceError, match="The head 'mouth'"):
        find_unlearned({"mouth": head}, data)


def test_frozen_heads_and_data_that_cannot_tell():
    data = ToyDataModule(space="AU25,AU26")
    data.setup("fit")
    head = AUHead(8, space="AU1")
    assert find_unlearned({"au": head}, task_data(SimpleNamespace())) == {}
    with pytest.raises(ConfigError):
        find_unlearned({"au": head}, data)
    assert find_unlearned({"au": head.requires_grad_(False)}, data) == {}


def test_labels_without_an_annotation_are_named_by_fit_test_and_card(tmp_path, caplog):
    data = SomeDataModule(batch_size=4)
    task = make_task("AU1,AU4,AU9")
    kept = ModelCheckpoint(tmp_path, save_last=True)
    make_trainer(tmp_path, max_epochs=1, callbacks=[kept]).fit(task, datamodule=data)
    unlearned = {"au": ["AU4", "AU9"], "expression": ["neutral", "sadness", "surprise", "disgust", "fear"]}
    assert task.unlearned == unlearned
    assert unlearned_warning(unlearned) in caplog.text
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["unlearned"] == unlearned

    caplog.clear()
    fresh = make_task("AU1,AU4,AU9")
    make_trainer(tmp_path).test(
        fresh, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True, verbose=False
    )
    assert fresh.unlearned == unlearned
    assert unlearned_warning(unlearned) in caplog.text

    model = model_of_checkpoint(tmp_path / "last.ckpt")
    assert model.metadata["unlearned"] == unlearned
    card = model_card({**model.config, "metadata": model.metadata})
    assert "**Not learned by au: AU4, AU9.**" in card
    assert "Not learned" not in model_card({**model.config, "metadata": {}})
