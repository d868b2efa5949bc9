"""Training of multi-threshold metric learning."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader

from affectkit.data import ClipBatch, Target, derive_seed
from affectkit.losses import LossTerm
from affectkit.methods.mul_dml.head import MetricHead
from affectkit.methods.mul_dml.loss import Dual, Mining, MultiThresholdTriplet, mean_distance
from affectkit.models import Features
from affectkit.tasks.base import model_inputs
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.multitask import MultiTask

__all__ = ["MulDML"]

_log = logging.getLogger(__name__)
_COLLAPSED = 0.1  # mean squared distance; that of random slices is 2


class MulDML(MultiTask):
    r"""`MultiTask` with the triplet loss of `MultiThresholdTriplet` for its metric heads.

    The loss of a metric head is :math:`L_{cls} + \lambda L_{triplet}`: the loss of its linear layer (in `losses`) and
    the triplet loss of its slices, over the clips of all processes. Clips of a class are the positives of each other;
    for action units, clips in the same state of a unit, in the slices of that unit. Draw the classes equally often
    (option `balanced_classes` of the data). Other heads can be part of the same run.

    Before each validation, metric heads with the classifier `knn` or `prototype` store references: embeddings of
    training clips in the order in which the current epoch draws them. A slice whose embeddings are almost alike at the
    end of an epoch (mean squared distance below 0.1) has collapsed; its triplet loss is about its threshold, twice with
    the dual term. It is logged and, after the warm start, a warning names it.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal.
        triplet_weight: λ.
        thresholds: See `MultiThresholdTriplet`.
        tau_min: See `MultiThresholdTriplet`.
        tau_max: See `MultiThresholdTriplet`.
        dual: See `MultiThresholdTriplet`.
        mining: See `MultiThresholdTriplet`.
        identity_aware: See `MultiThresholdTriplet`.
        softness: See `MultiThresholdTriplet`.
        warm_start: Share of the steps, at the start, with the mining `all`, against collapse.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: As for `MultiTask`, `MultiThresholdTriplet` and `MetricHead`.

    References:
        W. Yang et al., "Multi-threshold deep metric learning for facial expression recognition", Pattern Recognition,
        2024, arXiv 2406.16434. Only its idea was available to us; see the documentation for what is our own.
    """

    def __init__(
        self,
        *args: Any,
        triplet_weight: float = 1.0,
        thresholds: list[float] | None = None,
        tau_min: float = 0.1,
        tau_max: float | None = None,
        dual: Dual = "shared",
        mining: Mining = "semi_hard",
        identity_aware: bool = False,
        softness: float = 0.0,
        warm_start: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.metric = {name: head for name, head in self.heads.items() if isinstance(head, MetricHead)}
        self.triplets = nn.ModuleDict(
            {
                name: MultiThresholdTriplet(
                    head.slices,
                    head.outcomes,
                    thresholds=thresholds,
                    tau_min=tau_min,
                    tau_max=tau_max,
                    dual=dual,
                    mining=mining,
                    identity_aware=identity_aware,
                    softness=softness,
                )
                for name, head in self.metric.items()
            }
        )
        self.loss_weights |= {f"{name}/triplet": triplet_weight for name in self.metric}
        self.warm_start = warm_start
        self.spread: dict[str, Tensor] = {}
        self._warned: set[str] = set()

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; a metric head also has the term triplet."""
        if name not in self.metric:
            return super().terms(name, features, prototypes, batch)
        embeddings = self.metric[name].embed(features)
        logits = self.metric[name].classify(embeddings)
        return {
            name: self.head_loss(name, logits, batch),
            f"{name}/triplet": self._triplet(name, embeddings, batch),
        }

    def _triplet(self, name: str, embeddings: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Triplet loss; zero, but with a gradient, if the batch does not annotate the target."""
        head = self.metric[name]
        embeddings, target = _aligned(head, embeddings, batch)
        labels = target.value if target.indexed else (target.value >= 0.5).long()
        labels, mask = (_by_group(part, target) for part in (labels, target.mask))
        people = _people(batch, len(labels) // len(batch)).to(labels.device)
        local = None
        if self.trainer.world_size > 1:  # every process compares its clips with those of all processes
            local = slice(self.global_rank * len(labels), (self.global_rank + 1) * len(labels))
            embeddings = self.all_gather(embeddings, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]
            labels, mask, people = (
                self.all_gather(part).flatten(0, 1)  # type: ignore[union-attr]
                for part in (labels, mask, people)
            )
        self.spread[name] = mean_distance(embeddings.detach(), mask)
        loss = cast("MultiThresholdTriplet", self.triplets[name])
        term: tuple[Tensor, Tensor] = loss(
            embeddings, labels, mask, people, mining="all" if self._warms_up else None, local=local
        )
        return term

    @property
    def _warms_up(self) -> bool:
        """Whether this step is part of the warm start."""
        return self.global_step < self.warm_start * self.trainer.estimated_stepping_batches

    def on_train_epoch_end(self) -> None:
        """Log the collapsed slices of the last step, and warn about them once."""
        super().on_train_epoch_end()
        for name, spread in self.spread.items():
            collapsed = spread < _COLLAPSED
            self.log(f"train/{name}/collapsed_slices", collapsed.sum().float(), sync_dist=True)
            if collapsed.any() and name not in self._warned and not self._warms_up:
                self._warned.add(name)
                if self.trainer.is_global_zero:
                    _log.warning(self._collapse_warning(name, collapsed))

    def _collapse_warning(self, name: str, collapsed: Tensor) -> str:
        taus = cast("MultiThresholdTriplet", self.triplets[name]).thresholds.tolist()
        found = [f"τ = {tau:.2f}" for tau, dead in zip(taus, collapsed.any(0).tolist(), strict=True) if dead]
        return (
            f"The head {name!r} has {int(collapsed.sum())} collapsed of {collapsed.numel()} slices "
            f"({', '.join(found)}): they map all faces to almost one point. Try another `mining`, lower `lr` or "
            "`tau_max`, or raise `warm_start`."
        )

    def on_validation_epoch_start(self) -> None:
        """Also store the references of the metric heads, with the weights that are validated."""
        super().on_validation_epoch_start()
        if self.trainer.train_dataloader is not None and not self.trainer.sanity_checking:
            loaders = self.trainer.train_dataloader
            self.store_references(loaders.values() if isinstance(loaders, dict) else [loaders])

    @torch.no_grad()
    def store_references(self, loaders: Iterable[DataLoader[Any]]) -> None:
        """Store the references of metric heads that classify by them; the model must be in evaluation mode.

        Args:
            loaders: Training loaders; their samplers are drawn from anew, in this process.
        """
        wanted = {name: head for name, head in self.metric.items() if head.classifier != "linear"}
        found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in wanted}
        for batch in (batch for loader in loaders for batch in _batches(loader)):
            missing = {
                name: head
                for name, head in wanted.items()
                if sum(len(part) for part, _, _ in found[name]) < len(head.references)
            }
            if not missing:
                break
            given = batch.to(self.device)
            features = self.model.features(**model_inputs(given))
            for name, head in missing.items():
                if head.target in given.targets:
                    found[name].append(self._references_of(head, features, given))
        for name, parts in found.items():
            if parts:
                wanted[name].set_references(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _references_of(
        self, head: MetricHead, features: Features, batch: ClipBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings, values and mask of a batch, of all processes in the order of a single one."""
        embeddings, target = _aligned(head, head.embed(features), batch)
        soft = target.as_soft()
        mask = soft.mask.unsqueeze(-1).expand_as(soft.value) if soft.indexed else soft.mask
        parts = (embeddings, soft.value, mask)
        if self.trainer.world_size > 1:
            parts = tuple(  # type: ignore[assignment]
                rearrange(self.all_gather(part), "w (b t) ... -> (b w t) ...", b=len(batch)) for part in parts
            )
        return parts


def _aligned(head: MetricHead, embeddings: Tensor, batch: ClipBatch) -> tuple[Tensor, Target]:
    """Embeddings [B, G, N, D] and their labels [B, …]; frames count as clips."""
    if head.target not in batch.targets:
        rows = embeddings.shape[:-3]
        lead = rows if head.space.indexed else (*rows, len(head.space))
        blank = torch.zeros(lead, device=embeddings.device)
        value = blank.long() if head.space.indexed else blank
        target = Target(value, blank.bool(), head.space.name)
    else:
        target = batch.targets[head.target].project(head.space.name)
        embeddings, target = align_levels(embeddings, target, batch.frame_mask, axes=3)
    if target.leading == 2:
        return embeddings.flatten(0, 1), target.map(lambda part: part.flatten(0, 1))
    return embeddings, target


def _by_group(part: Tensor, target: Target) -> Tensor:
    """Labels or mask [B, G]; classes form a single group."""
    return part.unsqueeze(-1) if target.indexed else part


def _people(batch: ClipBatch, repeats: int) -> Tensor:
    """Number of the person in each clip, int64 [B repeats], the same in all processes and unique over corpora."""
    corpora = batch.meta.get("dataset", [""] * len(batch))
    numbers = [
        derive_seed(corpus, subject) for corpus, subject in zip(corpora, batch.subject.tolist(), strict=True)
    ]
    return torch.tensor(numbers).repeat_interleave(repeats)


def _batches(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader of the same batches that works in this process and does not disturb an ongoing iteration."""
    return DataLoader(
        loader.dataset, batch_size=loader.batch_size, sampler=loader.sampler, collate_fn=loader.collate_fn
    )
