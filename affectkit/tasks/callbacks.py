"""Callbacks that write results and predictions, keep the newest checkpoint and average weights.

Callbacks run on every process. Code that communicates, such as `run_folder`, must run on all processes, so it comes
before any `if trainer.is_global_zero`.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from affectkit.data import ClipBatch
from affectkit.metrics import Result, as_text

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
    """Write a row per predicted frame: dataset, clip, subject, frame, and the outputs of all heads by name.

    With several processes each writes its own file, with its rank in the name and the position of each clip in the
    first columns. At the end the first process merges the files into the table of a single process and removes them.
    They are kept if a process dies or the first process cannot see them all.

    Args:
        filename: File in the run's folder.
    """

    def __init__(self, filename: str = "predictions.csv") -> None:
        self.filename = filename

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file and write its header."""
        self._path = run_folder(trainer) / self.filename
        self._path.parent.mkdir(parents=True, exist_ok=True)
        several = trainer.world_size > 1
        part = self._part(trainer.global_rank) if several else self._path
        self._places = ["loader", "place"] if several else []
        self._num_clips: dict[int, int] = {}
        self._file = part.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        heads = pl_module.model.heads.values()  # type: ignore[union-attr, operator]
        columns = [column for head in heads for column in head.columns]
        self._writer.writerow([*self._places, "dataset", "clip", "subject", "frame", *columns])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of one batch; clip-level outputs are repeated in every row of their clip."""
        columns = [values.cpu() for values in outputs["outputs"].values()]
        meta, kept = outputs["meta"], outputs["frame_mask"].cpu()
        first = self._num_clips.get(dataloader_idx, 0)
        self._num_clips[dataloader_idx] = first + len(kept)
        for i in range(len(kept)):
            if not outputs["valid"][i]:
                continue
            place = (first + i) * trainer.world_size + trainer.global_rank  # order of the samplers
            places = [dataloader_idx, place] if self._places else []
            for t, frame in enumerate(meta["indices"][i]):
                row: Sequence[Any] = [meta["dataset"][i], meta["clip"][i], meta["subject"][i], frame]
                numbers = [f"{x:.6f}" for v in columns for x in (v[i, t] if v.ndim == 3 else v[i]).tolist()]
                self._writer.writerow([*places, *row, *numbers])
        self._file.flush()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file, merge those of all processes, and print the path."""
        self._file.close()
        if trainer.world_size > 1:
            trainer.strategy.barrier("predictions are written")
            if trainer.is_global_zero:
                self._merge([self._part(rank) for rank in range(trainer.world_size)])
            trainer.strategy.barrier("predictions are merged")
        else:
            print(f"predictions: {self._path}")

    def _part(self, rank: int) -> Path:
        return self._path.with_stem(f"{self._path.stem}-{rank}")

    def _merge(self, parts: Sequence[Path]) -> None:
        """Write the rows of all processes in the order of a single one."""
        if missing := [part.name for part in parts if not part.is_file()]:
            print(
                f"predictions: {self._path.with_stem(f'{self._path.stem}-*')}, one table per process; "
                f"{', '.join(missing)} is on another machine"
            )
            return
        unfinished = self._path.with_name(f"{self._path.name}.part")
        with ExitStack() as files, unfinished.open("w", newline="", encoding="utf-8") as out:
            tables = [
                csv.reader(files.enter_context(part.open(newline="", encoding="utf-8"))) for part in parts
            ]
            header, *_ = [next(table) for table in tables]
            rows = heapq.merge(*map(_placed, tables), key=itemgetter(0))
            writer = csv.writer(out)
            writer.writerow(header[2:])
            writer.writerows(row for _, row in rows)
        unfinished.replace(self._path)
        for part in parts:
            part.unlink()
        print(f"predictions: {self._path}")


def _placed(table: Iterable[list[str]]) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """Split off the position of each row: loader and clip."""
    for loader, place, *row in table:
        yield (int(loader), int(place)), row


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
