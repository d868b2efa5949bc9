"""What every task shares: evaluation and prediction by head, draws that a resumed run repeats, masked losses."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor

from affectkit.data import ClipBatch, concat, derive_seed
from affectkit.losses import inverse_frequency_weights, positive_weights
from affectkit.metrics import Result, ThresholdRule
from affectkit.models import AffectModel, Head
from affectkit.tasks.data import protocol_of, task_data
from affectkit.tasks.divergence import DivergenceWatch
from affectkit.tasks.evaluation import Counted, Evaluation
from affectkit.tasks.supervision import find_unlearned, unlearned_warning

__all__ = [
    "AffectTask",
    "Averaging",
    "Balance",
    "Reduced",
    "balance_weights",
    "batches_of",
    "group_by_shape",
    "reduce_losses",
    "seen",
]

_log = logging.getLogger(__name__)

Balance = Literal["inverse_frequency", "positives"]
Averaging = Literal["global", "local"]


class AffectTask(LightningModule):
    """A model with heads, evaluated corpus by corpus; a subclass says how it is trained.

    Validation and test count what every head predicts on every corpus that annotates its target, log
    `stage/dataset/head/metric`, choose thresholds on the validation subjects and keep the test results. A subclass
    has the hyperparameter `threshold`, see `affectkit.metrics.ThresholdRule`.

    Args:
        model: What is trained.

    Attributes:
        model: Likewise.
        heads: Its heads by name.
        thresholds: By head, the thresholds of action units that were chosen on validation data.
        unlearned: By head, the labels for which there was no training label.
        results: By `dataset/head`, the results of the last test.
        evaluation: The metrics of the last validation and test.
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
    ) -> dict[str, Tensor]:
        """Logits by head; shapes as `affectkit.models.AffectModel.forward` gives them."""
        logits: dict[str, Tensor] = self.model(frames, frame_mask, landmarks, landmarks_mask)
        return logits

    def on_fit_start(self) -> None:
        """Look for heads and labels that the training data do not annotate.

        Raises:
            ConfigError: A head has no training label.
        """
        self.unlearned = find_unlearned(self.heads, task_data(self.trainer))
        self._warn_of_unlearned()

    def _warn_of_unlearned(self) -> None:
        if self.unlearned and self.trainer.is_global_zero:
            _log.warning(unlearned_warning(self.unlearned))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reseed what is drawn inside the model, so that a resumed run draws what it would have drawn.

        Now and then also look whether training has diverged; at every step where that makes no device wait.
        """
        torch.manual_seed(self.step_seed("step", batch_idx))
        waits = self.device.type != "cpu" or self.trainer.world_size > 1
        if not waits or self.global_step % (self.trainer.log_every_n_steps or 50) == 0:  # type: ignore[attr-defined]
            self.divergence.check(self.model.named_parameters(), always=False)

    def on_train_epoch_end(self) -> None:
        """Stop if training has diverged."""
        self.divergence.check(self.model.named_parameters(), always=True)

    def step_seed(self, purpose: str, batch_idx: int) -> int:
        """A seed that depends on the run's seed, the purpose, the epoch, the step and the process."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return derive_seed(seed, purpose, self.current_epoch, batch_idx, self.global_rank)

    def on_validation_start(self) -> None:
        """Stop if training has diverged, and make the metrics of the validation corpora."""
        self.divergence.check(self.model.named_parameters(), always=True)
        self.evaluation["val"] = self._new_evaluation(self.trainer.val_dataloaders)

    def on_test_start(self) -> None:
        """Make the metrics of the test corpora; repeat which labels were not learned."""
        self.divergence.check(self.model.named_parameters(), always=True)
        self._warn_of_unlearned()
        self.evaluation["test"] = self._new_evaluation(self.trainer.test_dataloaders)

    def _new_evaluation(self, loaders: Any) -> Evaluation:
        loaders = loaders if isinstance(loaders, list) else [loaders]
        return Evaluation(self.heads, [loader.dataset for loader in loaders], self.device)

    def on_validation_epoch_start(self) -> None:
        """Make the prototypes of the weights that are evaluated, which `EMA` has just exchanged."""
        self.model.refresh_prototypes()

    def validation_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of a validation corpus."""
        self.evaluation["val"].update(dataloader_idx, self(*seen(batch)), batch)

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of a test corpus."""
        self.evaluation["test"].update(dataloader_idx, self(*seen(batch)), batch)

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
            rule=rule, thresholds=self.thresholds, protocol=self._protocol
        )

    def counted(self) -> list[Counted]:
        """What the last test counted, for whoever joins several tests into one."""
        return self.evaluation["test"].counted()

    def _log_evaluation(self, stage: Literal["val", "test"]) -> None:
        values = {f"{stage}/{name}": value for name, value in self.evaluation[stage].values().items()}
        self.log_dict(values, sync_dist=True, batch_size=1, add_dataloader_idx=False)

    def _protocol(self, dataset: str) -> str:
        """What the numbers of a corpus were measured on; in a mixture that of its source."""
        return protocol_of(task_data(self.trainer), dataset)

    def predict_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Probabilities (intensities for ordinal heads) by head, with where the clips are from."""
        logits = self(*seen(batch))
        outputs = {name: head.predict(logits[name].float()) for name, head in self.heads.items()}
        return {"outputs": outputs, "meta": batch.meta, "frame_mask": batch.frame_mask, "valid": batch.valid}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the thresholds, the model's configuration, what it learned from and what not, as plain values."""
        checkpoint["thresholds"] = self.thresholds
        checkpoint["unlearned"] = self.unlearned
        checkpoint["model_config"] = self.model.config
        if corpora := task_data(self.trainer).trained_on:
            checkpoint["trained_on"] = {
                "corpora": {name: licence for name, (licence, _) in corpora.items()},
                "rendered": all(rendered for _, rendered in corpora.values()),
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the thresholds that were chosen on validation data, and which labels were not learned."""
        self.thresholds = checkpoint.get("thresholds", {})
        self.unlearned = checkpoint.get("unlearned", {})


@dataclass(frozen=True, slots=True)
class Reduced:
    """One loss of a step. All are scalars.

    Args:
        loss: With gradients, which add up over processes to those of the mean.
        mean: Over the labels of all processes, without gradients; 0 without any.
        count: The labels of all processes.
    """

    loss: Tensor
    mean: Tensor
    count: Tensor


def reduce_losses(
    terms: Mapping[str, tuple[Tensor, Tensor]], normalize: Averaging = "global"
) -> dict[str, Reduced]:
    """Mean losses over the annotated entries, unbiased when ranks hold different numbers of them.

    Gradients are averaged over ranks by DDP, so the sum of a rank is divided by the mean count of all ranks. With
    `local`, each rank divides by its own count, which gives labels of sparsely annotated ranks a larger weight.

    Args:
        terms: By name, the sum of the losses of the annotated entries on this rank, and their number; scalars.
        normalize: `global` (unbiased) or `local`. Either takes one tiny all-reduce for all terms.

    Returns:
        By name; losses are 0 with zero gradients where nothing is annotated.

    Example:
        >>> reduce_losses({"au": (torch.tensor(6.0), torch.tensor(3.0))})["au"].loss
        tensor(2.)
    """
    own = torch.stack([total for total, _ in terms.values()])
    labels = torch.stack([count for _, count in terms.values()]).detach().to(own.dtype)
    both, world = torch.stack([own.detach(), labels]), 1
    if dist.is_available() and dist.is_initialized():
        world = dist.get_world_size()
        dist.all_reduce(both)
    total, count = both
    divisor = count / world if normalize == "global" else labels
    losses = own / torch.where(divisor > 0, divisor, 1.0)
    means = total / count.clamp(min=1)
    rows = zip(losses.unbind(), means.unbind(), count.unbind(), strict=True)
    return {name: Reduced(*row) for name, row in zip(terms, rows, strict=True)}


def seen(batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a model sees of a batch: frames and landmarks, with their masks."""
    return batch.frames, batch.frame_mask, batch.landmarks, batch.landmarks_mask


def batches_of(batch: ClipBatch | Mapping[str, ClipBatch]) -> list[ClipBatch]:
    """The batches of all sources of one step, whether the datamodule holds one source or several."""
    return [batch] if isinstance(batch, ClipBatch) else list(batch.values())


def group_by_shape(batches: list[ClipBatch]) -> list[ClipBatch]:
    """Join the batches whose frames have the same shape, so that the backbone runs once for each shape."""
    groups: dict[Any, list[ClipBatch]] = {}
    for batch in batches:
        groups.setdefault(batch.frames.shape[1:], []).append(batch)
    return [group[0] if len(group) == 1 else concat(group) for group in groups.values()]


def balance_weights(rates: Tensor, balance: Balance) -> Tensor:
    """Loss weights of action units from their occurrence rates in the training labels.

    Units without a positive (or without a label) get the weight 1 and no part in the others' weights.

    Args:
        rates: float64 `[A]`, NaN for units that are not annotated.
        balance: `inverse_frequency` or `positives`, see `affectkit.losses`.

    Returns:
        float32 `[A]`.

    Example:
        >>> balance_weights(torch.tensor([0.5, 0.1, float("nan")]), "positives")
        tensor([1., 3., 1.])
    """
    seen = rates > 0
    found = rates[seen].tolist()
    weights = torch.ones(len(rates))
    if found:
        weights[seen] = torch.tensor(
            inverse_frequency_weights(found) if balance == "inverse_frequency" else positive_weights(found)
        )
    return weights
