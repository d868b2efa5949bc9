"""Shared base of all tasks: evaluation and prediction per head, reproducible randomness, masked losses."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor

from affectkit.data import ClipBatch, concat, derive_seed
from affectkit.losses import BatchStatistic, Loss, LossTerm, inverse_frequency_weights, positive_weights
from affectkit.metrics import Result, ThresholdRule
from affectkit.models import AffectModel, Head
from affectkit.tasks.data import agree_on_input, find_unlearned, protocol_of, task_data, unlearned_warning
from affectkit.tasks.divergence import DivergenceWatch
from affectkit.tasks.evaluation import Evaluation, MetricStates, align_levels
from affectkit.tasks.states import plain_states

__all__ = [
    "AffectTask",
    "Averaging",
    "Balance",
    "Reduced",
    "balance_weights",
    "group_by_shape",
    "head_loss",
    "model_inputs",
    "reduce_losses",
]

_log = logging.getLogger(__name__)

Balance = Literal["inverse_frequency", "positives"]
Averaging = Literal["global", "local"]


class AffectTask(LightningModule):
    """Evaluate a multi-head model per dataset. Subclasses implement the training step.

    Validation and test evaluate every head on every corpus that annotates its target, log `stage/dataset/head/metric`,
    choose thresholds on the validation subjects and keep the test results. A subclass has the hyperparameter
    `threshold`, see `affectkit.metrics.ThresholdRule`.

    Args:
        model: The model to train.

    Attributes:
        heads: Heads of the model by name.
        thresholds: Thresholds of action units chosen on validation data, by head.
        unlearned: Labels without any training label, by head.
        results: Results of the last test, by `dataset/head`.
        evaluation: Metrics of the last validation and test.
    """

    def __init__(self, model: AffectModel) -> None:
        super().__init__()
        self.model = model
        self.heads: dict[str, Head] = {name: model.head(name) for name in model.heads}
        self.thresholds: dict[str, dict[str, float]] = {}
        self.unlearned: dict[str, list[str]] = {}
        self.divergence = DivergenceWatch()
        self.results: dict[str, list[Result]] = {}
        self.evaluation: dict[Literal["val", "test"], Evaluation] = {}

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor | None = None,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
        signals_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute logits by head, see `affectkit.models.AffectModel.forward`."""
        logits: dict[str, Tensor] = self.model(
            frames, frame_mask, landmarks, landmarks_mask, signals, signals_mask
        )
        return logits

    def on_fit_start(self) -> None:
        """Adopt the format of the data as the model's input, and check that they annotate every head.

        Raises:
            ConfigError: A head has no training label, or the recipe states another input than the data make.
        """
        agree_on_input(self.model, task_data(self.trainer).input_format)
        self.unlearned = find_unlearned(self.heads, task_data(self.trainer))
        self._warn_about_unlearned()

    def _warn_about_unlearned(self) -> None:
        if self.unlearned and self.trainer.is_global_zero:
            _log.warning(unlearned_warning(self.unlearned))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reseed the generator, so that a resumed run repeats its random numbers, and check for divergence."""
        torch.manual_seed(self.step_seed("step", batch_idx))
        waits = self.device.type != "cpu" or self.trainer.world_size > 1
        if not waits or self.global_step % (self.trainer.log_every_n_steps or 50) == 0:  # type: ignore[attr-defined]
            self.divergence.check(self.model.named_parameters(), always=False)

    def on_train_epoch_end(self) -> None:
        """Stop if training has diverged."""
        self.divergence.check(self.model.named_parameters(), always=True)

    def step_seed(self, purpose: str, batch_idx: int, *, shared: bool = False) -> int:
        """Derive a seed from the run's seed, the purpose, the epoch, the step and, unless `shared`, the process."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        rank = 0 if shared else self.global_rank
        return derive_seed(seed, purpose, self.current_epoch, batch_idx, rank)

    def gather_clips(self, *tensors: Tensor) -> list[Tensor]:
        """Gather tensors [B, ...] of the clips of all processes to [W B, ...], in the order of the processes."""
        if self.trainer.world_size == 1:
            return list(tensors)
        gathered = [self.all_gather(one, sync_grads=one.requires_grad) for one in tensors]
        whole = [cast("Tensor", one).flatten(0, 1) for one in gathered]
        for one in whole:
            if one.requires_grad:
                # gloo scatters gradients in the order of memory
                one.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        return whole

    def own_clips(self, count: int) -> slice:
        """Return the place of the `count` clips of this process among those of `gather_clips`."""
        return slice(self.global_rank * count, (self.global_rank + 1) * count)

    def on_validation_start(self) -> None:
        """Stop if training has diverged, and create the validation metrics."""
        self.divergence.check(self.model.named_parameters(), always=True)
        self.evaluation["val"] = self._new_evaluation(self.trainer.val_dataloaders)

    def on_test_start(self) -> None:
        """Create the test metrics, and repeat the warning about labels that were not learned."""
        self.divergence.check(self.model.named_parameters(), always=True)
        self._warn_about_unlearned()
        self.evaluation["test"] = self._new_evaluation(self.trainer.test_dataloaders)

    def _new_evaluation(self, loaders: Any) -> Evaluation:
        loaders = loaders if isinstance(loaders, list) else [loaders]
        return Evaluation(self.heads, [loader.dataset for loader in loaders], self.device)

    def on_validation_epoch_start(self) -> None:
        """Refresh the prototypes, because `EMA` has just exchanged the weights."""
        self.model.refresh_prototypes()

    def validation_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the metrics with a batch of a validation corpus."""
        self.evaluation["val"].update(dataloader_idx, self(**model_inputs(batch)), batch)

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Update the metrics with a batch of a test corpus, and return its predictions, see `predict_step`."""
        logits = self(**model_inputs(batch))
        self.evaluate(dataloader_idx, logits, batch)
        return self._predictions(logits, batch)

    def evaluate(self, loader: int, logits: dict[str, Tensor], batch: ClipBatch) -> None:
        """Update the test metrics with the logits of a batch of the loader with this index."""
        self.evaluation["test"].update(loader, logits, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics and choose the thresholds of this epoch's checkpoint."""
        self._log_evaluation("val")
        self.thresholds |= self.evaluation["val"].best_thresholds()

    def on_test_epoch_end(self) -> None:
        """Log the test metrics and keep the results with intervals and baselines."""
        self._log_evaluation("test")
        rule: ThresholdRule = self.hparams["threshold"]
        self.results = self.evaluation["test"].results(
            rule=rule, thresholds=self.thresholds, protocol=self._protocol
        )

    def metric_states(self) -> list[MetricStates]:
        """Return the metric states of the last test, for merging folds."""
        return self.evaluation["test"].metric_states()

    def test_states(self) -> dict[str, Any]:
        """Return the last test as plain values, for merging folds and comparing runs; all processes must call it.

        Returns:
            `thresholds` chosen on validation data by head, `protocols` by corpus, and `counts`, see
            `affectkit.tasks.states.plain_states`.
        """
        datasets = self.evaluation["test"].datasets
        return {
            "thresholds": self.thresholds,
            "protocols": {data.name: protocol_of(task_data(self.trainer), data.name) for data in datasets},
            "counts": plain_states(self.metric_states(), datasets),
        }

    def _log_evaluation(self, stage: Literal["val", "test"]) -> None:
        values = {f"{stage}/{name}": value for name, value in self.evaluation[stage].values().items()}
        self.log_dict(values, sync_dist=True, batch_size=1, add_dataloader_idx=False)

    def _protocol(self, dataset: str) -> str:
        """Protocol of a corpus; in a mixture that of its source."""
        return protocol_of(task_data(self.trainer), dataset)

    def predict_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Predict probabilities (intensities for ordinal heads) by head, with the clips' metadata."""
        return self._predictions(self(**model_inputs(batch)), batch)

    def _predictions(self, logits: dict[str, Tensor], batch: ClipBatch) -> dict[str, Any]:
        outputs = {name: head.predict(logits[name].float()) for name, head in self.heads.items()}
        return {"outputs": outputs, "meta": batch.meta, "frame_mask": batch.frame_mask, "valid": batch.valid}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save thresholds, model configuration, training corpora and unlearned labels as plain values."""
        checkpoint["thresholds"] = self.thresholds
        checkpoint["unlearned"] = self.unlearned
        checkpoint["model_config"] = self.model.config
        if corpora := task_data(self.trainer).trained_on:
            checkpoint["trained_on"] = {
                "corpora": {name: licence for name, (licence, _) in corpora.items()},
                "rendered": all(rendered for _, rendered in corpora.values()),
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore thresholds and unlearned labels."""
        self.thresholds = checkpoint.get("thresholds", {})
        self.unlearned = checkpoint.get("unlearned", {})


@dataclass(frozen=True, slots=True)
class Reduced:
    """One reduced loss of a step; all values are scalars.

    Args:
        loss: Loss whose gradients, averaged over processes by DDP, equal those of one process with all clips.
        mean: Mean over all processes without gradients; 0 without any label.
        count: Number of annotated entries of all processes.
    """

    loss: Tensor
    mean: Tensor
    count: Tensor


def reduce_losses(
    terms: Mapping[str, Sequence[LossTerm]], normalize: Averaging = "global"
) -> dict[str, Reduced]:
    """Reduce the losses of a step over groups of clips and processes.

    DDP averages gradients over processes. The sum of a process is therefore divided by the mean count of all
    processes, and a batch statistic is summed over processes with the gradient of the own part multiplied by their
    number. Both are unbiased if processes hold different numbers of labels. One all-reduce serves all sums and counts,
    and one each batch statistic.

    Args:
        terms: Loss terms of each group of clips, by name in the same order on every process.
        normalize: `global` (unbiased), or `local`: each process divides by its own count, which gives labels of
            sparsely annotated processes a larger weight.

    Returns:
        By name; losses are 0 with zero gradients if nothing is annotated.

    Example:
        >>> parts = [(torch.tensor(4.0), torch.tensor(2)), (torch.tensor(2.0), torch.tensor(1))]
        >>> reduce_losses({"au": parts})["au"].loss
        tensor(2.)
    """
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    reduced: dict[str, Reduced] = {}
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, parts in terms.items():
        statistics = [part for part in parts if isinstance(part, BatchStatistic)]
        if statistics:
            reduced[name] = _reduce_statistics(statistics, world, normalize)
        else:
            pairs[name] = [part for part in parts if not isinstance(part, BatchStatistic)]
    if pairs:
        own, counts = (
            torch.stack([torch.stack(column).sum() for column in columns])
            for columns in zip(*(zip(*parts, strict=True) for parts in pairs.values()), strict=True)
        )
        labels = counts.detach().to(own.dtype)
        both = torch.stack([own.detach(), labels])
        if world > 1:
            dist.all_reduce(both)
        total, everywhere = both
        divisor = everywhere / world if normalize == "global" else labels
        losses = own / torch.where(divisor > 0, divisor, 1.0)
        means = total / everywhere.clamp(min=1)
        rows = zip(losses.unbind(), means.unbind(), everywhere.unbind(), strict=True)
        reduced |= {name: Reduced(*row) for name, row in zip(pairs, rows, strict=True)}
    return {name: reduced[name] for name in terms}


def _reduce_statistics(parts: Sequence[BatchStatistic], world: int, normalize: Averaging) -> Reduced:
    own = torch.stack([part.sums for part in parts]).sum(0)
    count = torch.stack([part.count for part in parts]).sum()
    total = torch.cat([own.detach().flatten(), count.to(own.dtype).reshape(1)])
    if world > 1:
        dist.all_reduce(total)
    everywhere = total[:-1].reshape(own.shape)
    # `own - own.detach()` is 0 with the gradient of `own`.
    whole = everywhere + world * (own - own.detach()) if normalize == "global" else own
    finish = parts[0].finish
    return Reduced(finish(whole).float(), finish(everywhere).detach().float(), total[-1])


def head_loss(
    head: Head, loss: Loss, logits: Tensor, batch: ClipBatch, weight: Tensor | None = None
) -> LossTerm:
    """Compute the loss term of a head; without labels in the batch its logits still take part in the graph.

    Args:
        head: The head.
        loss: Its loss; a `MaskedLoss` if there are weights.
        logits: Output of the head.
        batch: Input of the logits.
        weight: Factors of the clips [B]; 1 by default.
    """
    if head.target not in batch.targets:
        return loss.nothing(logits)
    target = batch.targets[head.target].project(head.space.name)
    logits, target = align_levels(logits, target, batch.frame_mask, axes=head.logit_axes)
    weights = () if weight is None else (weight,)
    term: LossTerm = loss(logits, target.value, target.mask, *weights)
    return term


def model_inputs(batch: ClipBatch) -> dict[str, Any]:
    """Arguments of `AffectModel.features`: frames, landmarks, signals and their masks."""
    names = ("frames", "frame_mask", "landmarks", "landmarks_mask", "signals", "signals_mask")
    return {name: getattr(batch, name) for name in names}


def group_by_shape(batches: list[ClipBatch]) -> list[ClipBatch]:
    """Concatenate batches with frames of the same shape, so that the backbone runs once per shape."""
    groups: dict[Any, list[ClipBatch]] = {}
    for batch in batches:
        groups.setdefault(batch.frames.shape[1:], []).append(batch)
    return [group[0] if len(group) == 1 else concat(group) for group in groups.values()]


def balance_weights(rates: Tensor, balance: Balance) -> Tensor:
    """Compute loss weights float32 `[A]` of action units from their occurrence rates in the training labels.

    Units without a positive or without a label get the weight 1 and do not affect the other weights.

    Args:
        rates: float64 `[A]`, NaN for units that are not annotated.
        balance: `inverse_frequency` or `positives`, see `affectkit.losses`.

    Example:
        >>> balance_weights(torch.tensor([0.5, 0.1, float("nan")]), "positives")
        tensor([1., 3., 1.])
    """
    occurs = rates > 0
    weights = torch.ones(len(rates))
    if occurs.any():
        weigh = inverse_frequency_weights if balance == "inverse_frequency" else positive_weights
        weights[occurs] = torch.tensor(weigh(rates[occurs].tolist()))
    return weights
