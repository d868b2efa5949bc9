"""Training that diverges stops with one error that says where."""

import pytest
import torch
from helpers.ssm import PartlyLabelledDataModule, make_ssm
from helpers.training import make_data, make_task, make_trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from affectkit.errors import DivergenceError
from affectkit.tasks.divergence import DivergenceWatch


class Damage(Callback):
    """Puts NaN into a weight, in the gradient or after the optimiser's step, at one step."""

    def __init__(self, step, name="model.heads.expression.out.weight", *, gradient=False):
        self.step, self.name, self.gradient = step, name, gradient

    def on_before_optimizer_step(self, trainer, task, optimizer):
        if self.gradient and trainer.global_step == self.step:
            task.get_parameter(self.name).grad.fill_(torch.nan)

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if not self.gradient and trainer.global_step == self.step:
            task.get_parameter(self.name).data[0] = torch.nan


def fit(tmp_path, task, *callbacks, data=None, **options):
    options = {"max_epochs": 2, "enable_checkpointing": False, **options}
    with pytest.raises(DivergenceError) as caught:
        make_trainer(tmp_path, callbacks=list(callbacks), **options).fit(
            task, datamodule=data or make_data(4)
        )
    for cure in ("model.lr", "gradient_clip_val", "precision"):
        assert cure in caught.value.remedy
    return caught.value.fault


@pytest.mark.parametrize("gradient", [False, True])
def test_the_first_loss_that_is_not_finite_and_its_step_are_named(tmp_path, gradient):
    task = make_task()
    fault = fit(tmp_path, task, Damage(2, gradient=gradient))
    # A weight that is damaged at the end of step 2 (counted from 0 by the gradient) shows in the next loss.
    assert f"the loss 'expression' is not finite at step {3 if gradient else 2}" in fault
    assert task.global_step == (4 if gradient else 3)


def test_a_learning_rate_beyond_reason_is_no_error_of_the_metrics(tmp_path):
    fault = fit(tmp_path, make_task(lr=1e30, warmup=0.0))
    assert "is not finite at step" in fault


def test_weights_are_looked_at_before_validation(tmp_path):
    task = make_task()
    fault = fit(tmp_path, task, Damage(6), max_epochs=1)  # the last step of the epoch
    assert "the weight 'heads.expression.out.weight' is not finite" in fault
    assert task.evaluation == {}


def test_weights_are_looked_at_where_nothing_validates(tmp_path):
    fault = fit(tmp_path, make_task(), Damage(6), max_epochs=1, limit_val_batches=0)
    assert "the weight 'heads.expression.out.weight'" in fault


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_weights_that_are_not_finite_are_not_evaluated(tmp_path, stage):
    task = make_task()
    task.model.backbone.net.stem[0].weight.data.fill_(torch.inf)
    with pytest.raises(DivergenceError, match=r"the weight 'backbone\.net\.stem\.0\.weight'"):
        getattr(make_trainer(tmp_path), stage)(task, datamodule=make_data(4), verbose=False)


def test_the_losses_of_an_ssm_are_watched(tmp_path):
    task = make_ssm(bridge=False)
    name = next(name for name, _ in task.named_parameters() if name.startswith("model.heads.au."))
    data = PartlyLabelledDataModule("au", "expression", batch_size=4, seed=0)
    assert "the loss 'au' is not finite at step 2" in fit(tmp_path, task, Damage(2, name), data=data)


def test_a_loss_that_harms_no_weight_is_passed_over():
    weight, watch = nn.Parameter(torch.ones(2)), DivergenceWatch()
    counted = ("counter", nn.Parameter(torch.ones(1, dtype=torch.int64), requires_grad=False))
    watch.check([("w", weight)], always=True)
    watch.note({"a": torch.tensor(1.0), "b": torch.tensor(torch.inf)}, 3)  # its step is skipped by a scaler
    watch.note({"a": torch.tensor(torch.nan), "b": torch.tensor(0.0)}, 4)
    watch.check([("w", weight), counted], always=False)
    weight.data[1] = -torch.inf
    with pytest.raises(DivergenceError, match="the loss 'b' is not finite at step 3"):
        watch.check([("w", weight)], always=False)
    with pytest.raises(DivergenceError, match="the weight 'w' is not finite"):
        DivergenceWatch().check([("v", nn.Parameter(torch.ones(1))), ("w", weight)], always=True)
    DivergenceWatch().check([("w", weight)], always=False)
