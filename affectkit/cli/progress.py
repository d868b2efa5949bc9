"""Progress of training on the terminal, and its summary: the best epoch, the checkpoint and the next command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from rich.progress import TaskID

from affectkit.cli.arguments import progress_bar
from affectkit.metrics import collect_results, estimate
from affectkit.tasks.base import AffectTask
from affectkit.tasks.callbacks import NEWEST

__all__ = ["BestEpoch", "Score", "TrainingBar", "summarize"]

_PAUSE = 0.2  # seconds between two changes of the bar


class TrainingBar(ProgressBar):
    """Loss, monitored score and learning rate: a bar on a terminal, a line per epoch otherwise.

    A bar takes over what is printed, so it starts after and stops before other callbacks print.

    Attributes:
        prints_epochs: Whether a line is printed after each epoch where there is no terminal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prints_epochs = True
        self._is_enabled = True
        self._bar = progress_bar(False)
        self._is_running = False
        self._task = TaskID(0)
        self._changed = 0.0

    def enable(self) -> None:
        """Show the bar."""
        self._is_enabled = True

    def disable(self) -> None:
        """Hide the bar, as on all processes but the first."""
        self._is_enabled = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar of all epochs with the first of them."""
        if self._is_running:
            return
        epochs = trainer.max_epochs or -1
        steps = float(self.total_train_batches) * epochs
        self._start("training", steps if 0 < steps < float("inf") else None)
        done = trainer.current_epoch * float(self.total_train_batches)
        self._bar.update(self._task, completed=done)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one step."""
        self._bar.advance(self._task)
        now = time.monotonic()  # reading the loss waits for the device
        if self._bar.disable or now - self._changed < _PAUSE:
            return
        self._changed = now
        loss = outputs["loss"].item() if isinstance(outputs, Mapping) else None
        self._bar.update(self._task, description=_status(trainer, pl_module, loss))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a line, unless there is a bar."""
        # A mean over processes: all of them must ask for it.
        loss = trainer.callback_metrics.get("train/loss")
        if self._is_enabled and self.prints_epochs and self._bar.disable:
            text = _status(trainer, pl_module, None if loss is None else loss.item())
            print(text, file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar, so that the terminal is usable again."""
        self._stop()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar of all test batches."""
        self._start("testing", float(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Advance by one step."""
        self._bar.advance(self._task)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar of all predicted batches."""
        self._start("predicting", float(sum(trainer.num_predict_batches)))

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Advance by one step."""
        self._bar.advance(self._task)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def _start(self, name: str, total: float | None) -> None:
        self._bar = progress_bar(not self._is_enabled)
        self._task = self._bar.add_task(name, total=total)
        self._bar.start()
        self._is_running = True

    def _stop(self) -> None:
        self._bar.stop()
        self._is_running = False


def _status(trainer: Trainer, task: LightningModule, loss: float | None) -> str:
    """Epoch, loss, score of the last validation and learning rate."""
    limit = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
    parts = [f"epoch {trainer.current_epoch + 1}{limit}"]
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    name = monitored(trainer, task)[0]
    if name in trainer.callback_metrics:
        parts.append(f"{name} {trainer.callback_metrics[name].item():.3f}")
    rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
    if rates:
        parts.append(f"lr {max(rates):.1e}")
    return "  ".join(parts)


