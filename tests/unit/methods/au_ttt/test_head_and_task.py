"""Head, losses and task of AU-TTT."""

import math
from functools import partial

import pytest
import torch
from helpers.toy import ToyDataModule, ToyDataset
from helpers.training import make_trainer
from torch.nn import functional as F

from affectkit.data import collate
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.losses import DiceLoss, MaskedBCE, inverse_frequency_weights
from affectkit.methods.au_ttt import AUTTT, AUTTTBackbone, AUTTTHead, HeatMapLoss, MDWALoss, difficulty
from affectkit.models import AUHead, Features
from affectkit.tasks.base import model_inputs

SPACE = "AU1,AU4,AU12"


def make_head(**options):
    torch.manual_seed(0)
    return AUTTTHead(8, SPACE, **options)


def make_features(frames=3, landmarks=True):
    torch.manual_seed(1)
    points = (torch.tensor(MEAN_SHAPE_68) * 32 - 0.5).expand(2, frames, -1, -1) + torch.randn(2, frames, 1, 2)
    return Features(
        torch.randn(2, 8),
        torch.randn(2, frames, 8),
        torch.randn(2, frames, 16, 8),
        landmarks=points if landmarks else None,
        picture=32,
    )


def test_logits_are_those_of_frame_and_region():
    head, features = make_head(), make_features()
    heat = head.regions.heat(features.landmarks[1, 2][None], None, clips=1, picture=32, grid=4)[0].flatten(1)
    logits = head(features)
    assert logits.shape == (2, 3, 3)
    for unit in range(3):
        vector = features.frames[1, 2] + heat[unit] @ features.tokens[1, 2] / heat[unit].sum()
        expected = vector @ head.out.weight[unit] + head.out.bias[unit]
        torch.testing.assert_close(logits[1, 2, unit], expected)


def test_clips_have_the_mean_of_their_real_frames():
    features = make_features()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    masked = Features(features.pooled, features.frames, features.tokens, mask)
    by_frame, by_clip = make_head()(masked), make_head(per_frame=False)(masked)
    torch.testing.assert_close(by_clip[0], by_frame[0, :2].mean(dim=0))
    torch.testing.assert_close(by_clip[1], by_frame[1, 0])


def test_maps_are_finer_than_patches_and_bilinear():
    head, features = make_head(), make_features()
    out = head.outputs(features)
    assert out.maps.shape == out.heat.shape == (2, 3, 3, 16, 16)
    coarse = head.maps(features.tokens[1, 0]).T.reshape(1, 3, 4, 4)
    torch.testing.assert_close(out.maps[1, 0], F.interpolate(coarse, size=16, mode="bilinear")[0])
    assert torch.equal(out.logits, head(features))


@pytest.mark.parametrize("given", [torch.zeros(2, 8), Features(torch.zeros(2, 8), torch.zeros(2, 1, 8))])
def test_a_head_needs_patches(given):
    with pytest.raises(ValueError, match="needs patches"):
        make_head()(given)


def test_patches_must_form_a_square():
    with pytest.raises(ValueError, match="5 patches do not form a square"):
        make_head()(Features(torch.zeros(1, 8), torch.zeros(1, 1, 8), torch.zeros(1, 1, 5, 8)))


