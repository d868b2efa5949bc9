"""Multi-task training of several heads on one backbone, from one corpus or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.losses import Loss, LossTerm, MaskedBCE, default_loss
from affectkit.metrics import ThresholdRule
from affectkit.models import AffectModel, Backbone, Bridge, Features, Head, Temporal
from affectkit.tasks.base import (
    AffectTask,
    Averaging,
    Balance,
    Reduced,
    balance_weights,
    group_by_shape,
    head_loss,
    model_inputs,
    reduce_losses,
)
from affectkit.tasks.callbacks import EMA
from affectkit.tasks.data import task_data
from affectkit.tasks.optim import Schedule, build_optimizer, build_schedule

__all__ = ["MultiTask"]

_BALANCED: dict[Balance, str] = {"inverse_frequency": "weight", "positives": "pos_weight"}  # of a MaskedBCE


class MultiTask(AffectTask):
    r"""Train several heads on one backbone with masked losses, from one corpus or a mixture.

    The loss of head :math:`h` is the mean over the entries of a step that are annotated for its target; the step's
    loss is :math:`\sum_h w_h L_h`. Labels are projected by name onto the head's label space, so corpora with different
    unit lists train the same head. Evaluation is per corpus and logs `stage/dataset/head/metric`.

    A subclass may change clips before they are encoded (`prepare`), add loss terms (`terms`), combine them differently
    (`combine`), and encode the sources of a step one by one (`separate_sources = True`).

    Args:
        backbone: Frame encoder.
        heads: Factories by name, each from the feature width to a head.
        temporal: Factory from the feature width to a module over the frames' features; their mean by default.
        bridge: Factory from the label spaces of the heads with prototypes, by head name, to the module that makes the
            prototypes; none by default.
        losses: Losses by head name; by default that of the head or of its kind of labels.
        balance: Weighting of action units by their occurrence rates in the training labels, by head name:
            `inverse_frequency` weighs whole units, `positives` the positives of each unit by the square root of their
            odds against. No weights by default.
        weights: Weights of the heads' losses, 1 by default.
        lr: Learning rate.
        weight_decay: AdamW decay of matrices.
        param_groups: Settings by name pattern, see `affectkit.tasks.optim.parameter_groups`.
        schedule: Learning-rate schedule after the warm-up.
        warmup: Share of the steps that warm up.
        normalize: Averaging of losses over processes, see `affectkit.tasks.base.reduce_losses`.
        threshold: Decision threshold of action units on test data: `fixed` at 0.5, `val` for those that maximise F1 on
            the validation subjects (frozen with the checkpoint), or `oracle`, which chooses them on the test data and
            is labelled so wherever it is printed.
        input_spec: Input settings that the data do not determine: `frames`, `fps`, `crop_margin`, `alignment`. A value
            that differs from that of the data is an error.
        init_from: Folder or Hub name of a saved model with the initial weights.
        replace_heads: Heads not to take from `init_from`; every other tensor must fit.
        freeze: Name patterns of parameters that are not trained.
        compile_model: Compile backbone and temporal module with `torch.compile`.

    Raises:
        ConfigError: A loss or weight names an unknown head, or no head uses the bridge.
    """

    separate_sources = False

    def __init__(
        self,
        backbone: Backbone,
        heads: dict[str, Callable[[int], Head]],
        temporal: Callable[[int], Temporal] | None = None,
        bridge: Callable[[dict[str, Any]], Bridge] | None = None,
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
        over_frames = None if temporal is None else temporal(backbone.num_features)
        width = backbone.num_features if over_frames is None else over_frames.num_features
        built = {name: factory(width) for name, factory in heads.items()}
        spaces = {name: head.space for name, head in built.items() if head.uses_prototypes}
        if bridge is not None and not spaces:
            raise ConfigError(
                "No head uses the prototypes of the bridge.",
                remedy="Add a head that uses prototypes, or remove the bridge.",
            )
        prototypes = None if bridge is None else bridge(spaces)
        super().__init__(AffectModel(backbone, built, over_frames, prototypes, input_spec=input_spec))
        self.save_hyperparameters(ignore=["backbone", "heads", "temporal", "bridge", "losses"])
        for kind, given in (("loss", losses), ("weight", weights), ("balance", balance)):
            if unknown := set(given or {}) - set(heads):
                raise ConfigError(
                    f"A {kind} is given for {sorted(unknown)}.", remedy=f"Heads are {sorted(heads)}."
                )
        self.losses = nn.ModuleDict(
            {
                name: (losses or {}).get(name) or default_loss(head.space, head.loss)
                for name, head in self.heads.items()
            }
        )
        self.balance = dict(balance or {})
        for name, rule in self.balance.items():
            if isinstance(loss := self.losses[name], MaskedBCE):  # replaced in on_fit_start
                setattr(loss, _BALANCED[rule], torch.ones(len(self.heads[name].space)))
        self.loss_weights = {name: (weights or {}).get(name, 1.0) for name in heads}
        if init_from is not None:
            self.model.init_from(init_from, replace=replace_heads or [])
        self.model.freeze(freeze or [])
        if compile_model:
            self.model.backbone.compile()
            if self.model.temporal is not None:
                self.model.temporal.compile()

    def training_step(self, batch: ClipBatch | dict[str, ClipBatch], batch_idx: int) -> Tensor:
        """Compute the loss of one step, from a batch of one source or of every source of a mixture."""
        sources = [batch] if isinstance(batch, ClipBatch) else list(batch.values())
        groups = sources if self.separate_sources else group_by_shape(sources)
        prototypes = self.model.prototypes()
        taught = {target for group in groups for target in group.targets}
        found: dict[str, list[LossTerm]] = {}
        for index, group in enumerate(groups):
            # A head without labels in this step still takes part in the graph, once.
            wanted = {
                *group.targets,
                *(h.target for h in self.heads.values() if not index and h.target not in taught),
            }
            learning = [name for name, head in self.heads.items() if head.target in wanted]
            if not learning:
                continue
            clips = self.prepare(group, self.step_seed(f"mixup {index}", batch_idx))
            features = self.model.features(**model_inputs(clips))
            for name in learning:
                for term, part in self.terms(name, features, prototypes.get(name), clips).items():
                    found.setdefault(term, []).append(part)
        return self.finish_step(found, size=sum(len(source) for source in sources))

    def finish_step(self, terms: Mapping[str, Sequence[LossTerm]], *, size: int) -> Tensor:
        """Reduce the loss terms of a step, combine them to its loss, and log them.

        Args:
            terms: Loss terms of each group of clips, by name.
            size: Number of clips.
        """
        reduced = reduce_losses(terms, self.hparams["normalize"])
        loss = self.combine(reduced)
        means = {term: one.mean for term, one in reduced.items()}
        logged = {"train/loss": loss, **{f"train/{_log_name(term)}": mean for term, mean in means.items()}}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        self.divergence.note({**means, "train/loss": loss}, self.global_step)
        return loss

    def prepare(self, batch: ClipBatch, seed: int) -> ClipBatch:
        """Change a training batch before it is encoded; by default it stays as it is.

        Args:
            batch: Clips of one source, or of several with frames of the same shape.
            seed: Seed of random changes.
        """
        return batch

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """Compute the loss terms of a head: `name`, and further ones as `name/…`.

        Args:
            name: Name of the head.
            features: Features of the clips.
            prototypes: Prototypes of the head [labels, D], with gradients; None for a head without.
            batch: The clips, with or without the head's target.
        """
        head = self.heads[name]
        logits = head(features) if prototypes is None else head(features, prototypes)
        return {name: self.head_loss(name, logits, batch)}

    def combine(self, losses: Mapping[str, Reduced]) -> Tensor:
        """Combine the losses of a step to a scalar, their weighted sum."""
        return torch.stack([self.loss_weights[term] * one.loss for term, one in losses.items()]).sum()

    def head_loss(self, name: str, logits: Tensor, batch: ClipBatch) -> LossTerm:
        """Compute the loss term of the head `name`, see `affectkit.tasks.base.head_loss`."""
        return head_loss(self.heads[name], cast("Loss", self.losses[name]), logits, batch)

    def on_fit_start(self) -> None:
        """Set the loss weights of the heads in `balance`.

        Raises:
            ConfigError: A head has no training label or cannot be balanced, or a callback other than `EMA` averages
                the weights of a model with a bridge.
        """
        super().on_fit_start()
        for callback in self.trainer.callbacks if self.model.bridge is not None else ():  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and not isinstance(callback, EMA):
                raise ConfigError(
                    f"{type(callback).__name__} averages buffers, which the bridge cannot use.",
                    remedy="Use the callback affectkit.tasks.EMA.",
                )
        for name, balance in self.balance.items():
            head, loss = self.heads[name], self.losses[name]
            rates = task_data(self.trainer).label_rates(head.target, head.space.name)
            if not isinstance(loss, MaskedBCE) or rates is None:
                raise ConfigError(
                    f"The head {name!r} cannot be balanced by {balance}.",
                    remedy="Use a binary cross-entropy and a training corpus that annotates its target.",
                )
            weights = balance_weights(rates, balance).to(self.device)
            setattr(loss, _BALANCED[balance], weights)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW with the recipe's parameter groups and a schedule by step."""
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
    """`au/loss` for a head, `au/contrast_loss` for one of its further terms."""
    head, _, further = term.partition("/")
    return f"{head}/{further}_loss" if further else f"{head}/loss"
