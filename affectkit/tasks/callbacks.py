"""Callbacks: what a run found is written beside the logs, and weights are averaged."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from affectkit.data import ClipBatch
from affectkit.metrics import Result, as_text

__all__ = ["EMA", "PredictionsWriter", "ResultsWriter", "run_folder"]


def run_folder(trainer: Trainer) -> Path:
    """Where a run's files belong: its log folder, or the root folder when it does not log."""
    return Path(trainer.log_dir or trainer.default_root_dir)


class ResultsWriter(Callback):
    """Prints the test results with interval, baseline, threshold rule and protocol, and writes them as JSON.

    Args:
        filename: File in the run's folder; an empty name writes none.
    """

    def __init__(self, filename: str = "test_results.json") -> None:
        self.filename = filename

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write, on the first process only."""
        found: dict[str, list[Result]] = getattr(pl_module, "results", {})
        if not trainer.is_global_zero or not found:
            return
        for name, rows in found.items():
            print(as_text([row for row in rows if row.name.count("/") == 1], title=name))
        if self.filename:
            folder = run_folder(trainer)
            folder.mkdir(parents=True, exist_ok=True)
            content = {name: [row.to_dict() for row in rows] for name, rows in found.items()}
            (folder / self.filename).write_text(json.dumps(content, indent=1), encoding="utf-8")
            print(f"results, by label as well: {folder / self.filename}")


class PredictionsWriter(Callback):
    """Writes a row for every predicted frame: dataset, clip, subject, frame, and the outputs of all heads by name.

    Rows are written as they come. With several processes each writes a file of its own, with its rank in the name.

    Args:
        filename: File in the run's folder.
    """

    def __init__(self, filename: str = "predictions.csv") -> None:
        self.filename = filename

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file and write its header."""
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(self.filename)
        if trainer.world_size > 1:
            name = name.with_stem(f"{name.stem}-{trainer.global_rank}")
        self._file = (folder / name).open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        heads = pl_module.model.heads.values()  # type: ignore[union-attr, operator]
        columns = [column for head in heads for column in head.columns]
        self._writer.writerow(["dataset", "clip", "subject", "frame", *columns])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of one batch; clip-level outputs stand in every row of their clip."""
        columns = [values.cpu() for values in outputs["outputs"].values()]
        meta, kept = outputs["meta"], outputs["frame_mask"].cpu()
        for i in range(len(kept)):
            if not outputs["valid"][i]:
                continue
            for t, frame in enumerate(meta["indices"][i]):
                row: Sequence[Any] = [meta["dataset"][i], meta["clip"][i], meta["subject"][i], frame]
                numbers = [f"{x:.6f}" for v in columns for x in (v[i, t] if v.ndim == 3 else v[i]).tolist()]
                self._writer.writerow([*row, *numbers])
        self._file.flush()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file and say where it is."""
        self._file.close()
        print(f"predictions: {self._file.name}")


class EMA(WeightAveraging):
    r"""Exponential moving average of the parameters, :math:`\bar w \leftarrow d \bar w + (1-d) w`, at every step.

    Validation, test and checkpoints use the average. Buffers are copied and never averaged: many are not numbers of
    which a mean makes sense, such as the places where texts end. What does not train stays exactly as it is.

    Args:
        decay: d, in [0, 1].
    """

    def __init__(self, decay: float = 0.99) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().__init__(use_buffers=False, multi_avg_fn=average)
