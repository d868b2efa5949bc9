"""The task: loss terms, batches without labels, instructions of one's own, and metrics of sentences."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers.feallm import SPACE, make_backbone, make_feallm
from helpers.toy import ToyDataModule
from helpers.training import make_trainer

from affectkit.data import Target, collate
from affectkit.errors import ConfigError
from affectkit.facs import AUSet, ExpressionSet
from affectkit.losses import MaskedBCE
from affectkit.methods.feallm import (
    FEALLM,
    Answer,
    FEALLMHead,
    SentenceMetrics,
    answer_from_labels,
    parse_answer,
    write_instructions,
)
from affectkit.models import AUHead, ExpressionHead
from affectkit.tasks.base import model_inputs, reduce_losses

UNITS, CLASSES = AUSet.parse(SPACE), ExpressionSet.parse("basic7")


@pytest.fixture(scope="module")
def batch():
    data = ToyDataModule(batch_size=6, seed=0)
    data.setup("fit")
    return collate([data.datasets["train"][index] for index in range(8)])


def clip_labels(batch):
    target = batch.targets["au"].project(SPACE)
    value = torch.where(target.mask, target.value, -1).amax(1)
    return value.clamp(min=0), target.mask.any(1)


def terms_of(task, batch):
    features = task.model.features(**model_inputs(batch))
    found = {}
    for name in task.heads:
        found |= task.terms(name, features, None, batch)
    return found


def test_the_terms_are_those_of_slots_and_answers(batch):
    task = make_feallm().eval()
    value, mask = clip_labels(batch)
    answers = task.answers("au", batch)
    for clip, answer in enumerate(answers):
        active = [u for k, u in enumerate(UNITS) if mask[clip, k] and value[clip, k]]
        name = CLASSES.classes[int(batch.targets["expression"].value[clip])]
        assert answer == answer_from_labels(active, name)
    found, head = terms_of(task, batch), task.heads["au"]
    logits, text = head.learn(task.model.features(**model_inputs(batch)), answers)
    torch.testing.assert_close(found["au"], MaskedBCE()(logits, value, mask))
    torch.testing.assert_close(found["au/text"], text)
    reduced = reduce_losses({name: [term] for name, term in found.items()})
    expected = reduced["au"].loss + 0.3 * reduced["au/text"].loss
    torch.testing.assert_close(task.combine(reduced), expected)


def without(batch, *names):
    targets = {name: target for name, target in batch.targets.items() if name not in names}
    return replace(batch, targets=targets)


def test_clips_without_labels_have_no_answer(batch):
    task = make_feallm()
    assert task.answers("au", without(batch, "expression")) == [None] * 8
    assert task.answers("au", without(batch, "au")) == [None] * 8
    expression = batch.targets["expression"]
    mask = expression.mask.clone()
    mask[2] = False
    other = Target.make(expression.value, mask, space="basic7")
    hidden = replace(batch, targets=batch.targets | {"expression": other})
    assert [answer is None for answer in task.answers("au", hidden)] == [k == 2 for k in range(8)]


@pytest.mark.parametrize("masked", [True, False])
def test_a_batch_without_labels_has_loss_zero_and_zero_gradients(batch, masked):
    task = make_feallm()
    nothing = {
        name: Target(torch.zeros_like(one.value), torch.zeros_like(one.mask), one.space)
        for name, one in batch.targets.items()
    }
    empty = replace(batch, targets=nothing if masked else {})
    reduced = reduce_losses({name: [term] for name, term in terms_of(task, empty).items()})
    loss = task.combine(reduced)
    loss.backward()
    assert loss == 0
    for name, parameter in task.model.named_parameters():
        if not name.startswith("backbone.tower."):
            assert parameter.grad is not None, name
            assert not parameter.grad.any()


def test_the_task_needs_a_head_that_answers():
    with pytest.raises(ConfigError, match="No head answers in sentences"):
        FEALLM(make_backbone(), {"au": partial(AUHead, space=SPACE)})
    task = make_feallm(others={"expression": partial(ExpressionHead, space="basic7")})
    assert set(task.loss_weights) == {"au", "expression", "au/text"}


def test_answers_of_a_file_take_the_place_of_those_of_labels(batch, tmp_path):
    clip = batch.meta["clip"][1]
    own = Answer(tuple(UNITS), "fear", (next(iter(UNITS)),))
    write_instructions(tmp_path / "own.jsonl", {clip: own, "elsewhere": own})
    task, plain = make_feallm(instructions=str(tmp_path / "own.jsonl")), make_feallm()
    found, usual = task.answers("au", batch), plain.answers("au", batch)
    assert found[1] == own != usual[1]
    assert [*found[:1], *found[2:]] == [*usual[:1], *usual[2:]]
    assert task.answers("au", without(batch, "au", "expression"))[1] == own


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_training_and_test_measure_sentences(tmp_path):
    write_instructions(tmp_path / "none.jsonl", {"elsewhere": Answer((), "neutral", ())})
    data = ToyDataModule(batch_size=6, seed=0, clips=3)
    lost = make_feallm(instructions=str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match=r"none\.jsonl: .*names no training clip"):
        make_trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(lost, datamodule=data)
    task = make_feallm(others={"expression": partial(ExpressionHead, space="basic7")})
    trainer = make_trainer(tmp_path, max_steps=2, enable_checkpointing=False)
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["train/au/text_loss"] > 0
    trainer.test(task, datamodule=data, verbose=False)
    assert set(task.results) == {"toy/au", "toy/expression", "toy/au sentences"}
    rows = {row.name: row for row in task.results["toy/au sentences"]}
    assert [*rows] == [f"sentences/{name}" for name in
                       ("f1_pos", "uar", "parsed", "agreement", "typical_cues", "follows", "both_right")]  # fmt: skip
    assert rows["sentences/parsed"].estimate.value == rows["sentences/agreement"].estimate.value == 1
    units = {row.name: row for row in task.results["toy/au"]}
    # Labels of frames count for the head's metric, those of clips here: the lists are equal, the labels are not.
    assert rows["sentences/f1_pos"].baseline > units["au/f1_pos"].baseline - 0.5
    assert rows["sentences/f1_pos"].resampled == "subjects"


def test_metrics_are_shares_counted_by_hand():
    metrics = SentenceMetrics(FEALLMHead(8, SPACE))
    one, four, twelve = UNITS
    answers = [
        Answer((twelve,), "happiness", (twelve,)),
        Answer((four,), "happiness", (four,)),
        Answer((one, four), "sadness", ()),
    ]
    texts = [*(answer.text for answer in answers), "Happy!"]
    active = torch.tensor([[0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=torch.bool)
    value = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 1]], dtype=torch.float)
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[1, 0] = False
    happy, sad = (CLASSES.classes.index(name) for name in ("happiness", "sadness"))
    classes, labelled = torch.tensor([happy, happy, happy, sad]), torch.tensor([True, True, True, False])
    for i in range(4):  # one by one
        metrics.update(
            texts[i : i + 1], active[i : i + 1], (value[i : i + 1], mask[i : i + 1]),
            (classes[i : i + 1], labelled[i : i + 1]), torch.tensor([i % 2]),
        )  # fmt: skip
    rows = {row.name.partition("/")[2]: row for row in metrics.results("test", by_subject=True)}
    found = {name: row.estimate.value for name, row in rows.items()}
    assert found == pytest.approx(
        {
            # AU1: 1 hit. AU4: 1 hit, 1 false. AU12: 1 hit, 2 missed, one of them in the text that does not parse.
            "f1_pos": (1 + 2 / 3 + 2 / 4) / 3,
            "uar": 2 / 3,
            "parsed": 3 / 4,
            "agreement": (1 + 1 + 2 / 3 + 0) / 4,
            "typical_cues": (1 + 0 + 1 + 0) / 4,
            "follows": 1 / 4,  # AU1 with AU4 alone is likelier in fear than in sadness
            "both_right": 1 / 2,  # of the first and the third, which are completely labelled
        }
    )
    assert rows["f1_pos"].baseline == pytest.approx((2 / 4 + 2 / 5 + 6 / 7) / 3)
    assert rows["uar"].baseline == 1
    assert SentenceMetrics(metrics.head).results("test", by_subject=False) == []
    assert parse_answer(texts[2], UNITS, CLASSES).cues == ()


def test_units_without_a_label_count_neither_for_nor_against_a_sentence():
    metrics = SentenceMetrics(FEALLMHead(8, SPACE))
    _, four, twelve = UNITS
    text = Answer((four, twelve), "happiness", ()).text
    value, mask = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[True, False, True]])
    decided, happy = torch.tensor([[False, True, True]]), torch.tensor([CLASSES.classes.index("happiness")])
    for subject in (0, 1):
        known = (happy, torch.tensor([True]))
        metrics.update([text], decided, (value, mask), known, torch.tensor([subject]))
    rows = {row.name: row.estimate.value for row in metrics.results("test", by_subject=True)}
    assert rows["sentences/f1_pos"] == 1.0  # AU12 alone
