"""Losses, stages and training of FG-SGL."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from helpers.fgsgl import make_fgsgl
from helpers.toy import ToyDataModule
from helpers.training import make_trainer
from lightning.pytorch import Callback
from torch.nn import functional as F

from affectkit.data import Clip, HorizontalFlip, Target, collate
from affectkit.errors import ConfigError
from affectkit.losses import SoftContrast
from affectkit.methods.fgsgl import FGSGL, consistency, grouped_cross_entropy, stage_weights
from affectkit.methods.fgsgl.task import unmirrored_classes
from affectkit.models import ExpressionHead, TimmBackbone
from affectkit.tasks.base import model_inputs

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`"),
]


def toy(**options):
    return ToyDataModule(batch_size=6, seed=0, clips=3, **{"steps_per_epoch": 2, **options})


def fit(task, folder, data=None, **options):
    trainer = make_trainer(folder, **{"max_epochs": 2, "enable_checkpointing": False, **options})
    trainer.fit(task, datamodule=data or toy())
    return trainer


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    task, data = make_fgsgl(), toy()
    fit(task, tmp_path_factory.mktemp("fgsgl"), data)
    return task.eval(), data


class Stop(Callback):
    """Stop after some steps, without changing the planned number of steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= self.steps


class Gradients(Callback):
    """Check that several processes would find every trained parameter in the graph."""

    def on_after_backward(self, trainer, task):
        assert all(p.grad is not None for p in task.parameters() if p.requires_grad)


def batch_of(data, count=6):
    return collate([data.datasets["train"][i] for i in range(count)])


@pytest.mark.parametrize(
    ("progress", "order", "weights"),
    [
        (0.0, "coarse_first", (1, 0, 0)),
        (0.3, "coarse_first", (1, 0, 0)),
        (0.45, "coarse_first", (1, 0.75, 0)),
        (0.5, "coarse_first", (1, 1, 1)),
        (1.0, "coarse_first", (1, 1, 1)),
        (0.1, "fine_first", (0, 1, 0)),
        (0.4, "fine_first", (0.5, 1, 0)),
        (0.0, "one_stage", (1, 1, 1)),
    ],
)
def test_stages_go_from_coarse_to_fine(progress, order, weights):
    assert stage_weights(progress, order) == pytest.approx(
        dict(zip(("category", "fine", "consistency"), weights, strict=True))
    )


def test_classes_with_the_same_sentence_are_no_negatives():
    logits = torch.randn(3, 4, requires_grad=True)
    groups, classes = torch.tensor([0, 0, 2, 0]), torch.tensor([0, 2, 3])
    loss = grouped_cross_entropy(logits, classes, groups)
    wanted = [
        -F.log_softmax(logits[0, [0, 2]], 0)[0],
        -F.log_softmax(logits[1], 0)[2],
        -F.log_softmax(logits[2, [2, 3]], 0)[1],
    ]
    torch.testing.assert_close(loss, torch.stack(wanted))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient[0, [1, 3]].tolist() == gradient[2, [0, 1]].tolist() == [0.0, 0.0]
    assert (gradient[1, [0, 1, 3]] > 0).all()  # their sentences differ from the true one


def test_consistency_is_the_divergence_from_category_to_fine():
    category, fine = torch.randn(4, 3), torch.randn(4, 3)
    p, q = category.softmax(-1), fine.softmax(-1)
    torch.testing.assert_close(consistency(category, fine), (p * (p / q).log()).sum(-1))
    torch.testing.assert_close(consistency(category, category), torch.zeros(4))