def monitored(trainer: Trainer, task: LightningModule) -> tuple[str | None, str | None]:
    """Name of the score that selects the best epoch and its mode, `max` or `min`.

    Without a callback that selects, the main metric of the first head, and None as mode.
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            return callback.monitor, callback.mode
    if isinstance(task, AffectTask) and "val" in task.evaluation:
        for (dataset, name), metric in task.evaluation["val"].metrics.items():
            return f"val/{dataset}/{name}/{metric.monitor}", None
    return None, None


@dataclass(frozen=True)
class Score:
    """A validation score with its interval and trivial baseline, which are None if it is none of our metrics.

    Args:
        name: Name in the logs.
        value: The score.
        epoch: Epoch, from 0.
        interval: Text of the interval.
        baseline: Text of the comparison with the trivial baseline.
    """

    name: str
    value: float
    epoch: int
    interval: str | None = None
    baseline: str | None = None

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.name} {self.value:.3f}", self.interval, self.baseline)))


class BestEpoch(Callback):
    """Keep the score of the epoch that `ModelCheckpoint` selects, or of the latest one, with its interval.

    Attributes:
        score: The score; None before the first validation.
    """

    def __init__(self) -> None:
        self.score: Score | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the score with the best one; its interval is computed only if it is better."""
        name, mode = monitored(trainer, pl_module)
        if trainer.sanity_checking or trainer.state.fn != "fit" or name not in trainer.callback_metrics:
            return
        value = trainer.callback_metrics[str(name)].item()
        if self.score is not None and mode is not None:
            sign = 1 if mode == "max" else -1
            if not sign * value > sign * self.score.value:
                return
        texts = _compare(pl_module, str(name)) if isinstance(pl_module, AffectTask) else {}
        self.score = Score(str(name), value, trainer.current_epoch, **texts)

    def state_dict(self) -> dict[str, Any]:
        """The score as plain values."""
        return {} if self.score is None else asdict(self.score)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score of a continued run."""
        self.score = Score(**state_dict) if state_dict else None


def _compare(task: AffectTask, monitor: str) -> dict[str, str]:
    """Interval and baseline of a monitored score of the last validation; every process must call it."""
    evaluation = task.evaluation["val"]
    for (dataset, name), metric in evaluation.metrics.items():
        result = monitor.removeprefix(f"val/{dataset}/{name}/")
        if result == monitor:
            continue
        found = collect_results(
            estimate(metric.tally()), name, type(metric), protocol=dataset, per_label=True
        )
        data = next(data for data in evaluation.datasets if data.name == dataset)
        for row in found:
            if row.name == f"{name}/{result}":
                low, high = row.estimate.low, row.estimate.high
                worse = "NOT BETTER than " if row.beats_baseline is False else ""
                return {
                    "interval": f"{100 * row.level:g} % interval {low:.3f} – {high:.3f} over {data.groups_are}",
                    "baseline": f"{worse}trivial baseline {row.baseline:.3f}",
                }
    return {}


def summarize(trainer: Trainer, args: Sequence[str]) -> str:
    """Write best epoch, checkpoint and next command at the end of `affectkit fit`.

    Args:
        trainer: The trainer of the run.
        args: Arguments of the command after `fit`.
    """
    selecting = [one for one in trainer.checkpoint_callbacks if getattr(one, "monitor", None) is not None]
    best = next((one for one in trainer.callbacks if isinstance(one, BestEpoch)), None)  # type: ignore[attr-defined]
    lines = []
    if best is not None and best.score is not None:
        kind = "best" if selecting else "last validated"
        lines.append(f"{kind} epoch: {best.score.epoch + 1} of {trainer.current_epoch}; {best.score}")
    paths = [getattr(one, "best_model_path", "") for one in selecting]
    paths += [
        str(Path(one.dirpath, NEWEST))
        for one in trainer.checkpoint_callbacks
        if isinstance(one, ModelCheckpoint) and one.dirpath and Path(one.dirpath, NEWEST).is_file()
    ]
    if path := next(filter(None, paths), None):
        lines.append(f"checkpoint: {path}")
        lines.append(f"next: affectkit test {shlex.join([*_without_checkpoint(args), '--ckpt_path', path])}")
    return "\n".join(lines)


def _without_checkpoint(args: Sequence[str]) -> list[str]:
    """Arguments of a command without those that continue a run."""
    kept: list[str] = []
    skips = False
    for argument in args:
        if not skips and not argument.startswith("--ckpt_path"):
            kept.append(argument)
        skips = argument == "--ckpt_path"
    return kept
