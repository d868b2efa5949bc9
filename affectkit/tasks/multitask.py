"""Any number of heads on one shared backbone, each learning from whatever corpora annotate its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.losses import MaskedBCE, MaskedCrossEntropy, MaskedLoss, OrdinalLoss
from affectkit.metrics import ThresholdRule
from affectkit.models import AffectModel, Backbone, Bridge, Features, Head, Temporal
from affectkit.tasks.base import (
    AffectTask,
    Averaging,
    Balance,
    Reduced,
    balance_weights,
    batches_of,
    group_by_shape,
    reduce_losses,
    seen,
)
from affectkit.tasks.callbacks import EMA
from affectkit.tasks.data import task_data
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.optim import Schedule, build_optimizer, build_schedule

__all__ = ["MultiTask", "Term"]

Term = tuple[Tensor, Tensor]
"""Sum of the losses of annotated entries, and their number; both scalar."""

DEFAULT_LOSSES: dict[str, type[MaskedLoss]] = {
    "multilabel": MaskedBCE,
    "multiclass": MaskedCrossEntropy,
    "ordinal": OrdinalLoss,
}

_BALANCED: dict[Balance, str] = {"inverse_frequency": "weight", "positives": "pos_weight"}  # of a MaskedBCE


class MultiTask(AffectTask):
    r"""Train several heads on one backbone with masked losses, from one corpus or a mixture.

    At every step the loss of head :math:`h` is the mean over the entries that are annotated for its target; the step's
    loss is :math:`\sum_h w_h L_h`. Labels of a corpus are projected by name onto the head's label space, so corpora
    with different unit lists train the same head. Evaluation keeps the corpora apart and logs
    `stage/dataset/head/metric`.

    A subclass adds `terms` to the loss of a head, or joins them otherwise (`combine`); it may change clips before they
    are encoded (`prepare`), and have the sources of a step encoded one by one (`apart`).

    Args:
        backbone: Frame encoder.
        heads: By name, a factory that takes the feature width and returns the head.
        temporal: Factory, likewise, of a module over the frames' features; the mean over frames by default.
        bridge: Factory that takes the label spaces of the heads that use prototypes, by head name, and returns what
            makes the prototypes; none by default.
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
        normalize: How losses are averaged over processes, see `affectkit.tasks.base.reduce_losses`.
        threshold: Decision threshold of action units on test data: `fixed` at 0.5, `val` for the ones that
            maximise F1 on the validation subjects (frozen with the checkpoint), or `oracle`, which chooses them on
            the test data itself and is labelled so wherever it is printed.
        input_spec: What training decides about the input and saved models must know: `frames`, `fps`,
            `crop_margin`, `alignment`.
        init_from: Folder or Hub name of a saved model whose weights to start from.
        replace_heads: Heads not to take from `init_from`; every other tensor must fit.
        freeze: Name patterns of parameters that are not trained.
        compile_model: Compile backbone and temporal module with `torch.compile`.

    Raises:
        ConfigError: A loss or weight names no head, or the bridge serves none.
    """

    apart = False

    def __init__(
        self,
        backbone: Backbone,
        heads: dict[str, Callable[[int], Head]],
        temporal: Callable[[int], Temporal] | None = None,
        bridge: Callable[[dict[str, Any]], Bridge] | None = None,
        *,
        losses: dict[str, MaskedLoss] | None = None,
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
        built = {name: factory(width) for name, factory in heads.items()}
        spaces = {name: head.space for name, head in built.items() if head.uses_prototypes}
        if bridge is not None and not spaces:
            raise ConfigError(
                "The bridge makes prototypes, and no head uses any.",
                remedy="Give heads that use prototypes, or no bridge.",
            )
        join = None if bridge is None else bridge(spaces)
        super().__init__(AffectModel(backbone, built, relate, join, input_spec=input_spec))
        self.save_hyperparameters(ignore=["backbone", "heads", "temporal", "bridge", "losses"])
        for kind, given in (("loss", losses), ("weight", weights), ("balance", balance)):
            if unknown := set(given or {}) - set(heads):
                raise ConfigError(
                    f"A {kind} is given for {sorted(unknown)}.", remedy=f"Heads are {sorted(heads)}."
                )
        self.losses = nn.ModuleDict(
            {
                name: (losses or {}).get(name) or DEFAULT_LOSSES[head.space.kind]()
                for name, head in self.heads.items()
            }
        )
        self.balance = dict(balance or {})
        for name, rule in self.balance.items():
            if isinstance(
                loss := self.losses[name], MaskedBCE
            ):  # until training begins; averages copy buffers
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
        """Loss of one step: a batch of one source, or of every source of a mixture."""
        sources = batches_of(batch)
        groups = sources if self.apart else group_by_shape(sources)
        prototypes = self.model.prototypes()
        taught = {target for group in groups for target in group.targets}
        sums: dict[str, Term] = {}
        for index, group in enumerate(groups):
            # A head that nobody teaches in this step still takes part in the graph, once.
            wanted = {
                *group.targets,
                *(h.target for h in self.heads.values() if not index and h.target not in taught),
            }
            learning = [name for name, head in self.heads.items() if head.target in wanted]
            if not learning:
                continue
            clips = self.prepare(group, self.step_seed(f"mixup {index}", batch_idx))
            features = self.model.features(*seen(clips))
            for name in learning:
                for term, part in self.terms(name, features, prototypes.get(name), clips).items():
                    before = sums.get(term)
                    sums[term] = part if before is None else (before[0] + part[0], before[1] + part[1])
        reduced = reduce_losses(sums, self.hparams["normalize"])
        loss = self.combine(reduced)
        means = {term: one.mean for term, one in reduced.items()}
        logged = {"train/loss": loss, **{f"train/{_log_name(term)}": mean for term, mean in means.items()}}
        size = sum(len(source) for source in sources)
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        self.divergence.note({**means, "train/loss": loss}, self.global_step)
        return loss

    def prepare(self, batch: ClipBatch, seed: int) -> ClipBatch:
        """Change clips before they are encoded for training; nothing by default.

        Args:
            batch: Of one source, or of several with frames of one shape.
            seed: For what is drawn.
        """
        return batch

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, Term]:
        """Sums and counts of the losses that teach a head: `name`, and further ones as `name/…`.

        Args:
            name: The head's.
            features: Of the clips.
            prototypes: The head's [labels, D], with gradients; None for a head that uses none.
            batch: The clips. It need not annotate the head's target.
        """
        head = self.heads[name]
        logits = head(features) if prototypes is None else head(features, prototypes)
        return {name: self.head_loss(name, logits, batch)}

    def combine(self, losses: Mapping[str, Reduced]) -> Tensor:
        """The loss of a step from its terms, a scalar: their weighted sum."""
        return torch.stack([self.loss_weights[term] * one.loss for term, one in losses.items()]).sum()

    def head_loss(self, name: str, logits: Tensor, batch: ClipBatch) -> Term:
        """Sum and count of a head's loss; without labels in this batch, logits still take part in the graph.

        Args:
            name: The head's.
            logits: The head's.
            batch: What they are of.
        """
        head = self.heads[name]
        if head.target not in batch.targets:
            return logits.float().sum() * 0.0, logits.new_zeros((), dtype=torch.float32)
        target = batch.targets[head.target].project(head.space.name)
        levels = 1 if head.space.kind == "ordinal" else 0
        logits, target = align_levels(logits, target, batch.frame_mask, levels=levels)
        total, count = self.losses[name](logits, target.value, target.mask)
        return total, count

    def on_fit_start(self) -> None:
        """Weigh the losses of the heads in `balance` by the occurrence rates of the training labels.

        Raises:
            ConfigError: A head has no training label or cannot be balanced, or a callback other than `EMA` averages
                weights beside a bridge.
        """
        super().on_fit_start()
        for callback in self.trainer.callbacks if self.model.bridge is not None else ():  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and not isinstance(callback, EMA):
                raise ConfigError(
                    f"{type(callback).__name__} may average buffers that are no averages, such as places in a text.",
                    remedy="Use the callback affectkit.tasks.EMA.",
                )
        for name, balance in self.balance.items():
            head, loss = self.heads[name], self.losses[name]
            rates = task_data(self.trainer).label_rates(head.target, head.space.name)
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