def test_terms_are_those_of_the_docstring(fitted):
    task, data = fitted
    batch, head = batch_of(data), task.heads["expression"]
    prototypes = task.model.prototypes()["expression"]
    features = task.model.features(**model_inputs(batch))
    terms = task.terms("expression", features, prototypes, batch)
    assert set(terms) == set(task.loss_weights)
    out, y = head.outputs(features, prototypes), batch.targets["expression"].value
    categories, sentences = head.texts(prototypes)
    torch.testing.assert_close(terms["expression"][0], F.cross_entropy(out.category, y, reduction="sum"))

    def two_way(vectors, texts, groups):
        """Both directions, written out: clip i against the texts of clips with another sentence, and the reverse."""
        scores, total = vectors @ texts[y].T / head.tau, 0.0
        for i in range(len(y)):
            others = [j for j in range(len(y)) if j == i or groups[y[j]] != groups[y[i]]]
            for row in (scores[i, others], scores[others, i]):
                total = total - 0.5 * F.log_softmax(row, 0)[others.index(i)]
        return total

    torch.testing.assert_close(
        terms["expression/category"][0], two_way(out.clips, categories, torch.arange(7))
    )
    groups = task.bridge.groups("expression")
    fine = sum(
        two_way(out.parts[:, d], sentences[:, d], groups[d])
        + grouped_cross_entropy(out.fine[:, d], y, groups[d]).sum()
        for d in range(4)
    )
    torch.testing.assert_close(terms["expression/fine"][0], fine / 4)
    torch.testing.assert_close(
        terms["expression/consistency"][0], consistency(out.category, head.mixed(out.fine)).sum()
    )
    torch.testing.assert_close(
        terms["expression/fusion"][0], F.cross_entropy(head.fuse(out.category, out.fine), y, reduction="sum")
    )
    assert all(float(count) == 6 for _, count in terms.values())


def test_the_fusion_loss_trains_the_weights_of_the_parts_alone(fitted):
    task, data = fitted
    batch = batch_of(data)
    features = task.model.features(**model_inputs(batch))
    task.zero_grad()
    task.terms("expression", features, task.model.prototypes()["expression"], batch)["expression/fusion"][
        0
    ].backward()
    touched = {name for name, p in task.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"model.heads.expression.part_weights"}
    task.zero_grad()


def test_equal_sentences_are_never_negatives_in_the_contrast(fitted):
    """Gradients would push a clip away from a sentence that is also its own; here they are exactly zero."""
    scores = torch.randn(5, 5, requires_grad=True)
    groups = torch.tensor([0, 0, 1, 2, 0])
    total, _ = SoftContrast(guide="off")(scores, groups, torch.tensor(0.07))
    total.backward()
    same = (groups[:, None] == groups) & ~torch.eye(5, dtype=torch.bool)
    assert not scores.grad[same].any()
    assert (scores.grad[~same & ~torch.eye(5, dtype=torch.bool)] > 0).all()
    task, _ = fitted
    assert task.contrast.guide == "off"


def test_clips_without_a_label_have_no_part_in_any_loss(fitted):
    task, data = fitted
    batch = batch_of(data)
    target = batch.targets["expression"]
    features = task.model.features(**model_inputs(batch))
    prototypes = task.model.prototypes()["expression"]

    def totals(labels):
        batch.targets["expression"] = labels
        return {
            name: total.item()
            for name, (total, _) in task.terms("expression", features, prototypes, batch).items()
        }

    known = torch.tensor([True] * 4 + [False] * 2)
    masked = totals(Target.make(target.value, known, space="basic7"))
    few = collate([data.datasets["train"][i] for i in range(4)])
    of_few = task.terms("expression", task.model.features(**model_inputs(few)), prototypes, few)
    assert masked == pytest.approx({name: total.item() for name, (total, _) in of_few.items()}, rel=1e-4)
    nothing = totals(Target.make(target.value, torch.zeros(6, dtype=torch.bool), space="basic7"))
    assert set(nothing.values()) == {0.0}
    del batch.targets["expression"]
    absent = task.terms("expression", features, prototypes, batch)
    assert all(total.item() == count.item() == 0 for total, count in absent.values())
    soft = totals(target.as_soft())
    assert soft == pytest.approx(totals(target), rel=1e-5)


