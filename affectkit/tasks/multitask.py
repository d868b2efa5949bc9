"""Any number of heads on one shared backbone, each learning from whatever corpora annotate its target."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from affectkit.data import ClipBatch, derive_seed
from affectkit.errors import ConfigError
from affectkit.losses import MaskedBCE, MaskedCrossEntropy, MaskedLoss, OrdinalLoss
from affectkit.metrics import Result, ThresholdRule
from affectkit.models import AffectModel, Backbone, Head, Temporal
from affectkit.tasks.base import Averaging, Balance, balance_weights, batches_of, group_by_shape, reduce_loss
from affectkit.tasks.evaluation import Evaluation, align_levels
from affectkit.tasks.optim import Schedule, build_optimizer, build_schedule

__all__ = ["MultiTask"]

DEFAULT_LOSSES: dict[str, type[MaskedLoss]] = {
    "multilabel": MaskedBCE,
    "multiclass": MaskedCrossEntropy,
    "ordinal": OrdinalLoss,
}


class MultiTask(LightningModule):
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
        normalize: How losses are averaged over processes, see `affectkit.tasks.base.reduce_loss`.
        threshold: Decision threshold of action units on test data: `fixed` at 0.5, `val` for the ones that
            maximise F1 on the validation subjects (frozen with the checkpoint), or `oracle`, which chooses them on
            the test data itself and is labelled so wherever it is printed.
        input_spec: What training decides about the input and saved models must know: `frames`, `fps`,
            `crop_margin`.
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
        super().__init__()
        self.save_hyperparameters(ignore=["backbone", "heads", "temporal", "losses"])
        relate = None if temporal is None else temporal(backbone.num_features)
        width = backbone.num_features if relate is None else relate.num_features
        self.model = AffectModel(
            backbone, {name: factory(width) for name, factory in heads.items()}, relate, input_spec=input_spec
        )
        for kind, given in (("loss", losses), ("weight", weights), ("balance", balance)):
            if unknown := set(given or {}) - set(heads):
                raise ConfigError(
                    f"A {kind} is given for {sorted(unknown)}.", remedy=f"Heads are {sorted(heads)}."
                )
        self.heads: dict[str, Head] = {name: self.model.head(name) for name in heads}
        self.losses = nn.ModuleDict(
            {
                name: (losses or {}).get(name) or DEFAULT_LOSSES[head.space.kind]()
                for name, head in self.heads.items()
            }
        )
        self.loss_weights = {name: (weights or {}).get(name, 1.0) for name in heads}
        if init_from is not None:
            self.model.init_from(init_from, replace=replace_heads or [])
        self.model.freeze(freeze or [])
        if compile_model:
            self.model.compile()
        self.thresholds: dict[str, dict[str, float]] = {}
        self.results: dict[str, list[Result]] = {}
        self.evaluation: dict[Literal["val", "test"], Evaluation] = {}

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Logits by head; shapes as `affectkit.models.AffectModel.forward` gives them."""
        logits: dict[str, Tensor] = self.model(frames, frame_mask)
        return logits

    def training_step(self, batch: ClipBatch | dict[str, ClipBatch], batch_idx: int) -> Tensor:
        """Loss of one step: a batch of one source, or of every source of a mixture."""
        sources = batches_of(batch)
        sums: dict[str, list[Tensor]] = {name: [] for name in self.heads}
        counts: dict[str, list[Tensor]] = {name: [] for name in self.heads}
        for group in group_by_shape(sources):
            logits = self.model(group.frames, group.frame_mask)
            for name, head in self.heads.items():
                total, count = self._head_loss(name, head, logits[name], group)
                sums[name].append(total)
                counts[name].append(count)
        means = {
            name: reduce_loss(
                torch.stack(sums[name]).sum(), torch.stack(counts[name]).sum(), self.hparams["normalize"]
            )
            for name in sums
        }
        loss = torch.stack([self.loss_weights[name] * mean for name, mean in means.items()]).sum()
        size = sum(len(source) for source in sources)
        logged = {"train/loss": loss, **{f"train/{name}/loss": mean for name, mean in means.items()}}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def _head_loss(self, name: str, head: Head, logits: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Sum and count of a head's loss; a head without labels in this batch still takes part in the graph."""
        if head.target not in batch.targets:
            return logits.float().sum() * 0.0, logits.new_zeros((), dtype=torch.float32)
        target = batch.targets[head.target].project(head.space.name)
        levels = 1 if head.space.kind == "ordinal" else 0
        logits, target = align_levels(logits, target, batch.frame_mask, levels=levels)
        total, count = self.losses[name](logits, target.value, target.mask)
        return total, count

    def on_fit_start(self) -> None:
        """Weigh the losses of the heads in `balance` by the occurrence rates of the training labels."""
        for name, balance in (self.hparams["balance"] or {}).items():
            head, loss = self.heads[name], self.losses[name]
            rates = self.trainer.datamodule.label_rates(head.target, head.space.name)  # type: ignore[attr-defined]
            if not isinstance(loss, MaskedBCE) or rates is None:
                raise ConfigError(
                    f"The head {name!r} cannot be balanced by {balance}.",
                    remedy="It needs a binary cross-entropy, and a training corpus that annotates its target.",
                )
            weights = balance_weights(rates, balance).to(self.device)
            setattr(loss, "weight" if balance == "inverse_frequency" else "pos_weight", weights)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reseed what is drawn inside the model (dropout), so that a resumed run draws what it would have drawn."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        torch.manual_seed(derive_seed(seed, "step", self.current_epoch, batch_idx, self.global_rank))

    def on_validation_start(self) -> None:
        """Make the metrics of the validation corpora."""
        self.evaluation["val"] = self._new_evaluation(self.trainer.val_dataloaders)

    def on_test_start(self) -> None:
        """Make the metrics of the test corpora."""
        self.evaluation["test"] = self._new_evaluation(self.trainer.test_dataloaders)

    def _new_evaluation(self, loaders: Any) -> Evaluation:
        loaders = loaders if isinstance(loaders, list) else [loaders]
        return Evaluation(self.heads, [loader.dataset for loader in loaders], self.device)

    def validation_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of a validation corpus."""
        self.evaluation["val"].update(dataloader_idx, self(batch.frames, batch.frame_mask), batch)

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of a test corpus."""
        self.evaluation["test"].update(dataloader_idx, self(batch.frames, batch.frame_mask), batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics and choose the thresholds that a checkpoint of this epoch will hold."""
        self._log_evaluation("val")
        for name, head in self.heads.items():
            if head.space.kind == "multilabel" and (found := self.evaluation["val"].best_thresholds(name)):
                self.thresholds[name] = found

    def on_test_epoch_end(self) -> None:
        """Log the test metrics and keep the results, with intervals and baselines, in `results`."""
        self._log_evaluation("test")
        rule: ThresholdRule = self.hparams["threshold"]
        self.results = self.evaluation["test"].results(
            rule=rule, thresholds=self.thresholds, protocol=self._protocol()
        )

    def _log_evaluation(self, stage: Literal["val", "test"]) -> None:
        values = {f"{stage}/{name}": value for name, value in self.evaluation[stage].values().items()}
        self.log_dict(values, sync_dist=True, batch_size=1, add_dataloader_idx=False)

    def _protocol(self) -> str:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        return str(getattr(data, "protocol", "test split"))

    def predict_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Probabilities (intensities for ordinal heads) by head, with where the clips are from."""
        logits = self(batch.frames, batch.frame_mask)
        outputs = {name: head.predict(logits[name].float()) for name, head in self.heads.items()}
        return {"outputs": outputs, "meta": batch.meta, "frame_mask": batch.frame_mask, "valid": batch.valid}

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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the chosen thresholds and the model's configuration, both as plain values."""
        checkpoint["thresholds"] = self.thresholds
        checkpoint["model_config"] = self.model.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the thresholds that were chosen on validation data."""
        self.thresholds = checkpoint.get("thresholds", {})
