"""Temperatures and thresholds from validation data, head by head."""

import math

import pytest
import torch
from helpers.toy import ToyDataModule
from helpers.training import make_task

from affectkit.data import Target
from affectkit.errors import ConfigError
from affectkit.metrics import AUMetrics
from affectkit.models import AffectModel, AUIntensityHead
from affectkit.tasks.calibration import LabelledLogits, calibrate, collect_logits, measure


@pytest.fixture(scope="module")
def loader():
    data = ToyDataModule(batch_size=3, seed=0)
    data.setup("validate")
    return data.val_dataloader()  # 8 clips in batches of 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    heads = {
        "au": {"type": "au", "space": "AU1,AU4,AU12", "per_frame": True},
        "expression": {"type": "expression", "space": "basic7"},
        "strength": {"type": "intensity", "space": "intensity:AU1,AU12"},
    }
    return AffectModel({"type": "timm", "model_name": "test_convnext", "size": 32}, heads).train()


def test_answers_are_logits_beside_what_is_annotated(model, loader):
    found = collect_logits(model, [loader])
    assert model.training
    shapes = {name: (tuple(rows.logits.shape), tuple(rows.value.shape)) for name, rows in found.items()}
    assert shapes == {
        "au": ((24, 3), (24, 3)),
        "expression": ((8, 7), (8,)),
        "strength": ((8, 2, 5), (8, 2)),
    }
    batch = next(iter(loader))
    with torch.no_grad():
        wanted = model.eval()(batch.frames, batch.frame_mask)["au"]
    assert torch.allclose(found["au"].logits[:9].reshape(3, 3, 3), wanted, atol=1e-5)
    target = batch.targets["au"].project("AU1,AU4,AU12")
    assert torch.equal(found["au"].mask[:9].reshape(3, 3, 3), target.mask)
    assert torch.equal(found["au"].value[:9].reshape(3, 3, 3), target.value)
    twice = collect_logits(model, [loader, loader])["au"]
    assert len(twice.logits) == 48


def test_padding_and_heads_without_labels_have_no_part(model, loader):
    batch = next(iter(loader))
    from dataclasses import replace

    target = batch.targets["au"]
    nothing = Target.make(torch.zeros_like(target.value), torch.zeros_like(target.mask), space=target.space)
    padded = replace(
        batch,
        valid=torch.tensor([True, False, True]),
        targets={"au": nothing, "expression": batch.targets["expression"]},
    )
    found = collect_logits(model, [[padded]])
    assert list(found) == ["expression"]
    assert found["expression"].mask.tolist() == [True, False, True]
    with pytest.raises(ConfigError, match="None of the heads"):
        calibrate(model, {})


def test_levels_become_yes_or_no():
    rows = LabelledLogits(
        torch.arange(10.0).reshape(1, 2, 5), torch.tensor([[3.0, 0.0]]), torch.tensor([[True, True]])
    )
    logits, truth = rows.evidence(AUIntensityHead(1, "intensity:AU1,AU2"))
    assert logits.tolist() == list(range(10))
    assert truth.int().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_calibration_finds_the_temperature_and_keeps_the_best_decisions(model):
    rng = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(5000, 3, generator=rng) - 1
    value = torch.bernoulli((logits / 2).sigmoid(), generator=rng)
    mask = torch.rand(5000, 3, generator=rng) < 0.8
    wrong = torch.where(mask, value, 1 - value)  # what is masked must not matter
    found = {"au": LabelledLogits(logits, wrong, mask)}
    before = measure(model, found)["au"]
    assert before["ece"] == before["ece_before"]
    calibrate(model, found)
    head = model.head("au")
    assert head.temperature == pytest.approx(2.0, rel=0.05)
    assert model.head("expression").temperature == 1.0
    after = measure(model, found)["au"]
    assert after["ece_before"] == before["ece"]
    assert after["ece"] < 0.3 * before["ece"]
    assert after["nll"] < before["nll"]
    assert after["labels"] == int(mask.sum())
    metric = AUMetrics(head.labels, 1)
    metric.update(logits / head.temperature, value, mask, torch.zeros(5000, dtype=torch.int64))
    assert list(head.thresholds) == [metric.best_thresholds()[label] for label in head.labels]
    assert math.isclose(
        head.predict(logits)[0, 0].item(), (logits[0, 0] / head.temperature).sigmoid().item(), abs_tol=1e-6
    )


def test_every_kind_of_head_gets_likelier(loader):
    task = make_task()
    model = task.model
    found = collect_logits(model, [loader])
    calibrate(model, found)
    for one in measure(model, found).values():
        assert one["nll"] <= one["nll_before"] + 1e-9
