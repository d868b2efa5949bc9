"""The task of multi-threshold metric learning: its loss, its references and its warning about collapse."""

import logging
from functools import partial

import pytest
import torch
from helpers.metric import make_metric
from helpers.toy import ToyDataModule, ToyDataset, WithPose, WithPoseDataModule
from helpers.training import make_trainer

from affectkit.data import collate
from affectkit.datamodules import MixtureDataModule
from affectkit.losses import MaskedCrossEntropy
from affectkit.methods.mul_dml import MultiThresholdTriplet
from affectkit.models import AffectModel, AUHead, SignalBackbone
from affectkit.tasks import EMA
from affectkit.tasks.base import model_inputs


def fitted(tmp_path, task, data=None, **options):
    data = data or ToyDataModule(batch_size=6, seed=0)
    trainer = make_trainer(tmp_path, **{"max_steps": 2, "enable_checkpointing": False, **options})
    trainer.fit(task, datamodule=data)
    return trainer, data


def terms_of(task, batch):
    features = task.model.features(**model_inputs(batch))
    return {
        term: both for name in task.heads for term, both in task.terms(name, features, None, batch).items()
    }


def test_the_loss_is_that_of_the_labels_plus_the_weighted_triplet_loss(tmp_path):
    task = make_metric(triplet_weight=0.3, warm_start=0.0, thresholds=[0.8], dual="mined")
    trainer, data = fitted(tmp_path, task)
    batch = collate([data.datasets["train"][index] for index in range(8)])
    task.train()
    features = task.model.features(batch.frames, batch.frame_mask)
    terms = terms_of(task, batch)
    head, target = task.model.head("expression"), batch.targets["expression"]
    expected = MaskedCrossEntropy()(head(features), target.value, target.mask)
    torch.testing.assert_close(terms["expression"], expected)
    triplet = MultiThresholdTriplet(3, 7, thresholds=[0.8], dual="mined")
    expected = triplet(head.embed(features), target.value[:, None], target.mask[:, None])
    torch.testing.assert_close(terms["expression/triplet"], expected)
    head, target = task.model.head("au"), batch.targets["au"].project("AU1,AU4,AU12")
    triplet = MultiThresholdTriplet(3, 2, thresholds=[0.8], dual="mined")
    expected = triplet(
        head.embed(features).flatten(0, 1), target.value.flatten(0, 1).long(), target.mask.flatten(0, 1)
    )
    torch.testing.assert_close(terms["au/triplet"], expected)
    assert expected[1] > 0
    assert task.loss_weights == {"au": 1, "expression": 1, "au/triplet": 0.3, "expression/triplet": 0.3}
    assert {"train/au/triplet_loss", "train/expression/triplet_loss"} <= set(trainer.callback_metrics)


def test_the_first_steps_mine_all_triplets(tmp_path, monkeypatch):
    mined, forward = [], MultiThresholdTriplet.forward

    def record(self, *args, **options):
        mined.append(options["mining"])
        return forward(self, *args, **options)

    monkeypatch.setattr(MultiThresholdTriplet, "forward", record)
    fitted(tmp_path, make_metric(warm_start=0.5), max_steps=4)
    assert mined == [*["all"] * 4, *[None] * 4]  # two heads, two steps each


def test_people_of_different_corpora_differ(tmp_path):
    task = make_metric(identity_aware=True, warm_start=0.0)
    _, data = fitted(tmp_path, task)
    clips = [data.datasets["train"][index] for index in range(8)]
    batch = collate(clips)
    other = collate(clips)
    other.meta["dataset"] = ["other"] * 8
    terms = [terms_of(task, one)["expression/triplet"][0] for one in (batch, other)]
    torch.testing.assert_close(*terms)  # the same people under another name
    other.meta["dataset"] = [f"corpus {i}" for i in range(8)]
    free = make_metric(identity_aware=False, warm_start=0.0)
    free.trainer = task.trainer
    free.load_state_dict(task.state_dict())
    torch.testing.assert_close(
        terms_of(task, other)["expression/triplet"][0], terms_of(free, batch)["expression/triplet"][0]
    )
    assert terms_of(task, other)["expression/triplet"][0] != terms[0]


def test_other_heads_share_the_run_and_unannotated_batches_count_nothing(tmp_path):
    task = make_metric(others={"plain": partial(AUHead, space="AU1,AU12", per_frame=True)})
    fitted(tmp_path, task)
    batch = collate([ToyDataset(split="train")[0]])
    batch.targets.clear()
    task.zero_grad()
    terms = terms_of(task.train(), batch)
    assert {name: count.item() for name, (_, count) in terms.items()} == dict.fromkeys(
        ("au", "au/triplet", "expression", "expression/triplet", "plain"), 0
    )
    sum(total for total, _ in terms.values()).backward()
    for name in ("au", "expression"):
        gradients = [p.grad for p in task.model.head(name).parameters()]
        assert all((gradient == 0).all() for gradient in gradients)


