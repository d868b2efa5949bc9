"""Any number of heads on one shared backbone, each learning from whatever corpora annotate its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.losses import Loss, LossTerm, MaskedBCE, default_loss
from affectkit.metrics import ThresholdRule
from affectkit.models import AffectModel, Backbone, Head, Temporal
from affectkit.tasks.base import (
    AffectTask,
    Averaging,
    Balance,
    balance_weights,
    batches_of,
    group_by_shape,
    head_loss,
    reduce_losses,
    seen,
)
from affectkit.tasks.optim import Schedule, build_optimizer, build_schedule

__all__ = ["MultiTask"]

_BALANCED: dict[Balance, str] = {"inverse_frequency": "weight", "positives": "pos_weight"}  # of a MaskedBCE


class MultiTask(AffectTask):
    r"""Train several heads on one backbone with masked losses, from one corpus or a mixture.

    At every step each head sees every clip, and the loss of head :math:`h` is the mean over the entries that are
    annotated for its target; the step's loss is :math:`\sum_h w_h L_h`. Labels of a corpus are projected by name
    onto the head's label space, so corpora with different unit lists train the same head. Evaluation keeps the
    corpora apart and logs `stage/dataset/head/metric`.

    Args:
        backbone: Frame encoder.
        heads: By name, a factory that takes the feature width and returns the head.
        temporal: Factory, likewise, of a module over the frames' features; the mean over frames by default.
        losses: By head name; the default for the head's kind of labels where it is absent.
        balance: By head name, how action units of different frequency are weighed, from the occurrence rates of
            the training labels: `inverse_frequency` weighs whole units, `positives` the positives of each unit by
            the square root of their odds against. No weights by default.
        weights: Weight of a head's loss; 1 where it is absent.
        lr: Learning rate.
        weight_decay: AdamW decay of matrices.
        param_groups: Settings by name pattern, see `affectkit.tasks.optim.parameter_groups`.
        schedule: Learning rate over time after the warm-up.
        warmup: Share of the steps that warm up.
        normalize: How losses are averaged over processes, see `affectkit.tasks.base.reduce_terms`.
        threshold: Decision threshold of action units on test data: `fixed` at 0.5, `val` for the ones that
            maximise F1 on the validation subjects (frozen with the checkpoint), or `oracle`, which chooses them on
            the test data itself and is labelled so wherever it is printed.
        input_spec: What training decides about the input and saved models must know: `frames`, `fps`,
            `crop_margin`, `alignment`.
        init_from: Folder or Hub name of a saved model whose weights to start from.
        replace_heads: Heads not to take from `init_from`; every other tensor must fit.
        freeze: Name patterns of parameters that are not trained.
        compile_model: Compile the model with `torch.compile`.

    Raises:
        ConfigError: A loss or weight names no head.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: dict[str, Callable[[int], Head]],
        temporal: Callable[[int], Temporal] | None = None,
        *,
        losses: dict[str, Loss] | None = None,
        balance: dict[str, Balance] | None = None,
        weights: dict[str, float] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        param_groups: list[dict[str, Any]] | None = None,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
        normalize: Averaging = "global",
        threshold: ThresholdRule = "fixed",
        input_spec: dict[str, Any] | None = None,
        init_from: str | None = None,
        replace_heads: list[str] | None = None,
        freeze: list[str] | None = None,
        compile_model: bool = False,
    ) -> None:
        relate = None if temporal is None else temporal(backbone.num_features)
        width = backbone.num_features if relate is None else relate.num_features
        super().__init__(
            AffectModel(
                backbone,
                {name: factory(width) for name, factory in heads.items()},
                relate,
                input_spec=input_spec,
            )
        )
        self.save_hyperparameters(ignore=["backbone", "heads", "temporal", "losses"])
        for kind, given in (("loss", losses), ("weight", weights), ("balance", balance)):
            if unknown := set(given or {}) - set(heads):
                raise ConfigError(
                    f"A {kind} is given for {sorted(unknown)}.", remedy=f"Heads are {sorted(heads)}."
                )
        self.losses = nn.ModuleDict(
            {name: (losses or {}).get(name) or default_loss(head.space) for name, head in self.heads.items()}
        )
        for name, rule in (balance or {}).items():
            if isinstance(
                loss := self.losses[name], MaskedBCE
            ):  # until training begins; averages copy buffers
                setattr(loss, _BALANCED[rule], torch.ones(len(self.heads[name].space)))
        self.loss_weights = {name: (weights or {}).get(name, 1.0) for name in heads}
        if init_from is not None:
            self.model.init_from(init_from, replace=replace_heads or [])
        self.model.freeze(freeze or [])
        if compile_model:
            self.model.compile()

    def training_step(self, batch: ClipBatch | dict[str, ClipBatch], batch_idx: int) -> Tensor:
        """Loss of one step: a batch of one source, or of every source of a mixture."""
        sources = batches_of(batch)
        found: dict[str, list[LossTerm]] = {}
        for group in group_by_shape(sources):
            for term, part in self._terms(group).items():
                found.setdefault(term, []).append(part)
        means = reduce_losses(found, self.hparams["normalize"])
        loss = torch.stack([self.loss_weights[term] * mean for term, mean in means.items()]).sum()
        size = sum(len(source) for source in sources)
        logged = {"train/loss": loss, **{f"train/{_log_name(term)}": mean for term, mean in means.items()}}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        self.divergence.note({**means, "train/loss": loss}, self.global_step)
        return loss

    def _terms(self, batch: ClipBatch) -> dict[str, LossTerm]:
        """The losses of one group of clips, by head."""
        logits = self.model(*seen(batch))
        return {name: self._head_loss(name, logits[name], batch) for name in self.heads}

    def _head_loss(self, name: str, logits: Tensor, batch: ClipBatch) -> LossTerm:
        return head_loss(self.heads[name], cast("Loss", self.losses[name]), logits, batch)

    def on_fit_start(self) -> None:
        """Weigh the losses of the heads in `balance` by the occurrence rates of the training labels."""
        super().on_fit_start()
        for name, balance in (self.hparams["balance"] or {}).items():
            head, loss = self.heads[name], self.losses[name]
            rates = self.trainer.datamodule.label_rates(head.target, head.space.name)  # type: ignore[attr-defined]
            if not isinstance(loss, MaskedBCE) or rates is None:
                raise ConfigError(
                    f"The head {name!r} cannot be balanced by {balance}.",
                    remedy="It needs a binary cross-entropy, and a training corpus that annotates its target.",
                )
            weights = balance_weights(rates, balance).to(self.device)
            setattr(loss, _BALANCED[balance], weights)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with the recipe's parameter groups and a schedule by step."""
        chosen = self.hparams
        optimizer = build_optimizer(
            self.model,
            lr=chosen["lr"],
            weight_decay=chosen["weight_decay"],
            groups=chosen["param_groups"] or [],
        )
        schedule = build_schedule(
            optimizer,
            chosen["schedule"],
            total_steps=int(self.trainer.estimated_stepping_batches),
            warmup=chosen["warmup"],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _log_name(term: str) -> str:
    """`au/loss` for a head, `au/contrast_loss` for a further term of its."""
    head, _, further = term.partition("/")
    return f"{head}/{further}_loss" if further else f"{head}/loss"
