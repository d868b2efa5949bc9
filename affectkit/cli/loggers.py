"""Loggers by name, `--logger tensorboard`, and the figures that they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer, loggers
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from affectkit.inference.reports.figures import draw_bars, draw_confusion, label_metrics
from affectkit.tasks.base import AffectTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from affectkit.tasks.evaluation import Evaluation

__all__ = ["FigureLogger", "LoggerName", "logger_config", "make_logger"]

LoggerName = Literal["csv", "tensorboard", "wandb"]

_CLASSES = {"csv": "CSVLogger", "tensorboard": "TensorBoardLogger", "wandb": "WandbLogger"}


def logger_config(name: LoggerName, folder: str) -> dict[str, Any]:
    """Configuration of a logger that writes below a folder."""
    named = {"project": "affectkit"} if name == "wandb" else {"name": "logs"}
    class_path = f"lightning.pytorch.loggers.{_CLASSES[name]}"
    return {"class_path": class_path, "init_args": {"save_dir": folder, **named}}


def make_logger(name: LoggerName, folder: str) -> Logger:
    """Build the logger of `logger_config`."""
    logger: Logger = getattr(loggers, _CLASSES[name])(**logger_config(name, folder)["init_args"])
    return logger


class FigureLogger(Callback):
    """Log confusion matrices and the results of each label as figures, if a logger takes figures."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log those of the validation data."""
        if not trainer.sanity_checking and isinstance(pl_module, AffectTask):
            self._log(trainer, "val", pl_module.evaluation["val"])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log those of the test data."""
        if isinstance(pl_module, AffectTask):
            self._log(trainer, "test", pl_module.evaluation["test"])

    def _log(self, trainer: Trainer, stage: str, evaluation: Evaluation) -> None:
        # Ask every process, because computing results communicates; only the first one has a writer.
        takers = [logger for logger in trainer.loggers if takes_figures(type(logger))]
        if not takers:
            return
        confusions = evaluation.confusions()
        results = evaluation.results(rule="fixed", thresholds={}, protocol=str)
        if not trainer.is_global_zero:
            return
        figures: dict[str, Figure | None] = {
            f"{name}/confusion": draw_confusion(*counted) for name, counted in confusions.items()
        }
        for name, rows in results.items():
            figures |= {f"{name}/{metric}": draw_bars(rows, metric) for metric in label_metrics(rows)}
        for tag, figure in figures.items():
            for logger in takers:
                log_figure(logger, f"{stage}/{tag}", figure, trainer.global_step)


def takes_figures(kind: type[Logger]) -> bool:
    """Whether loggers of a class show figures."""
    return hasattr(kind, "log_image") or issubclass(kind, TensorBoardLogger)


def log_figure(logger: Any, tag: str, figure: Figure | None, step: int) -> None:
    """Log a figure by the logger's own method."""
    if hasattr(logger, "log_image"):
        logger.log_image(tag, [figure], step=step)
    else:
        logger.experiment.add_figure(tag, figure, step)