def test_clip_labels_go_with_embeddings_of_frames_and_frame_labels_with_those_of_clips(tmp_path):
    task = make_metric()
    _, data = fitted(tmp_path, task)
    batch = collate([data.datasets["train"][index] for index in range(8)])
    features = task.model.features(**model_inputs(batch))
    batch.targets["au"] = batch.targets["au"].over_frames()
    assert 0 < task.terms("au", features, None, batch)["au/triplet"][1] <= 8 * 3


def test_references_are_training_clips_as_the_epoch_draws_them(tmp_path):
    task = make_metric()
    trainer, data = fitted(tmp_path, task, max_steps=-1, max_epochs=2)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)
    batch = collate([data.datasets["train"][draw] for draw in loader.sampler][:10])
    head = task.model.head("expression")
    task.eval()
    with torch.no_grad():
        vectors = head.vectors(head.embed(task.model.features(**model_inputs(batch))))
    torch.testing.assert_close(head.references, vectors, atol=1e-5, rtol=1e-4)
    truth = batch.targets["expression"]
    assert head.reference_values.argmax(1).tolist() == truth.value.tolist()
    assert head.reference_mask.all()
    frames = task.model.head("au").reference_values
    assert torch.equal(frames, batch.targets["au"].project("AU1,AU4,AU12").value.flatten(0, 1)[:10])
    trainer.test(task, datamodule=data, verbose=False)
    assert set(task.results) == {"toy/au", "toy/expression"}


def test_references_are_of_the_averaged_weights_and_are_saved(tmp_path):
    task = make_metric(classifier="prototype")
    trainer, data = fitted(
        tmp_path, task, max_steps=-1, max_epochs=2, callbacks=[EMA(0.5)], enable_checkpointing=True
    )
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    loader = data.train_dataloader()
    loader.sampler.set_epoch(1)
    batch = collate([data.datasets["train"][draw] for draw in loader.sampler][:10])
    task.load_state_dict(saved)
    head = task.eval().model.head("expression")
    with torch.no_grad():
        vectors = head.vectors(head.embed(task.model.features(**model_inputs(batch))))
    torch.testing.assert_close(saved["model.heads.expression.references"], vectors, atol=1e-5, rtol=1e-4)


def test_a_mixture_fills_the_references_from_its_sources(tmp_path):
    task = make_metric()
    sources = {"a": ToyDataModule(batch_size=2, seed=0, steps_per_epoch=2), "b": ToyDataModule(batch_size=2)}
    fitted(tmp_path, task, MixtureDataModule(sources, steps_per_epoch=2))
    assert task.model.head("expression").reference_mask.any(1).sum() == 8  # two steps of two clips of each


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "signals"])
def test_any_backbone_trains_and_its_saved_model_predicts_the_same(backbone, tmp_path):
    task = make_metric(SignalBackbone({"pose": 3}, width=8) if backbone == "signals" else backbone)
    before = [parameter.clone() for parameter in task.model.backbone.parameters()]
    fitted(tmp_path, task, WithPoseDataModule(batch_size=6, seed=0))
    assert all(
        not torch.equal(old, new) for old, new in zip(before, task.model.backbone.parameters(), strict=True)
    )
    task.model.save_pretrained(tmp_path / "model")
    twin = AffectModel.from_pretrained(tmp_path / "model")
    given = model_inputs(collate([WithPose(split="test")[index] for index in range(4)]))
    crops = given.pop("frames")
    first, second = (model.predict(crops, **given) for model in (task.model, twin))
    assert all(torch.equal(first[name], second[name]) for name in ("au", "expression"))


def test_a_collapsed_slice_is_logged_and_named_once(tmp_path, caplog):
    task = make_metric(SignalBackbone({"pose": 3}, width=8), triplet_weight=0.0, thresholds=[0.4, 0.8, 1.2])
    with torch.no_grad():
        embedding = task.model.head("expression").embedding
        embedding.bias.zero_()
        embedding.weight[4:8] = 0
        embedding.bias[4:8] = 100.0  # the second slice maps all faces to one point
    with caplog.at_level(logging.WARNING):
        trainer, _ = fitted(
            tmp_path, task, WithPoseDataModule(), max_steps=-1, max_epochs=2, log_every_n_steps=1
        )
    assert trainer.callback_metrics["train/expression/collapsed_slices"] == 1
    found = [record.message for record in caplog.records if "'expression' has 1 collapsed" in record.message]
    assert len(found) == 1
    assert "1 collapsed of 3 slices (τ = 0.80)" in found[0]
