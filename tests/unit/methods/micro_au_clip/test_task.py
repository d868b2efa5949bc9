"""The task of Micro-AU CLIP: its loss, its counts, and emotions by rule."""

from functools import partial

import pytest
import torch
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer

from affectkit.data import collate
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import AUSet
from affectkit.facs.recognition import class_rules
from affectkit.losses import MaskedBCE
from affectkit.methods.micro_au_clip import CrossSampleContrast, GlobalDependencyLoss, MicroAU, MicroAUHead
from affectkit.models import AffectModel, AUHead, ExpressionHead, FlowBackbone, TimmBackbone
from affectkit.tasks.base import model_inputs

SPACE = "AU1,AU4,AU12"


class Shuffled(ToyDataset):
    """The toy corpus with the expressions of the training subjects moved on by one class."""

    def labels(self, record, indices):
        found = super().labels(record, indices)
        target = found["expression"]
        if self.split == "train":
            found["expression"] = type(target)((target.value + 1) % 7, target.mask, target.space)
        return found


class ShuffledDataModule(ToyDataModule):
    def make_dataset(self, split):
        return Shuffled(self.root, split=split, space=self.space, clips=self.clips)


def make_task(others=None, **options):
    torch.manual_seed(0)
    heads = {
        "micro": partial(MicroAUHead, space=SPACE, text={"model_name": "affectkit-tiny"}, attention_heads=2),
        **(others or {}),
    }
    return MicroAU(TimmBackbone("test_vit", size=32, tokens=True), heads, **{"lr": 1e-3, **options})


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


def test_the_loss_is_cross_entropy_plus_weighted_contrast_and_dependency(tmp_path):
    task = make_task(contrast_weight=0.3, dependency_weight=0.7, dependency_target=0.9)
    trainer, data = fitted(tmp_path, task)
    dataset = data.datasets["train"]
    batch = collate([dataset[index] for index in range(8)])
    head = task.model.head("micro")
    torch.testing.assert_close(head.depend.cooccurrence, data.cooccurrence("au", SPACE).float())
    out = head.outputs(task.model.features(batch.frames, batch.frame_mask))
    target = batch.targets["au"].project(SPACE)
    value = torch.where(target.mask, target.value, -1).amax(
        1
    )  # the strongest annotated label of a clip's frames
    mask, value = target.mask.any(1), value.clamp(min=0)
    parts = {
        "": MaskedBCE()(out.logits, value, mask),
        "/contrast": CrossSampleContrast()(out.units, value, mask, head.tau),
        "/dependency": GlobalDependencyLoss(rho=0.9)(out.units, value, mask, head.depend.cooccurrence),
    }
    terms = terms_of(task, batch)
    assert set(terms) == {f"micro{name}" for name in parts}
    for name, (total, count) in parts.items():
        torch.testing.assert_close(terms[f"micro{name}"][0], total)
        assert terms[f"micro{name}"][1] == count > 0
    assert task.loss_weights == {"micro": 1.0, "micro/contrast": 0.3, "micro/dependency": 0.7}
    assert {"train/micro/loss", "train/micro/contrast_loss", "train/micro/dependency_loss"} <= set(
        trainer.callback_metrics
    )


def test_other_heads_share_the_run_and_unannotated_batches_count_nothing(tmp_path):
    others = {
        "au": partial(AUHead, space="AU1,AU12", per_frame=True),
        "expression": partial(ExpressionHead, space="basic7"),
    }
    task = make_task(others)
    fitted(tmp_path, task)
    batch = collate([ToyDataset(split="train")[0]])
    del batch.targets["au"]
    terms = terms_of(task, batch)
    assert terms["micro/contrast"][1] == terms["micro/dependency"][1] == terms["micro"][1] == 0
    assert terms["expression"][1] == 1
    sum(total for total, _ in terms.values()).backward()
    assert all(p.grad is not None for p in task.model.head("micro").parameters())


