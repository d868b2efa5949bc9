"""Several corpora in one run: one batch of each at every step."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader

from affectkit.datamodules.single import Loader, ModelInput, SingleDataModule
from affectkit.datamodules.statistics import TrainingStatistics
from affectkit.datasets import AffectDataset
from affectkit.datasets.bases.input_format import join_formats
from affectkit.errors import ConfigError

__all__ = ["MixtureDataModule"]


class MixtureDataModule(TrainingStatistics, LightningDataModule):
    """Train on several corpora at once; every step yields `{source: ClipBatch}` with one batch of each.

    The batch sizes of the sources are the mixing ratio. All loaders have `steps_per_epoch` batches; a smaller source is
    reshuffled and replayed. Evaluation keeps the sources apart.

    Args:
        sources: Datamodules by name; the names appear in logs.
        steps_per_epoch: Steps per epoch; by default one pass over the source with the most batches.

    Raises:
        ConfigError: There is no source.
    """

    def __init__(self, sources: dict[str, SingleDataModule], *, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        if not sources:
            raise ConfigError("A mixture needs at least one source.", remedy="Name them under `sources`.")
        self.sources = sources
        self.steps_per_epoch = steps_per_epoch

    @property
    def protocol(self) -> str:
        """Protocols of the sources."""
        return "; ".join(source.protocol for source in self.sources.values())

    def training_sets(self) -> list[AffectDataset]:
        """See `TrainingStatistics`; the datasets of all sources."""
        return [source.datasets["train"] for source in self.sources.values()]

    @property
    def input_format(self) -> dict[str, Any]:
        """See `TrainingStatistics`; the sources must agree."""
        return join_formats({name: source.input_format for name, source in self.sources.items()})

    def prepare_data(self) -> None:
        """Prepare every source."""
        self.adapt()
        for source in self.sources.values():
            source.prepare_data()

    def adapt(self, model: ModelInput | None = None) -> None:
        """See `SingleDataModule.adapt`."""
        for source in self.sources.values():
            source.trainer = self.trainer
            source.adapt(model)

    def setup(self, stage: str) -> None:
        """Set up every source, with the same number of steps and its name in the mixture."""
        self.adapt()
        for name, source in self.sources.items():
            source.setup(stage)
            for dataset in source.datasets.values():
                dataset.name = name
        if stage == "fit":
            longest = max(len(source.train_dataloader()) for source in self.sources.values())
            for source in self.sources.values():
                source.steps_per_epoch = self.steps_per_epoch or longest

    def train_dataloader(self) -> CombinedLoader:
        """One batch of every source at every step."""
        loaders = {name: source.train_dataloader() for name, source in self.sources.items()}
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> list[Loader]:
        """One loader per source."""
        return [source.val_dataloader() for source in self.sources.values()]

    def test_dataloader(self) -> list[Loader]:
        """One loader per source."""
        return [source.test_dataloader() for source in self.sources.values()]

    def predict_dataloader(self) -> list[Loader]:
        """One loader per source."""
        return [source.predict_dataloader() for source in self.sources.values()]

    def teardown(self, stage: str) -> None:
        """Tear down every source."""
        for source in self.sources.values():
            source.teardown(stage)
