"""`affectkit fit|validate|test|predict --config RECIPE`: LightningCLI over our tasks and datamodules."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that recipes can name every class without its module.
import affectkit.data
import affectkit.datamodules
import affectkit.losses
import affectkit.methods
import affectkit.models
import affectkit.tasks  # noqa: F401
from affectkit.cli.recipe import as_text, compose, find_recipe
from affectkit.errors import ConfigError, WeightsError
from affectkit.tasks.callbacks import NEWEST, NewestCheckpoint, PredictionsWriter, ResultsWriter

__all__ = ["AffectCLI", "launch", "quietly", "run"]

# What Lightning tells everybody who runs our recipes, and which is meant or not theirs to mend.
_KNOWN = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "You're using the WeightAveraging callback, but loading",
    "The dirpath has changed",
    "The number of training batches",
    r"Found \d+ module\(s\) in eval mode",
    "Checkpoint directory .* exists and is not empty",  # of the run that is continued
)


class AffectCLI(LightningCLI):
    """LightningCLI with subclass mode for model and data, our result writers, and errors a person can read.

    Every run that keeps checkpoints also keeps its newest state, see `NewestCheckpoint`.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the modules to import first, and the callbacks that write what a run found beside its logs."""
        parser.add_argument(
            "--imports", type=list[str], default=[], help="modules whose classes a recipe names"
        )
        parser.add_lightning_class_args(ResultsWriter, "results")
        parser.add_lightning_class_args(PredictionsWriter, "predictions")

    def before_instantiate_classes(self) -> None:
        """Add the callback that keeps the newest state, unless the trainer keeps no checkpoints."""
        trainer = (self.config[self.subcommand] if self.subcommand else self.config).trainer
        if trainer.enable_checkpointing is not False and not trainer.barebones:
            self.trainer_defaults = {"callbacks": [NewestCheckpoint()]}

    def before_validate(self) -> None:
        """Refuse to evaluate weights that nobody trained."""
        self._require_weights()

    def before_test(self) -> None:
        """Refuse to evaluate weights that nobody trained."""
        self._require_weights()

    def before_predict(self) -> None:
        """Refuse to predict with weights that nobody trained."""
        self._require_weights()

    def fit(self, **options: Any) -> None:
        """Train; the checkpoint to go on from is read as `_run` says."""
        self._run("fit", options)

    def validate(self, **options: Any) -> None:
        """Validate; the checkpoint is read as `_run` says."""
        self._run("validate", options)

    def test(self, **options: Any) -> None:
        """Test; the numbers are printed by `ResultsWriter`, with what belongs to them, and not once more without."""
        self._run("test", {**options, "verbose": False})

    def predict(self, **options: Any) -> None:
        """Predict; the checkpoint is read as `_run` says."""
        self._run("predict", options)

    def _run(self, command: str, options: dict[str, Any]) -> None:
        """Run a command of the trainer. Checkpoints hold tensors and plain values, wherever they come from.

        Lightning would run code that is contained in one that it downloads.
        """
        path = options.get("ckpt_path")
        if path == "last":
            path = self._last_checkpoint()
        if command == "fit" and path is not None and Path(path).name == NEWEST and Path(path).is_file():
            self._keep_folder(Path(path))
        getattr(self.trainer, command)(**{**options, "ckpt_path": path, "weights_only": True})

    def _last_checkpoint(self) -> str:
        """Return the newest state that a run of this recipe has kept.

        Lightning looks into the folder of the new run, finds nothing and starts from the beginning.
        """
        logger, root = self.trainer.logger, Path(self.trainer.default_root_dir)
        runs = [root] if logger is None else Path(logger.save_dir or root, str(logger.name)).glob("*")
        states = [run / "checkpoints" / NEWEST for run in runs]
        kept = [state for state in states if state.is_file()]
        if not kept:
            raise ConfigError(
                f"`--ckpt_path last` finds no {NEWEST} below {root}.",
                remedy="Name the checkpoint, or start without --ckpt_path.",
            )
        return str(max(kept, key=lambda state: state.stat().st_mtime))

    def _keep_folder(self, path: Path) -> None:
        """Let a continued run keep its checkpoints where they are, the best one with its score.

        In a folder of its own it would take the first epoch for the best one.
        """
        saved = torch.load(path, map_location="cpu", weights_only=True)["callbacks"]
        for callback in self.trainer.checkpoint_callbacks:
            folder = saved.get(callback.state_key, {}).get("dirpath")
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None and folder is not None:
                same = Path(folder).resolve() == path.resolve().parent
                callback.dirpath = folder if same else None

    def _require_weights(self) -> None:
        path = self.config[self.subcommand].ckpt_path
        if path is None and self.model.hparams.get("init_from") is None:
            raise ConfigError(
                f"`affectkit {self.subcommand}` has no trained weights.",
                remedy="Name a checkpoint with --ckpt_path, or a saved model with --model.init_from.",
            )
        here = path is not None and str(path).endswith(".ckpt") and "://" not in str(path)
        if here and not Path(path).exists():
            raise ConfigError(
                f"There is no checkpoint {path}.",
                remedy="`affectkit fit` leaves them in the folder `checkpoints` beside its logs, below the recipe's "
                "default_root_dir.",
            )


def launch(args: Sequence[str], *, execute: bool = True, kind: type[AffectCLI] = AffectCLI) -> AffectCLI:
    """Parse a recipe, build its task, data and trainer, and run the sub-command.

    Args:
        args: `[subcommand, "--config", recipe, …]`; recipes may be named as `affectkit recipe list` prints them, and
            name modules to import first under `imports`. Without `execute`, the sub-command is left out.
        execute: False builds everything and runs nothing.
        kind: A subclass that builds less than everything.

    Raises:
        ConfigError: The recipe names an option, a class, a module or a file that does not exist.
        WeightsError: The checkpoint is unsafe.
    """
    _import_modules(args)
    args = _resolve_recipes(args)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            return kind(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"parser_mode": "omegaconf", "exit_on_error": False},
                args=args,
                run=execute,
            )
    except pickle.UnpicklingError as error:
        given = re.search(r"--ckpt_path[ =](\S+)", " ".join(args))
        raise WeightsError(
            "The checkpoint holds more than tensors, which is not read because it can run code.",
            path=given[1] if given else None,
            remedy="Give a .ckpt that `affectkit fit` wrote.",
        ) from error
    except argparse.ArgumentError as error:
        raise ConfigError(
            explain(str(error)),
            remedy="Name a recipe with --config, or compare yours with `affectkit recipe show NAME`.",
        ) from error


def run(args: Sequence[str]) -> int:
    """Run one of Lightning's sub-commands."""
    with quietly():
        launch(args)
    return 0


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence what Lightning tells everybody who runs our recipes."""
    advice = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advice.addFilter(_is_no_advertisement)
    try:
        with warnings.catch_warnings():
            for message in _KNOWN:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        advice.removeFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def explain(message: str) -> str:
    r"""Reduce a parser's nested report to where the fault lies and what it is, in one line.

    Example:
        >>> explain('Parser key "data":\n  Problem with given class_path "x.Mix":\n    Option "bss" is not accepted')
        'data, x.Mix: Option "bss" is not accepted'
    """
    lines = [line for line in message.splitlines() if line.strip()]
    places = re.findall(r"(?:Parser key|class_path) [\"']([^\"']+)[\"']", message)
    faults = [
        line
        for line in lines
        if re.search(r"not accepted|is required|[Ee]xpected|not in|Unable|No such", line)
    ]
    faults = [line for line in faults if "NoneType" not in line] or lines[-1:]
    deepest = max(faults, key=lambda line: len(line) - len(line.lstrip()))
    return ", ".join(dict.fromkeys(places)) + (": " if places else "") + deepest.strip().removeprefix("- ")


def _resolve_recipes(args: Sequence[str]) -> list[str]:
    """Replace what follows `--config` by the content of the recipe it names, with all that it includes."""
    resolved = list(args)
    for i, argument in enumerate(resolved):
        if argument in ("-c", "--config") and i + 1 < len(resolved):
            resolved[i + 1] = as_text(compose(find_recipe(resolved[i + 1])))
        elif argument.startswith("--config="):
            resolved[i] = f"--config={as_text(compose(find_recipe(argument.removeprefix('--config='))))}"
    return resolved


def _import_modules(args: Sequence[str]) -> None:
    """Import the modules that recipes, or `--imports`, name: parsing needs their classes."""
    words = [word for argument in args for word in argument.split("=", 1)]
    for option, value in pairwise(words):
        named: Any = None
        if option in ("-c", "--config"):
            recipe = yaml.safe_load(as_text(compose(find_recipe(value))))
            named = recipe.get("imports") if isinstance(recipe, dict) else None
        elif option == "--imports":
            with contextlib.suppress(yaml.YAMLError):  # the parser says it better
                named = yaml.safe_load(value)
        for name in named if isinstance(named, list) else []:
            try:
                importlib.import_module(str(name))
            except ImportError as error:
                raise ConfigError(
                    f"The module {name!r} under `imports` cannot be imported: {error}.",
                    path=None if option == "--imports" else value,
                    remedy="Install its package, or put its folder on PYTHONPATH.",
                ) from error
