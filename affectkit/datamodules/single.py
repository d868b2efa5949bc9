"""Lightning datamodule of one corpus, with draws that depend only on seed and epoch."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from affectkit.data import Draw, EvalSampler, ReplaySampler, check_disjoint, collate, draw_weights
from affectkit.datamodules.statistics import TrainingStatistics, clip_classes, clip_positives
from affectkit.datasets import AffectDataset
from affectkit.datasets.preparing import measure, report_faces
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.faces import PictureSpec

__all__ = ["ModelInput", "SingleDataModule", "Split"]

Split = Literal["train", "val", "test"]
Loader = DataLoader[Draw]

_SPLITS: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}


class ModelInput(Protocol):
    """Input that a model needs; `affectkit.models.AffectModel` states it."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of signals."""
        ...

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads pictures."""
        ...

    @property
    def input_spec(self) -> PictureSpec:
        """Format of the pictures."""
        ...


class SingleDataModule(TrainingStatistics, LightningDataModule):
    """Base of the datamodules of one corpus; a subclass builds the dataset of a split.

    Training draws come from a `ReplaySampler`: the global batches do not depend on the number of processes, and a
    resumed run continues with the draws of the interrupted one. Evaluation covers every clip exactly once with any
    number of processes (padding has `valid=False`).

    Args:
        batch_size: Training clips per process and step.
        eval_batch_size: Clips per step in evaluation; `batch_size` by default.
        num_workers: Loader processes; 0 loads in the main process.
        steps_per_epoch: Training steps per epoch; by default one pass over the clips.
        rare_share: Draw clips with rare action units more often, so that a unit in fewer than 10 % of the training
            clips has this share of the draws; see `affectkit.data.draw_weights`. By default every clip is drawn
            equally often.
        rare_units: Units that `rare_share` applies to; all units of the corpus by default.
        balanced_classes: Target of classes, such as `expression`, whose classes are drawn equally often and in turn;
            clips without a class are not drawn. See `affectkit.data.ReplaySampler`.
        predict_split: Split for `predict`.
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
        balanced_classes: str | None = None,
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
        self.balanced_classes = balanced_classes
        self.predict_split: Split = predict_split
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.datasets: dict[Split, AffectDataset] = {}
        self.model: ModelInput | None = None

    @property
    def protocol(self) -> str:
        """Description of the evaluation protocol, printed next to every result."""
        names = {dataset.name for dataset in self.datasets.values()}
        subjects = all(dataset.has_subjects for dataset in self.datasets.values())
        rule = "subjects disjoint between train, validation and test" if subjects else "subjects unknown"
        return f"{', '.join(sorted(names))}: test split, {rule}"

    def training_sets(self) -> list[AffectDataset]:
        """See `TrainingStatistics`."""
        return [self.datasets["train"]]

    @abstractmethod
    def make_dataset(self, split: Split) -> AffectDataset:
        """Build the dataset of one split with its transforms."""

    def adapt(self, model: ModelInput | None = None) -> None:
        """Provide the input of a model: its signals, and pictures only if it reads them.

        Args:
            model: The model; by default that of the trainer's task.
        """
        found = getattr(getattr(self.trainer, "lightning_module", None), "model", None)
        self.model = model or (found if hasattr(found, "reads_pictures") else self.model)

    def evaluate_only(self, model: ModelInput) -> None:
        """Evaluate a saved model that was trained elsewhere: provide its input, see `adapt`."""
        self.adapt(model)

    def prepare_data(self) -> None:
        """Measure the signals that the model needs and that are not on disk yet, in `num_workers` processes."""
        self.adapt()
        if not self.measures:
            return
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress

        stage = getattr(getattr(self.trainer, "state", None), "fn", None)
        splits = self._splits(stage) if stage else _SPLITS["fit"]  # a table may have no test split
        datasets = [self.make_dataset(split) for split in splits]
        console = Console(stderr=True)
        with Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task("Measuring faces", total=None)
            measure(
                datasets,
                workers=self.num_workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        report_faces(datasets)

    @property
    def measures(self) -> bool:
        """Whether the datasets measure faces."""
        return self.model is not None and bool(self.model.signals)

    def _splits(self, stage: str) -> tuple[Split, ...]:
        return (self.predict_split,) if stage == "predict" else _SPLITS[stage]

    def check(self, stage: str) -> None:
        """Open a dataset of a stage and its first media, to report what is missing before weights are loaded."""
        dataset = self.make_dataset(self._splits(stage)[0])
        if len(dataset) and dataset.on_error == "raise":
            dataset.length(0)

    def setup(self, stage: str) -> None:
        """Build the datasets of a stage.

        Raises:
            SubjectLeakError: A subject is in two of the splits.
        """
        self.adapt()
        for split in self._splits(stage):
            if split not in self.datasets:
                self.datasets[split] = self.make_dataset(split)
        check_disjoint({split: data.subjects for split, data in self.datasets.items() if data.has_subjects})

    def train_dataloader(self) -> Loader:
        """Loader of `steps_per_epoch` batches drawn by a `ReplaySampler`."""
        dataset = self._filled("train")
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        steps = self.steps_per_epoch or max(1, len(dataset) // (self.batch_size * world))
        weights = None
        if self.rare_share is not None:
            shown = clip_positives(dataset, dataset.names.get("au", "au"), self.rare_units)
            weights = draw_weights(shown, share=self.rare_share)
        classes = None if self.balanced_classes is None else clip_classes(dataset, self.balanced_classes)
        sampler = ReplaySampler(
            dataset,
            steps_per_epoch=steps,
            batch_size=self.batch_size,
            seed=self.seed,
            weights=weights,
            classes=classes,
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
        """Print how many damaged clips were skipped, if any."""
        for dataset in self.datasets.values():
            if dataset.skipped:
                print(dataset.skipped_report())

    def _filled(self, split: Split) -> AffectDataset:
        dataset = self.datasets[split]
        if len(dataset) == 0:
            fault = f"{dataset.name} has no clips in its {split} split."
            raise ConfigError(fault, remedy="Check its root and its splits.")
        return dataset

    def _eval_loader(self, split: Split) -> Loader:
        dataset = self._filled(split)
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
