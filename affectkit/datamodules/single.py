"""One corpus behind Lightning's four loaders, with draws that depend only on (seed, epoch)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from affectkit.data import Draw, EvalSampler, ReplaySampler, check_disjoint, collate, draw_weights
from affectkit.datamodules.statistics import clip_positives, count_labels, count_pairs, find_annotated
from affectkit.datasets import AffectDataset
from affectkit.errors import ConfigError

__all__ = ["SingleDataModule", "Split"]

Split = Literal["train", "val", "test"]
Loader = DataLoader[Draw]


class SingleDataModule(LightningDataModule, ABC):
    """Base of the datamodules of one corpus: a subclass says only how to build the dataset of a split.

    Training draws come from a `ReplaySampler`: the global batches are the same for any number of processes, and a
    resumed run continues with the draws that the interrupted one would have made. Evaluation covers every clip
    exactly once, whatever the number of processes (padding carries `valid=False`).

    Args:
        batch_size: Training clips a process and step.
        eval_batch_size: Clips a step in evaluation; `batch_size` by default.
        num_workers: Loader processes; 0 loads in the main process.
        steps_per_epoch: Training steps an epoch; by default as many as one pass over the clips holds.
        rare_share: Draw clips with rare action units more often, so that a unit shown in fewer than 10 % of the
            training clips has this share of the draws; see `affectkit.data.draw_weights`. By default every clip
            is drawn equally often.
        rare_units: The units that `rare_share` is about, such as those that a head learns; all that the corpus
            annotates by default.
        predict_split: What `predict` runs on.
        seed: Seed of every draw; by default the run's (`seed_everything`).
    """

    def __init__(
        self,
        *,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        steps_per_epoch: int | None = None,
        rare_share: float | None = None,
        rare_units: str | None = None,
        predict_split: Split = "test",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.num_workers = num_workers
        self.steps_per_epoch = steps_per_epoch
        self.rare_share = rare_share
        self.rare_units = rare_units
        self.predict_split: Split = predict_split
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.datasets: dict[Split, AffectDataset] = {}

    @property
    def protocol(self) -> str:
        """One line for whoever reads a number: which subjects it was measured on."""
        names = {dataset.name for dataset in self.datasets.values()}
        subjects = all(dataset.has_subjects for dataset in self.datasets.values())
        rule = "subjects disjoint between train, validation and test" if subjects else "subjects unknown"
        return f"{', '.join(sorted(names))}: test split, {rule}"

    @property
    def trained_on(self) -> dict[str, tuple[str, bool]]:
        """Name of the corpus of the training clips, with its licence and whether its faces are rendered."""
        dataset = self.datasets["train"]
        return {type(dataset).name: (dataset.licence, dataset.rendered)}

    @property
    def annotations(self) -> dict[str, dict[str, str]]:
        """By name of the corpus of the training clips, the label space of each of its targets."""
        dataset = self.datasets["train"]
        return {dataset.name: dict(dataset.targets)}

    @property
    def unread(self) -> tuple[str, ...]:
        """What looks like annotation of the training clips and is not read."""
        return self.datasets["train"].unread

    @abstractmethod
    def make_dataset(self, split: Split) -> AffectDataset:
        """Build the dataset of one split, with the transforms that belong to it."""

    def setup(self, stage: str) -> None:
        """Build the datasets of a stage.

        Raises:
            SubjectLeakError: A subject stands in two of the splits.
        """
        needed: dict[str, tuple[Split, ...]] = {
            "fit": ("train", "val"),
            "validate": ("val",),
            "test": ("test",),
            "predict": (self.predict_split,),
        }
        for split in needed[stage]:
            if split not in self.datasets:
                self.datasets[split] = self.make_dataset(split)
        check_disjoint({split: data.subjects for split, data in self.datasets.items() if data.has_subjects})

    def train_dataloader(self) -> Loader:
        """Loader of `steps_per_epoch` batches drawn by a `ReplaySampler`."""
        dataset = self.datasets["train"]
        if len(dataset) == 0:
            raise ConfigError(
                f"{dataset.name} has no training clips.", remedy="Check its split and its root."
            )
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        steps = self.steps_per_epoch or max(1, len(dataset) // (self.batch_size * world))
        weights = None
        if self.rare_share is not None:
            shown = clip_positives(dataset, dataset.names.get("au", "au"), self.rare_units)
            weights = draw_weights(shown, share=self.rare_share)
        sampler = ReplaySampler(
            dataset, steps_per_epoch=steps, batch_size=self.batch_size, seed=self.seed, weights=weights
        )
        return self._loader(dataset, sampler, self.batch_size)

    def val_dataloader(self) -> Loader:
        """Loader of every validation clip, once."""
        return self._eval_loader("val")

    def test_dataloader(self) -> Loader:
        """Loader of every test clip, once."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> Loader:
        """Loader of every clip of `predict_split`, once."""
        return self._eval_loader(self.predict_split)

    def teardown(self, stage: str) -> None:
        """Say how many damaged clips were skipped, when the dataset was told to skip them."""
        for dataset in self.datasets.values():
            if dataset.skipped:
                print(dataset.skipped_report())

    def annotated(self, target: str, space: str) -> Tensor | None:
        """The labels that a training clip annotates, bool `[A]`; None without such a target.

        Args:
            target: Name of a target, such as `au`.
            space: Label space in which to look; of classes, those count that a clip has.
        """
        return find_annotated(self.datasets["train"], target, space)

    def label_rates(self, target: str, space: str) -> Tensor | None:
        """Share of positives among the annotated training labels, for loss weights and priors.

        Args:
            target: Name of a target, such as `au`.
            space: Label space in which to count.

        Returns:
            float64 `[A]`, NaN for labels that the corpus does not annotate; None where it has no such target.
        """
        counts = self.label_counts(target, space)
        return None if counts is None else counts[0] / counts[1]

    def label_counts(self, target: str, space: str) -> tuple[Tensor, Tensor] | None:
        """Positives and annotated labels of the training split, float64 `[A]` each; None without such a target."""
        return count_labels(self.datasets["train"], target, space)

    def pair_counts(self, target: str, space: str) -> tuple[Tensor, Tensor] | None:
        """Training rows that show units i and j, and that show i where j is annotated, float64 `[A, A]` each."""
        return count_pairs(self.datasets["train"], target, space)

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        """P(unit j | unit i) among the training labels.

        Args:
            target: Name of a target, such as `au`.
            space: Label space in which to count.

        Returns:
            float64 `[A, A]`, rows i; 0 where i is never shown. None where the corpus has no such target.
        """
        counts = self.pair_counts(target, space)
        return None if counts is None else counts[0] / counts[1].clamp(min=1)

    def _eval_loader(self, split: Split) -> Loader:
        dataset = self.datasets[split]
        if len(dataset) == 0:
            raise ConfigError(
                f"{dataset.name} has no clips in its {split} split.", remedy="Check its split column."
            )
        return self._loader(dataset, EvalSampler(dataset), self.eval_batch_size)

    def _loader(
        self, dataset: AffectDataset, sampler: ReplaySampler | EvalSampler, batch_size: int
    ) -> Loader:
        return DataLoader(
            dataset,  # type: ignore[arg-type]  # indexed by draws, yields clips
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )
