import math

import pytest
import torch
from helpers.toy import ToyDataset
from sklearn.metrics import roc_auc_score

from affectkit.data import Draw, Target, collate
from affectkit.errors import ConfigError
from affectkit.models import AUHead, AUIntensityHead, ExpressionHead
from affectkit.tasks.base import balance_weights, reduce_losses
from affectkit.tasks.evaluation import Evaluation, align_levels, mean_log_odds


def frames_target():
    value = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    mask = torch.tensor([[[True, True], [True, False], [False, False]]])
    return Target.make(value, mask, space="AU1,AU4")


def test_frame_outputs_are_averaged_over_real_frames_for_a_label_of_the_clip():
    prediction = torch.tensor([[[0.2], [0.4], [9.0]]])
    target = Target.make(torch.tensor([[1.0]]), space="AU1")
    pooled, same = align_levels(prediction, target, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(pooled, torch.tensor([[0.3]]))
    assert same is target


def test_log_odds_of_mean_probabilities_do_not_saturate():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, generator=rng)
    weight = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]])[..., None]
    wanted = torch.stack([logits[0, :3].sigmoid().mean(0), logits[1, 0].sigmoid()])
    torch.testing.assert_close(mean_log_odds(logits, weight).sigmoid(), wanted)
    for extreme in (-60.0, 60.0):  # σ(60) is 1 in float32, and these means are not the same
        pairs = torch.tensor([[extreme, extreme], [extreme, extreme + 1]])[..., None]
        odds = mean_log_odds(pairs, torch.ones(2, 2, 1))[:, 0]
        assert odds[0].item() == pytest.approx(extreme)
        assert odds[1].item() == pytest.approx(
            extreme + math.log((1 + math.e) / 2) if extreme < 0 else extreme - math.log((1 + 1 / math.e) / 2)
        )
    assert mean_log_odds(logits, torch.zeros(2, 4, 1)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_the_auc_of_a_head_ranks_logits_and_not_rounded_probabilities(offset):
    data = ToyDataset(split="test")
    head = AUHead(4, data.spaces["au"], per_frame=True)
    evaluation = Evaluation({"au": head}, [data], "cpu")
    batch = collate([data[0], data[1], data[2]])
    logits = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0))
    evaluation.update(0, {"au": logits + offset}, batch)
    target = batch.targets["au"].project(head.space.name)
    scores = logits if target.value.ndim == 3 else mean_log_odds(logits, batch.frame_mask[..., None].float())
    found, compared = evaluation.metrics["toy", "au"].compute(), 0
    for i, label in enumerate(head.labels):
        kept = target.mask[..., i]
        truth, score = target.value[..., i][kept], scores[..., i][kept]
        if 0 < truth.sum() < len(truth):
            compared += 1
            assert found[f"auc/{label}"].item() == pytest.approx(roc_auc_score(truth, score), abs=1e-6)
    assert compared


def test_a_clip_output_meets_the_strongest_annotated_label_of_its_frames():
    output, target = align_levels(torch.zeros(1, 2), frames_target(), torch.ones(1, 3, dtype=torch.bool))
    assert output.shape == (1, 2)
    assert target.value.tolist() == [[1.0, 0.0]]
    assert target.mask.tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("classes", "known", "value", "mask"),
    [([2, 2, -1], True, 2, True), ([2, 3, -1], True, 0, False), ([-1, -1, -1], False, 0, False)],
)
def test_a_framewise_class_is_the_clips_only_where_the_frames_agree(classes, known, value, mask):
    target = Target.make(torch.tensor([classes]), space="basic7")
    _, joined = align_levels(torch.zeros(1, 7), target, torch.ones(1, 3, dtype=torch.bool))
    assert joined.value.tolist() == [value]
    assert joined.mask.tolist() == [mask]


def test_outputs_and_labels_of_one_level_stay():
    prediction, target = torch.zeros(1, 3, 2), frames_target()
    assert align_levels(prediction, target, torch.ones(1, 3, dtype=torch.bool)) == (prediction, target)


class WithoutIntensity(ToyDataset):
    def __init__(self):
        super().__init__()
        del self.spaces["intensity"]


def test_only_heads_whose_target_is_annotated_get_a_metric():
    heads = {"au": AUHead(4, "AU1,AU12"), "intensity": AUIntensityHead(4, "intensity:AU1")}
    evaluation = Evaluation(heads, [WithoutIntensity()], "cpu")
    assert list(evaluation.metrics) == [("toy", "au")]
    assert "intensity" not in evaluation.best_thresholds()
    with pytest.raises(ConfigError, match="None of the heads"):
        Evaluation({"intensity": heads["intensity"]}, [WithoutIntensity()], "cpu")


@pytest.mark.parametrize("axes", [1, 2])
def test_levels_of_intensity_logits_stand_behind_the_labels(axes):
    shape = (1, 3, 2, 5)[: 2 + axes]
    prediction = torch.arange(torch.Size(shape).numel()).float().reshape(shape)
    target = Target.make(torch.tensor([[1.0, 0.0]]), space="intensity:AU1,AU4")
    pooled, _ = align_levels(prediction, target, torch.tensor([[True, True, False]]), axes=axes)
    torch.testing.assert_close(pooled, prediction[:, :2].mean(1))


def test_padding_of_the_last_batch_does_not_count():
    data = ToyDataset(split="test")
    head = AUHead(4, data.spaces["au"], per_frame=True)
    once, padded = (Evaluation({"au": head}, [data], "cpu") for _ in range(2))
    clips = [data[0], data[1]]
    logits = {"au": torch.randn(3, 3, 3)}
    once.update(0, {"au": logits["au"][:2]}, collate(clips))
    padded.update(0, logits, collate([*clips, data[Draw(0, valid=False)]]))
    for name, value in once.values().items():
        torch.testing.assert_close(padded.values()[name], value, equal_nan=True)


def test_corpora_of_one_name_are_an_error():
    with pytest.raises(ConfigError, match="same name"):
        Evaluation({"expression": ExpressionHead(4, "basic7")}, [ToyDataset(), ToyDataset()], "cpu")


def test_nothing_annotated_is_a_loss_of_zero_with_zero_gradients():
    logits = torch.ones(2, requires_grad=True)
    reduced = reduce_losses({"au": [((logits * 0).sum(), torch.tensor(0))]}, "local")["au"]
    reduced.loss.backward()
    assert (reduced.loss.item(), reduced.mean.item(), reduced.count.item()) == (0, 0, 0)
    assert logits.grad.tolist() == [0.0, 0.0]


def test_units_without_positives_take_no_part_in_balancing():
    rates = torch.tensor([0.5, 0.25, 0.0, float("nan")])
    torch.testing.assert_close(
        balance_weights(rates, "inverse_frequency"), torch.tensor([2 / 3, 4 / 3, 1.0, 1.0])
    )
    assert balance_weights(torch.zeros(2), "positives").tolist() == [1.0, 1.0]