def test_emotion_labels_of_training_subjects_change_nothing(tmp_path):
    """Recognition by rule reads no emotion label before the test."""
    found = []
    for data in (ToyDataModule(batch_size=6, seed=0), ShuffledDataModule(batch_size=6, seed=0)):
        task = make_task(recognition={"micro": "happiness,surprise,anger,sadness,other"})
        trainer, _ = fitted(tmp_path, task, data)
        trainer.test(task, datamodule=data, verbose=False)
        found.append((task.state_dict(), task.results))
    assert found[0][0].keys() == found[1][0].keys()
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])
    rows = [result["toy/micro by rules"] for _, result in found]
    assert [row.to_dict() for row in rows[0]] == [row.to_dict() for row in rows[1]]


def test_recognition_counts_what_the_rules_decide(tmp_path):
    classes = "happiness,surprise,anger,sadness,fear"
    task = make_task(recognition={"micro": classes})
    trainer, data = fitted(tmp_path, task)
    trainer.test(task, datamodule=data, verbose=False)
    toy = data.datasets["test"]
    rules = class_rules(AUSet.parse(SPACE), classes)
    right = {label: [] for label in rules.labels}
    known = [0] * len(toy.subjects)  # of each person, for intervals over people
    task.eval()
    for index in range(len(toy)):
        batch = collate([toy[index]])
        target = batch.targets["expression"].project(classes)
        with torch.no_grad():
            logits = task(batch.frames, batch.frame_mask)["micro"]
        if target.mask.all():
            known[int(batch.subject)] += 1
            truth = rules.labels[int(target.value)]
            right[truth].append(rules.decide(task.model.head("micro").predict(logits)[0].tolist()) == truth)
    assert min(known) > 0
    assert task.by_rules["micro"].metrics["toy"].counts.sum(dim=(1, 2)).tolist() == known
    recalls = [sum(hits) / len(hits) for hits in right.values() if hits]
    assert trainer.callback_metrics["test/toy/micro/rules_uar"].item() == pytest.approx(
        sum(recalls) / len(recalls), abs=1e-6
    )
    rows = {row.name: row for row in task.results["toy/micro by rules"]}
    assert "no emotion label in training" in rows["micro_rules/uf1"].protocol
    assert rows["micro_rules/uar"].estimate.value == pytest.approx(sum(recalls) / len(recalls), abs=1e-6)


def test_flow_takes_the_place_of_the_frames(tmp_path):
    head = partial(
        MicroAUHead, space=SPACE, text={"model_name": "affectkit-tiny"}, attention_heads=2, motion="apex"
    )
    task = MicroAU(
        TimmBackbone("test_vit", size=32, tokens=True), {"micro": head}, flow={"shift": 2.0}, lr=1e-3
    )
    assert task.model.backbone.config["shift"] == 2.0
    trainer, data = fitted(tmp_path, task)
    trainer.test(task, datamodule=data, verbose=False)
    task.model.save_pretrained(tmp_path / "model")
    loaded = AffectModel.from_pretrained(tmp_path / "model")
    assert isinstance(loaded.backbone, FlowBackbone)
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    predicted = loaded.predict(frames)["micro"]
    torch.testing.assert_close(predicted, task.model.predict(frames)["micro"])
    assert torch.equal(predicted, loaded.predict(frames[:, [0, 2]])["micro"])  # the ends decide


def test_faults_are_named(tmp_path):
    with pytest.raises(ConfigError, match="\\['mouth'\\]"):
        make_task(recognition={"mouth": "megc3"})
    head = partial(MicroAUHead, space=SPACE, attention_heads=2, target="micro_au")
    task = MicroAU(TimmBackbone("test_vit", size=32, tokens=True), {"micro": head})
    with pytest.raises(ConfigError, match="annotates 'micro_au'"):
        fitted(tmp_path, task)
    with pytest.raises(ConfigError, match="Rules need the occurrence"):
        make_task(
            {"expression": partial(ExpressionHead, space="basic7")}, recognition={"expression": "megc3"}
        )
    with pytest.raises(ConfigError, match="Set `motion: apex`"):
        make_task(flow={})
    with pytest.raises(LabelSpaceError, match="rule"):
        make_task(recognition={"micro": "contempt,neutral"})
