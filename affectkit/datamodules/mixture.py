"""Several corpora in one run: a batch from each at every step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor

from affectkit.datamodules.single import Loader, SingleDataModule
from affectkit.errors import ConfigError

__all__ = ["MixtureDataModule"]


class MixtureDataModule(LightningDataModule):
    """Train on several corpora at once; every step yields `{source: ClipBatch}` with a batch from each.

    The batch sizes of the sources are the mixing ratio. All loaders have `steps_per_epoch` batches; a source that is
    smaller than that is reshuffled and replayed, so no restart repeats an order and no source vanishes late in an
    epoch. Evaluation keeps the sources apart.

    Args:
        sources: Datamodules by name; the names are what logs show.
        steps_per_epoch: Steps an epoch; by default one pass over the source with the most batches.

    Raises:
        ConfigError: No source is given.
    """

    def __init__(self, sources: dict[str, SingleDataModule], *, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        if not sources:
            raise ConfigError("A mixture needs at least one source.", remedy="Name them under `sources`.")
        self.sources = sources
        self.steps_per_epoch = steps_per_epoch

    @property
    def protocol(self) -> str:
        """The protocols of the sources."""
        return "; ".join(source.protocol for source in self.sources.values())

    @property
    def trained_on(self) -> dict[str, tuple[str, bool]]:
        """The corpora of the sources, with licences and whether all of a corpus's faces are rendered."""
        found: dict[str, tuple[str, bool]] = {}
        for source in self.sources.values():
            for name, (licence, rendered) in source.trained_on.items():
                found[name] = (licence, rendered and found.get(name, (licence, True))[1])
        return found

    @property
    def annotations(self) -> dict[str, dict[str, str]]:
        """The targets of the sources."""
        return {
            name: targets for source in self.sources.values() for name, targets in source.annotations.items()
        }

    @property
    def unread(self) -> tuple[str, ...]:
        """What looks like annotation and is not read, of all sources."""
        return tuple(dict.fromkeys(name for source in self.sources.values() for name in source.unread))

    def prepare_data(self) -> None:
        """Prepare every source."""
        for source in self.sources.values():
            source.prepare_data()

    def setup(self, stage: str) -> None:
        """Set up every source and give them one length and their names."""
        for name, source in self.sources.items():
            source.setup(stage)
            for dataset in source.datasets.values():
                dataset.name = name
        if stage == "fit":
            steps = self.steps_per_epoch or max(
                len(source.train_dataloader()) for source in self.sources.values()
            )
            for source in self.sources.values():
                source.steps_per_epoch = steps

    def train_dataloader(self) -> CombinedLoader:
        """A batch from every source at every step."""
        return CombinedLoader(
            {name: source.train_dataloader() for name, source in self.sources.items()}, "min_size"
        )

    def val_dataloader(self) -> list[Loader]:
        """One loader a source."""
        return [source.val_dataloader() for source in self.sources.values()]

    def test_dataloader(self) -> list[Loader]:
        """One loader a source."""
        return [source.test_dataloader() for source in self.sources.values()]

    def predict_dataloader(self) -> list[Loader]:
        """One loader a source."""
        return [source.predict_dataloader() for source in self.sources.values()]

    def teardown(self, stage: str) -> None:
        """Tear every source down."""
        for source in self.sources.values():
            source.teardown(stage)

    def annotated(self, target: str, space: str) -> Tensor | None:
        """The labels that a training clip of any source annotates (see `SingleDataModule`)."""
        found = [
            known
            for source in self.sources.values()
            if (known := source.annotated(target, space)) is not None
        ]
        return torch.stack(found).any(0) if found else None

    def label_rates(self, target: str, space: str) -> Tensor | None:
        """Share of positives over the annotated training labels of all sources (see `SingleDataModule`)."""
        counts = [found for source in self.sources.values() if (found := source.label_counts(target, space))]
        if not counts:
            return None
        return _total(positives for positives, _ in counts) / _total(annotated for _, annotated in counts)

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        """P(unit j | unit i) among the training labels of all sources (see `SingleDataModule`)."""
        counts = [found for source in self.sources.values() if (found := source.pair_counts(target, space))]
        if not counts:
            return None
        return _total(both for both, _ in counts) / _total(first for _, first in counts).clamp(min=1)


def _total(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(dim=0)
