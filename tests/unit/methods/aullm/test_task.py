"""The task: its loss terms, batches without labels, and what training changes."""

from functools import partial

import pytest
import torch
from helpers.aullm import SPACE, make_aullm
from helpers.toy import ToyDataModule
from helpers.training import make_trainer

from affectkit.data import Target, collate
from affectkit.errors import ConfigError
from affectkit.losses import MaskedBCE
from affectkit.methods.aullm import CounterfactualLoss
from affectkit.models import ExpressionHead
from affectkit.tasks.base import model_inputs, reduce_losses


@pytest.fixture(scope="module")
def batch():
    data = ToyDataModule(batch_size=6, seed=0)
    data.setup("fit")
    return collate([data.datasets["train"][index] for index in range(8)])


def terms_of(task, batch):
    torch.manual_seed(3)
    features = task.model.features(**model_inputs(batch))
    found = {}
    for name in task.heads:
        found |= task.terms(name, features, None, batch)
    return found


def clip_labels(batch):
    target = batch.targets["au"].project(SPACE)
    value = torch.where(target.mask, target.value, -1).amax(
        1
    )  # the strongest annotated label of a clip's frames
    return value.clamp(min=0), target.mask.any(1)


def test_the_terms_are_those_of_the_parts(batch):
    task = make_aullm()
    value, mask = clip_labels(batch)
    found = terms_of(task, batch)
    head, prototypes = task.heads["micro"], task.prototypes["micro"]
    content, nodes = head.encode(task.model.features(batch.frames, batch.frame_mask))
    logits = head.answer(content, nodes)
    torch.testing.assert_close(found["micro"], MaskedBCE()(logits, value, mask))
    torch.testing.assert_close(found["micro/nodes"], MaskedBCE()(head.answer_nodes(nodes), value, mask))
    torch.manual_seed(3)
    units, some = prototypes.choose(value, mask)
    flipped = head.answer(content, prototypes.flip(nodes, value, units))
    expected = CounterfactualLoss()(logits, flipped, value, units, some)
    assert expected[1] > 0
    torch.testing.assert_close(found["micro/counterfactual"], expected)


def test_weights_of_the_terms(batch):
    task = make_aullm(nodes_weight=0.2, counterfactual_weight=0.7)
    reduced = reduce_losses({name: [term] for name, term in terms_of(task, batch).items()})
    parts = {name: one.loss for name, one in reduced.items()}
    expected = parts["micro"] + 0.2 * parts["micro/nodes"] + 0.7 * parts["micro/counterfactual"]
    torch.testing.assert_close(task.combine(reduced), expected)


def test_without_consistency_there_is_no_second_pass(batch):
    task = make_aullm(counterfactual=None)
    assert set(terms_of(task, batch)) == {"micro", "micro/nodes"}
    assert not list(task.prototypes)
    with pytest.raises(ConfigError, match="Unknown consistency 'both'"):
        make_aullm(counterfactual="both")


@pytest.mark.parametrize("counterfactual", ["flip", "invariant"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_batch_without_labels_has_loss_zero_and_zero_gradients(batch, counterfactual, masked):
    """Also after steps with labels, when prototypes are known."""
    task = make_aullm(counterfactual=counterfactual)
    terms_of(task, batch)
    known = task.prototypes["micro"].means.clone()
    au = batch.targets["au"]
    nothing = Target(torch.zeros_like(au.value), torch.zeros_like(au.mask), au.space)
    targets = {"au": nothing} if masked else {}
    empty = type(batch)(**{**{f: getattr(batch, f) for f in batch.__dataclass_fields__}, "targets": targets})
    reduced = reduce_losses({name: [term] for name, term in terms_of(task, empty).items()})
    loss = task.combine(reduced)
    loss.backward()
    assert loss == 0
    gradients = [p.grad for p in task.model.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)
    assert torch.equal(task.prototypes["micro"].means, known)


def test_other_heads_can_be_part_of_the_run(batch):
    task = make_aullm(others={"expression": partial(ExpressionHead, space="basic7")})
    assert {"expression", "micro", "micro/nodes", "micro/counterfactual"} == set(terms_of(task, batch))


def test_training_resumes_with_the_prototypes(tmp_path):
    task, data = make_aullm(), ToyDataModule(batch_size=6, seed=0)
    trainer = make_trainer(tmp_path, max_steps=2, enable_checkpointing=False)
    trainer.fit(task, datamodule=data)
    for name in ("loss", "nodes_loss", "counterfactual_loss"):
        assert trainer.callback_metrics[f"train/micro/{name}"] > 0
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    state = torch.load(tmp_path / "two.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(state["prototypes.micro.means"], task.prototypes["micro"].means)
    assert not any("prototypes" in name for name in task.model.state_dict())
