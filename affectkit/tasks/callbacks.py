"""Callbacks that write results and predictions, keep the newest checkpoint and average weights.

Callbacks run on every process. Code that communicates, such as `run_folder`, must run on all processes, so it comes
before any `if trainer.is_global_zero`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from affectkit.data import ClipBatch
from affectkit.metrics import Result, as_text
from affectkit.models import Head
from affectkit.tasks.prediction_table import PredictionTable

if TYPE_CHECKING:
    from affectkit.tasks.base import AffectTask

__all__ = ["EMA", "NEWEST", "STATES", "NewestCheckpoint", "PredictionsWriter", "ResultsWriter", "run_folder"]

NEWEST = "newest.ckpt"
"""File name of `NewestCheckpoint`."""

STATES = "test_states.pt"
"""File name of the metric states of a test, see `AffectTask.test_states`."""


def run_folder(trainer: Trainer) -> Path:
    """Return the log folder of a run, or its root folder without a logger; all processes must call it."""
    return Path(trainer.log_dir or trainer.default_root_dir)


class ResultsWriter(Callback):
    """Print the test results with interval, baseline, threshold rule and protocol, and write them as JSON.

    The states of the metrics are written beside them, to `test_states.pt`, so that runs can be compared.

    Args:
        filename: File in the run's folder; empty writes none.
    """

    def __init__(self, filename: str = "test_results.json") -> None:
        self.filename = filename

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write, on the first process only."""
        results: dict[str, list[Result]] = getattr(pl_module, "results", {})
        folder = run_folder(trainer)
        if not results:
            return
        states = cast("AffectTask", pl_module).test_states()
        if not trainer.is_global_zero:
            return
        for name, rows in results.items():
            print(as_text([row for row in rows if row.name.count("/") == 1], title=name))
        if self.filename:
            folder.mkdir(parents=True, exist_ok=True)
            content = {name: [row.to_dict() for row in rows] for name, rows in results.items()}
            (folder / self.filename).write_text(json.dumps(content, indent=1), encoding="utf-8")
            torch.save(states, folder / STATES)
            print(f"results with those of each label: {folder / self.filename}")


class PredictionsWriter(Callback):
    """Write the predictions of `predict`, and those of `test` with the true labels, see `PredictionTable`.

    Args:
        filename: File of `predict` in the run's folder.
        test_filename: File of `test` in the run's folder, CSV or Parquet by its suffix; empty writes none.
    """

    def __init__(
        self, filename: str = "predictions.csv", test_filename: str = "test_predictions.parquet"
    ) -> None:
        self.filename = filename
        self.test_filename = test_filename
        self._table: PredictionTable | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the table and write its header."""
        self._folder = run_folder(trainer)
        self._table = PredictionTable(self._folder / self.filename, trainer, _heads(pl_module))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of one batch."""
        if self._table is not None:
            self._table.write(outputs, dataloader_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the table and print its path."""
        if self._table is not None and (line := self._table.close()):
            self.announce(line)
        self._table = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the run's folder."""
        self._folder = run_folder(trainer)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of one batch, if the task returns its predictions."""
        if outputs is None or not self.test_filename:
            return
        if self._table is None:
            loaders: Any = trainer.test_dataloaders
            datasets = [one.dataset for one in (loaders if isinstance(loaders, list) else [loaders])]
            targets = {target for data in datasets for target in data.targets}
            path = self._folder / self.test_filename
            self._table = PredictionTable(path, trainer, _heads(pl_module), targets)
        self._table.write(outputs, dataloader_idx, batch.targets)

    on_test_end = on_predict_end

    def announce(self, line: str) -> None:
        """Print where the predictions are."""
        print(f"predictions: {line}")


def _heads(task: LightningModule) -> list[Head]:
    return list(task.model.heads.values())  # type: ignore[union-attr, operator]


class NewestCheckpoint(ModelCheckpoint):
    """Keep the state after the latest epoch in `newest.ckpt`, whatever the scores.

    A run that continues from the checkpoint with the best score repeats all epochs since. The command line adds this
    callback to every recipe after its own checkpoints, whose state is thereby included.

    Args:
        dirpath: Folder; by default `checkpoints` in the run's folder, and the path is printed.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        name = NEWEST.removesuffix(self.FILE_EXTENSION)
        super().__init__(dirpath, name, save_on_train_epoch_end=True, enable_version_counter=False)
        self._announced = dirpath is not None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how to continue the run."""
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero and not self._announced:
            self._announced = True
            path = Path(str(self.dirpath), NEWEST)
            print(f"state kept after each epoch; to continue an interrupted run, add --ckpt_path {path}")


class EMA(WeightAveraging):
    r"""Exponential moving average of the parameters, :math:`\bar w \leftarrow d \bar w + (1-d) w`, at every step.

    Validation, test and checkpoints use the average. Buffers are copied, because the mean of many, such as positions in
    a text, makes no sense. Frozen parameters stay exactly as they are.

    Args:
        decay: d, in [0, 1].
    """

    def __init__(self, decay: float = 0.99) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(use_buffers=False, multi_avg_fn=average)
