"""Training with labels that a rater doubts."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data import ClipBatch, ClipLabels, Target, derive_seed
from affectkit.errors import ConfigError
from affectkit.losses import LossTerm, MaskedLoss
from affectkit.methods.engagement.parts import RatedParts
from affectkit.methods.engagement.ratings import read_labels, read_ratings
from affectkit.methods.engagement.recombine import recombine
from affectkit.methods.engagement.reliability import (
    Curriculum,
    Reliability,
    assess,
    cross_fit,
    keep_if_skilled,
    rate_others,
)
from affectkit.tasks.base import head_loss
from affectkit.tasks.data import task_data
from affectkit.tasks.evaluation import MetricStates
from affectkit.tasks.multitask import MultiTask

__all__ = ["NoisyLabels"]

Split = Literal["rated", "random", "oracle"]

_log = logging.getLogger(__name__)


class NoisyLabels(MultiTask):
    r"""`MultiTask` that trusts labels as far as a rater agrees with them.

    A file has the answers of a rater (a vision-language model or people) about the training clips. A model of the
    answers, fitted on other people's clips, gives a distribution over the labels of each clip, and with it the
    reliability ρ of its given label; see `cross_fit`, `keep_if_skilled` and `assess`. Training begins with accepted
    labels, rejected ones follow by falling reliability (`Curriculum`), and labels are refined by the rater's
    distribution. The loss of a head is :math:`\sum_i w_i L_i / \sum_i w_i`. Evaluation uses the given labels of all
    clips.

    Reliabilities are written to `reliability_HEAD.csv` in the folder of the run. If the file has answers about test
    clips, too, the test also reports the results of those with accepted and with rejected labels, by a model of answers
    that was fitted on all training clips.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal.
        ratings: By head name, its file of answers, see `read_ratings`. Heads of classes and levels, labelled per clip.
        soft: Use refined labels; otherwise the given ones.
        curriculum: Arguments of `Curriculum`.
        accept: Arguments of `assess`.
        folds: Number of groups of people for cross-fitting.
        split: For comparison: "random" deals the reliabilities to random clips and refines no label; "oracle" accepts
            exactly the right labels, known from `truth`.
        truth: By head name, a table with the columns `clip` and `label`; for the split "oracle".
        recombine: By head name, the number of segments of artificial clips, see `recombine`; for models of signals.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: A head is unknown, or does not fit, or a file is missing for the split.

    References:
        A. Vedernikov et al., "Vision large language models are good noise handlers in engagement analysis", arXiv
        2511.14749. Its text was not available to us: the reliability, the schedule and all numbers are ours.
    """

    def __init__(
        self,
        *args: Any,
        ratings: dict[str, str] | None = None,
        soft: bool = True,
        curriculum: dict[str, Any] | None = None,
        accept: dict[str, float] | None = None,
        folds: int = 5,
        split: Split = "rated",
        truth: dict[str, str] | None = None,
        recombine: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.ratings, self.truth, self.segments = (
            dict(ratings or {}),
            dict(truth or {}),
            dict(recombine or {}),
        )
        self.soft, self.folds, self.split = soft, folds, split
        self.curriculum, self.accept = Curriculum(**(curriculum or {})), dict(accept or {})
        for name in (*self.ratings, *self.segments):
            if name not in self.heads:
                raise ConfigError(f"There is no head {name!r}.", remedy=f"Heads are {sorted(self.heads)}.")
            loss = self.losses[name]
            if not (self.heads[name].space.indexed and isinstance(loss, MaskedLoss) and loss.soft):
                raise ConfigError(
                    f"The head {name!r} cannot have doubtful labels.",
                    remedy="Use a head of classes or levels, with a loss for distributions.",
                )
        if split not in ("rated", "random", "oracle"):
            raise ConfigError(f"split={split!r} is unknown.", remedy="Use rated, random or oracle.")
        if split == "oracle" and self.ratings.keys() - self.truth.keys():
            raise ConfigError("The split oracle needs the true labels.", remedy="Name the files in `truth`.")
        self.reliability: dict[str, Reliability] = {}
        self.others: dict[str, dict[str, list[float]]] = {}  # distributions of other people's clips
        self.parts: dict[str, RatedParts] = {}
        self._places: dict[str, dict[tuple[str, str], int]] = {}
        self._weights: dict[str, Tensor] = {}

    def on_fit_start(self) -> None:
        """Also rate the training labels.

        Raises:
            ConfigError: The training data do not state their labels, or have one person only.
        """
        super().on_fit_start()
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)  # asked by all processes
        for name, path in self.ratings.items():
            head = self.heads[name]
            labels = task_data(self.trainer).clip_labels(head.target, head.space.name)
            if labels is None:
                raise ConfigError(
                    f"No training corpus annotates {head.target!r}, which {path} rates.",
                    remedy="Use a datamodule of affectkit, and compare the head's target with its label spaces.",
                )
            found = self._assess(name, labels)
            self.reliability[name] = found
            self._places[name] = {clip: place for place, clip in enumerate(labels.clips)}
            if self.trainer.is_global_zero:
                folder.mkdir(parents=True, exist_ok=True)
                found.write(folder / f"reliability_{name}.csv", labels, head.labels)

    def _assess(self, name: str, labels: ClipLabels) -> Reliability:
        space, names = self.heads[name].space, [clip for _, clip in labels.clips]
        ordered = space.ordered
        if self.split == "oracle":
            truth = read_labels(self.truth[name], space.labels)
            right = torch.tensor([truth.get(clip, -1) for clip in names])
            right = torch.where(right < 0, labels.value, right)
            rated = F.one_hot(right.clamp(min=0), len(space)).double()
            found = assess(labels.value, rated, ordered=ordered, **self.accept)
            agrees = (right == labels.value) & (labels.value >= 0)
            return replace(found, accepted=agrees, value=agrees.double())
        ratings = read_ratings(self.ratings[name], len(space)).select(names)
        rated = cross_fit(ratings, labels.value, labels.subjects, ordered=ordered, folds=self.folds)
        kept = keep_if_skilled(rated, labels.value)
        if kept is not rated:
            _log.warning("%s says nothing about %r: all labels are accepted.", self.ratings[name], name)
        else:
            self.others[name] = self._rate_others(name, labels)
        found = assess(labels.value, kept, ordered=ordered, **self.accept)
        if self.split == "rated":
            return found
        known = (labels.value >= 0).nonzero()[:, 0]
        seed = derive_seed(int(os.environ.get("PL_GLOBAL_SEED", "0")), "random split")
        dealt = torch.arange(len(names))
        dealt[known] = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))]
        own = F.one_hot(labels.value.clamp(min=0), len(space)).double() * (labels.value >= 0)[:, None]
        plain = assess(labels.value, own, ordered=ordered)
        return replace(found, value=found.value[dealt], accepted=found.accepted[dealt], soft=plain.soft)

    def _rate_others(self, name: str, labels: ClipLabels) -> dict[str, list[float]]:
        """The rater's distributions for clips of the file that are not in training, by clip."""
        ratings = read_ratings(self.ratings[name], len(self.heads[name].space))
        trained = [clip for _, clip in labels.clips]
        others = ratings.select(sorted(set(ratings.clips) - set(trained)))
        ordered = self.heads[name].space.ordered
        rated = rate_others(ratings.select(trained), labels.value, others, ordered=ordered)
        known = rated.isfinite().all(1).tolist()
        return {
            clip: row
            for clip, row, is_known in zip(others.clips, rated.tolist(), known, strict=True)
            if is_known
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also save the rater's distributions of other people's clips."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["rated"] = self.others

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also restore the rater's distributions."""
        super().on_load_checkpoint(checkpoint)
        self.others = checkpoint.get("rated", {})

    def on_test_start(self) -> None:
        """Create the metrics of the test corpora, including those of accepted and rejected labels."""
        super().on_test_start()
        datasets = self.evaluation["test"].datasets
        self.parts = {
            name: RatedParts(self.heads[name], rated, self.accept, datasets, self.device)
            for name, rated in self.others.items()
        }

    def evaluate(self, loader: int, logits: dict[str, Tensor], batch: ClipBatch) -> None:
        """See `AffectTask`; accepted and rejected labels are evaluated apart, too."""
        super().evaluate(loader, logits, batch)
        for name, parts in self.parts.items():
            parts.update(loader, logits[name], batch)

    def metric_states(self) -> list[MetricStates]:
        """See `AffectTask`; accepted and rejected labels come last."""
        return [
            *super().metric_states(),
            *(one for name, parts in self.parts.items() for one in parts.metric_states(name)),
        ]

    def on_test_epoch_end(self) -> None:
        """Log and store the results, including those of accepted and rejected labels."""
        super().on_test_epoch_end()
        for name, parts in self.parts.items():
            self.results |= parts.results(name, protocol=self._protocol)

    def on_train_epoch_start(self) -> None:
        """Set the weights of the clips for this epoch."""
        epochs = int(self.trainer.max_epochs or 1)
        self._weights = {
            name: self.curriculum.weights(found, self.current_epoch, epochs)
            for name, found in self.reliability.items()
        }

    def prepare(self, batch: ClipBatch, seed: int) -> ClipBatch:
        """See `MultiTask`: refine labels, and add artificial clips. Weights are kept in the batch's `meta`."""
        for name in self.ratings:
            batch = self._refine(name, batch)
        for name, segments in self.segments.items():
            target = self.heads[name].target
            if target not in batch.targets:
                continue
            weight = self._weight(name, batch)
            weight = torch.ones(len(batch), device=self.device) if weight is None else weight
            generator = torch.Generator().manual_seed(derive_seed(seed, "recombine", name))
            batch, weight = recombine(batch, target, weight, segments=segments, generator=generator)
            batch = replace(batch, meta={**batch.meta, f"weight/{name}": weight.tolist()})
        return batch

    def _refine(self, name: str, batch: ClipBatch) -> ClipBatch:
        """Replace the given labels of rated clips, and note the weights of this epoch."""
        head, places = self.heads[name], self._places[name]
        if head.target not in batch.targets:
            return batch
        keys = zip(batch.meta["dataset"], batch.meta["clip"], strict=True)
        rows = torch.tensor([places[key] for key in keys])
        meta = {**batch.meta, f"weight/{name}": self._weights[name][rows].tolist()}
        target = batch.targets[head.target].project(head.space.name)
        if self.soft and target.leading == 1:
            found = self.reliability[name]
            value = found.soft[rows].to(self.device, torch.float32)
            value = value.masked_fill(~target.mask[:, None], 0.0)
            target = Target(value, target.mask, target.space)
        return replace(batch, meta=meta, targets={**batch.targets, head.target: target})

    def _weight(self, name: str, batch: ClipBatch) -> Tensor | None:
        """Weights of the clips [B]; None if all count equally."""
        weight = batch.meta.get(f"weight/{name}")
        return None if weight is None else torch.tensor(weight, device=self.device)

    def head_loss(self, name: str, logits: Tensor, batch: ClipBatch) -> LossTerm:
        """See `MultiTask`; clips are weighted by their reliability."""
        loss = cast("MaskedLoss", self.losses[name])
        return head_loss(self.heads[name], loss, logits, batch, self._weight(name, batch))