def test_mdwa_by_hand():
    loss = MDWALoss(margin=0.1)
    loss.weight, loss.gamma_neg = torch.tensor([0.5, 1.5]), torch.tensor([1.0, 2.0])
    logits, value = torch.tensor([[0.3, -0.2], [-4.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    p = logits.sigmoid().tolist()
    expected = -0.5 * math.log(p[0][0])
    expected -= 1.5 * (p[0][1] - 0.1) ** 2 * math.log(1 - (p[0][1] - 0.1))
    expected -= (
        1.5 * (p[1][1] - 0.1) ** 2 * math.log(1 - (p[1][1] - 0.1))
    )  # the fourth entry is below the margin
    total, count = loss(logits, value, torch.ones(2, 2, dtype=torch.bool))
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert count == 4


def test_the_gradient_of_a_negative_peaks_as_published():
    """AUFormer's figure: 0.716 at p = 0.845, zero below 0.05."""
    logits = torch.linspace(-6, 6, 4001)[:, None].requires_grad_()
    MDWALoss()(logits, torch.zeros_like(logits), torch.ones_like(logits, dtype=torch.bool))[0].backward()
    probability, slope = logits.sigmoid().detach()[:, 0], logits.grad[:, 0]
    assert slope.max().item() == pytest.approx(0.716, abs=1e-3)
    assert probability[slope.argmax()].item() == pytest.approx(0.845, abs=2e-3)
    assert (slope[probability < 0.05] == 0).all()


def test_equal_rates_are_equally_difficult():
    assert torch.equal(difficulty(torch.tensor([0.2, 0.2])), torch.ones(2))


def test_heat_maps_by_hand_and_masked_entries_do_not_count():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 4, requires_grad=True)
    heat, value = torch.rand(2, 3, 4, 4), torch.tensor([[1.0, 0.0, float("nan")], [0.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [False, True, False]])
    total, count = HeatMapLoss()(maps, heat, value, mask)
    expected = (maps[0, 0] - heat[0, 0]).square().mean() + (maps[0, 1] + heat[0, 1]).square().mean()
    expected = expected + (maps[1, 1] - heat[1, 1]).square().mean()
    torch.testing.assert_close(total, expected)
    assert count == 3
    total.backward()
    assert (maps.grad[~mask] == 0).all()
    nothing, none = HeatMapLoss()(maps, heat, value, torch.zeros_like(mask))
    assert nothing == none == 0


def make_task(others=None, space=SPACE, **options):
    torch.manual_seed(0)
    backbone = AUTTTBackbone(space, size=32, patch=8, width=16, depth=1, heads=2)
    heads = {"au": partial(AUTTTHead, space=space), **(others or {})}
    return AUTTT(backbone, heads, **{"lr": 1e-3, **options})


def fitted(tmp_path, task):
    data = ToyDataModule(batch_size=6, seed=0)
    trainer = make_trainer(tmp_path, max_steps=2, enable_checkpointing=False)
    trainer.fit(task, datamodule=data)
    return trainer, data


def terms_of(task, batch):
    features = task.model.features(**model_inputs(batch))
    return {
        term: both for name in task.heads for term, both in task.terms(name, features, None, batch).items()
    }


def test_the_loss_is_mdwa_wdi_and_heat_maps(tmp_path):
    task = make_task(wdi_weight=0.5, heatmap_weight=0.25)
    trainer, data = fitted(tmp_path, task)
    rates = data.label_rates("au", SPACE)
    weights = inverse_frequency_weights(rates.tolist())
    batch = collate([data.datasets["train"][index] for index in range(8)])
    target = batch.targets["au"].project(SPACE)
    out = task.model.head("au").outputs(task.model.features(**model_inputs(batch)))
    mdwa = MDWALoss()
    mdwa.weight, mdwa.gamma_neg = torch.tensor(weights), difficulty(rates.float())
    signs = (2 * target.value - 1)[..., None, None]
    errors = (out.maps - signs * out.heat).square().mean(dim=(-2, -1))
    mask = target.mask & batch.frame_mask[..., None]
    expected = {
        "au": mdwa(out.logits, target.value, target.mask),
        "au/wdi": DiceLoss(weight=weights)(out.logits, target.value, target.mask),
        "au/heatmap": (errors[mask].sum(), mask.sum()),
    }
    terms = terms_of(task, batch)
    assert set(terms) == set(expected)
    for name, (total, count) in expected.items():
        torch.testing.assert_close(terms[name][0], total, rtol=1e-5, atol=1e-5)
        assert terms[name][1] == count > 0
    assert task.loss_weights == {"au": 1.0, "au/wdi": 0.5, "au/heatmap": 0.25}
    assert {"train/au/loss", "train/au/wdi_loss", "train/au/heatmap_loss"} <= set(trainer.callback_metrics)


def test_unannotated_batches_count_nothing_and_others_share_the_run(tmp_path):
    task = make_task({"plain": partial(AUHead, space=SPACE, per_frame=True)}, gamma="one")
    fitted(tmp_path, task)
    assert task.losses["au"].gamma_neg.tolist() == [1, 1, 1]
    assert isinstance(task.losses["plain"], MaskedBCE)
    batch = collate([ToyDataset(split="train")[0]])
    del batch.targets["au"]
    terms = terms_of(task, batch)
    assert [terms[name][1] for name in ("au", "au/wdi", "au/heatmap")] == [0, 0, 0]
    task.zero_grad()
    sum(total for total, _ in terms.values()).backward()
    assert all((p.grad == 0).all() for p in task.model.head("au").parameters())


def test_labels_of_clips_are_those_of_all_their_real_frames(tmp_path):
    task = make_task()
    batch = collate([ToyDataset(split="train")[0], ToyDataset(split="train")[1]])
    by_clip = batch.targets["au"].over_frames()
    batch.targets["au"] = by_clip
    value = by_clip.project(SPACE)
    out = task.model.head("au").outputs(task.model.features(**model_inputs(batch)))
    errors = (out.maps - (2 * value.value - 1)[:, None, :, None, None] * out.heat).square().mean(dim=(-2, -1))
    mask = value.mask[:, None] & batch.frame_mask[..., None]
    total, count = terms_of(task, batch)["au/heatmap"]
    torch.testing.assert_close(total, errors[mask].sum())
    assert count == mask.sum()


def test_a_loss_of_ones_own_replaces_mdwa(tmp_path):
    task = make_task(losses={"au": MaskedBCE()})
    fitted(tmp_path, task)
    assert isinstance(task.losses["au"], MaskedBCE)