@pytest.mark.parametrize(
    ("order", "still", "moving"),
    [
        (
            "coarse_first",
            ("heads.expression.fine", "heads.expression.part_weights", "backbone.token_layers"),
            "bridge.prompts",
        ),
        ("fine_first", ("heads.expression.category", "bridge.prompts"), "heads.expression.fine"),
    ],
)
def test_parameters_of_a_later_stage_stay_as_they_are(tmp_path, order, still, moving):
    task = make_fgsgl(order=order, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    fit(task, tmp_path, toy(steps_per_epoch=3), max_epochs=10, callbacks=[Stop(3)])  # 3 of 30 steps
    same = {name for name, p in task.model.named_parameters() if torch.equal(p, before[name])}
    later = {name for name in before if name.startswith(still)}
    assert later
    assert later <= same
    assert not {name for name in before if name.startswith(moving)} & same


@pytest.mark.parametrize(
    ("head", "terms"),
    [
        ({"scores": "category"}, {"expression", "expression/category"}),
        ({"scores": "fine"}, {"expression", "expression/fine"}),
    ],
)
def test_heads_of_one_level_train_every_parameter_from_the_start(tmp_path, head, terms):
    task = make_fgsgl(head)
    assert set(task.loss_weights) == terms
    trainer = fit(task, tmp_path, max_epochs=1, callbacks=[Gradients()])
    logged = trainer.callback_metrics
    names = {term: f"train/{term}_loss" if "/" in term else f"train/{term}/loss" for term in terms}
    assert float(logged["train/loss"]) == pytest.approx(
        sum(float(logged[name]) for name in names.values()), rel=1e-4
    )


def test_all_parameters_are_in_the_graph_in_the_first_stage(tmp_path):
    fit(make_fgsgl(), tmp_path, max_epochs=1, callbacks=[Gradients()])


def test_queries_start_at_the_mean_sentence(fitted):
    task = make_fgsgl()
    sentences = task.heads["expression"].texts(task.model.prototypes()["expression"])[1]
    torch.testing.assert_close(task.heads["expression"].fine.queries, sentences.mean(dim=0))


def test_training_continues_from_a_saved_model(fitted, tmp_path):
    task, _ = fitted
    task.model.save_pretrained(tmp_path)
    again = make_fgsgl(init_from=str(tmp_path))
    torch.testing.assert_close(again.heads["expression"].fine.queries, task.heads["expression"].fine.queries)


def test_results_are_those_of_expressions(fitted, tmp_path):
    task, data = fitted
    trainer = make_trainer(tmp_path)
    trainer.test(task, datamodule=data, verbose=False)
    assert {row.name for row in task.results["toy/expression"]} >= {"expression/uar", "expression/war"}


def test_classes_without_a_mirrored_class_are_found():
    texts = {
        "left nod": ["the left ear", "down", "none", "once"],
        "right nod": ["the right ear", "down", "none", "once"],
        "wave": ["the left hand", "up", "none", "twice"],
    }
    task = make_fgsgl({"space": ",".join(texts)}, {"texts": texts})
    assert unmirrored_classes(task.bridge, "expression") == ["wave"]
    texts["right nod"][1] = "up"
    other = make_fgsgl({"space": ",".join(texts)}, {"texts": texts})
    assert unmirrored_classes(other.bridge, "expression") == ["left nod", "right nod", "wave"]


def test_a_warning_names_the_classes_before_training(tmp_path, caplog):
    texts = {name: ["the left side", name, "far", "fast"] for name in ("happiness", "anger", "neutral")}
    task = make_fgsgl({"space": "happiness,anger,neutral"}, {"texts": texts})
    with caplog.at_level(logging.WARNING):
        fit(task, tmp_path, max_epochs=1)
    assert any("'happiness', 'anger', 'neutral'" in record.getMessage() for record in caplog.records)


def test_a_flip_exchanges_classes_whose_sentences_are_mirrored():
    texts = {
        "left nod": ["the left ear", "down", "none", "once"],
        "right nod": ["the right ear", "down", "none", "once"],
        "wave": ["one hand", "up", "none", "twice"],
    }
    space = ",".join(texts)
    bridge = make_fgsgl({"space": space}, {"texts": texts}).bridge
    processes = list(bridge.processes["expression"].values())
    for label in range(3):
        clip = Clip.make(
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            {
                "expression": Target.make(torch.tensor(label), space=space),
                "soft": Target.make(torch.eye(3)[label], space=space),
                "absent": Target.make(torch.tensor(-1), space=space),
            },
        )
        flipped = HorizontalFlip(p=1)(clip, torch.Generator()).targets
        found = int(flipped["expression"].value)
        assert processes[found] == processes[label].mirrored()
        assert torch.equal(flipped["soft"].value, torch.eye(3)[found])
        assert not flipped["absent"].mask
        assert int(flipped["absent"].value) == 0


def test_a_task_needs_head_and_bridge():
    heads = {"expression": partial(ExpressionHead, space="basic7")}
    with pytest.raises(ConfigError, match="FG-SGL"):
        FGSGL(TimmBackbone("test_convnext", size=32), heads)
