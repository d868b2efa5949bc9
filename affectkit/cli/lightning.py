"""LightningCLI over our tasks and datamodules: `affectkit fit|validate|test|predict --config RECIPE`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partialmethod
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import Namespace
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
from affectkit.datamodules import SingleDataModule
from affectkit.errors import ConfigError, WeightsError
from affectkit.tasks import SavedModel
from affectkit.tasks.callbacks import NEWEST, NewestCheckpoint, PredictionsWriter, ResultsWriter

__all__ = ["AffectCLI", "build_part", "launch", "quietly", "run"]

# Messages of Lightning about intended behaviour of our recipes.
_KNOWN = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "You're using the WeightAveraging callback, but loading",
    "The dirpath has changed",
    "The number of training batches",
    r"Found \d+ module\(s\) in eval mode",
    "Checkpoint directory .* exists and is not empty",  # of a continued run
)


class AffectCLI(LightningCLI):
    """LightningCLI with subclass mode for model and data, our result writers and short errors.

    Every run that keeps checkpoints also keeps its newest state, see `NewestCheckpoint`.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the modules to import first, and the callbacks that write results and predictions."""
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

    def _run(self, command: str, ckpt_path: str | None = None, **options: Any) -> None:
        """Run a command of the trainer; checkpoints hold tensors and plain values only."""
        if isinstance(self.model, SavedModel):
            for data in getattr(self.datamodule, "sources", {"": self.datamodule}).values():
                if isinstance(data, SingleDataModule):
                    data.evaluate_only(self.model.model)
        elif command != "fit":
            self._require_weights(command, ckpt_path)
        if ckpt_path == "last":
            ckpt_path = self._last_checkpoint()
        if command == "fit" and ckpt_path is not None and Path(ckpt_path).name == NEWEST:
            self._keep_folder(Path(ckpt_path))
        options |= {"ckpt_path": ckpt_path, "weights_only": True}
        if command == "test":
            options["verbose"] = False  # `ResultsWriter` prints the results
        getattr(self.trainer, command)(**options)

    fit = partialmethod(_run, "fit")
    validate = partialmethod(_run, "validate")
    test = partialmethod(_run, "test")
    predict = partialmethod(_run, "predict")

    def _last_checkpoint(self) -> str:
        """Find the newest state of this recipe's runs; Lightning looks only into the folder of the new run."""
        logger, root = self.trainer.logger, Path(self.trainer.default_root_dir)
        runs = [root] if logger is None else Path(logger.save_dir or root, str(logger.name)).glob("*")
        states = [state for run in runs if (state := run / "checkpoints" / NEWEST).is_file()]
        if not states:
            raise ConfigError(
                f"`--ckpt_path last` finds no {NEWEST} below {root}.",
                remedy="Name the checkpoint, or start without --ckpt_path.",
            )
        return str(max(states, key=lambda state: state.stat().st_mtime))

    def _keep_folder(self, path: Path) -> None:
        """Keep the checkpoints of a continued run, with the best score, in their folder."""
        if not path.is_file():
            return
        saved = torch.load(path, map_location="cpu", weights_only=True)["callbacks"]
        for callback in self.trainer.checkpoint_callbacks:
            folder = saved.get(callback.state_key, {}).get("dirpath")
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None and folder is not None:
                same = Path(folder).resolve() == path.resolve().parent
                callback.dirpath = folder if same else None

    def _require_weights(self, command: str, path: str | None) -> None:
        if path is None and self.model.hparams.get("init_from") is None:
            raise ConfigError(
                f"`affectkit {command}` has no trained weights.",
                remedy="Name a checkpoint with --ckpt_path, or a saved model with --model.init_from.",
            )
        is_local = path is not None and str(path).endswith(".ckpt") and "://" not in str(path)
        if is_local and not Path(str(path)).exists():
            raise ConfigError(
                f"There is no checkpoint {path}.",
                remedy="Checkpoints of `affectkit fit` are in the folder `checkpoints` of its logs, below the recipe's "
                "default_root_dir.",
            )


def launch(
    args: Sequence[str],
    *,
    execute: bool = True,
    kind: type[AffectCLI] = AffectCLI,
    model: str | None = None,
) -> AffectCLI:
    """Parse a recipe, build its task, data and trainer, and run the sub-command.

    Args:
        args: `[subcommand, "--config", recipe, …]`, without a sub-command if `execute` is False.
        execute: False builds everything and runs nothing.
        kind: A subclass that builds less.
        model: Name of a saved model to evaluate in place of the recipe's.
    """
    args = _load_recipes(args, model)
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
            "The checkpoint holds more than tensors, which could run code, so it is not read.",
            path=given[1] if given else None,
            remedy="Give a .ckpt that `affectkit fit` wrote.",
        ) from error
    except argparse.ArgumentError as error:
        raise ConfigError(
            explain(str(error)),
            remedy="Name a recipe with --config, or compare yours with `affectkit recipe show NAME`.",
        ) from error


def build_part(args: Sequence[str], part: Literal["model", "data"], *, weights: bool = True) -> Any:
    """Build only the task or the datamodule of a recipe; without weights, a task ignores its `init_from`."""

    class PartCLI(AffectCLI):
        def instantiate_classes(self) -> None:
            config = self.config[part]
            if not weights and "init_from" in config.init_args:
                config.init_args.init_from = None
            self.built = self.parser.instantiate_classes(Namespace({part: config}))[part]  # type: ignore[no-untyped-call]

    return launch(args, execute=False, kind=PartCLI).built  # type: ignore[attr-defined]


def run(args: Sequence[str], *, model: str | None = None) -> int:
    """Run one of Lightning's sub-commands; see `launch`."""
    with quietly():
        launch(args, model=model)
    return 0


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence Lightning's messages about intended behaviour, and its advertisement."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(_is_no_advertisement)
    try:
        with warnings.catch_warnings():
            for message in _KNOWN:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.removeFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def explain(message: str) -> str:
    r"""Reduce a parser's nested report to one line with place and fault.

    Example:
        >>> explain('Parser key "data":\n  Problem with given class_path "x.Mix":\n    Option "bss" is not accepted')
        'data, x.Mix: Option "bss" is not accepted'
    """
    lines = [line for line in message.splitlines() if line.strip()]
    places = re.findall(r"(?:Parser key|class_path) [\"']([^\"']+)[\"']", message)
    fault = re.compile(r"not accepted|is required|[Ee]xpected|not in|Unable|No such")
    faults = [line for line in lines if fault.search(line) and "NoneType" not in line] or lines[-1:]
    deepest = max(faults, key=lambda line: len(line) - len(line.lstrip()))
    return ", ".join(dict.fromkeys(places)) + (": " if places else "") + deepest.strip().removeprefix("- ")


def _load_recipes(args: Sequence[str], model: str | None = None) -> list[str]:
    """Replace recipes after `--config` by their content, and import the modules under `imports`.

    A saved model, by name, replaces the models of the recipes.
    """
    loaded: list[str] = []
    for argument in args:
        is_pair = argument.startswith(("--config=", "--imports="))
        loaded += argument.split("=", 1) if is_pair else [argument]
    for i, (option, value) in enumerate(pairwise(loaded)):
        modules: Any = None
        if option in ("-c", "--config"):
            loaded[i + 1] = as_text(compose(find_recipe(value)))
            recipe = yaml.safe_load(loaded[i + 1])
            modules = recipe.get("imports") if isinstance(recipe, dict) else None
            if model is not None and isinstance(recipe, dict):
                given = recipe.get("model") or {}
                kept = given.get("init_args", {}) if given.get("class_path") == "SavedModel" else {}
                recipe["model"] = {"class_path": "SavedModel", "init_args": {**kept, "name": model}}
                loaded[i + 1] = yaml.safe_dump(recipe)
        elif option == "--imports":
            with contextlib.suppress(yaml.YAMLError):  # the parser reports it better
                modules = yaml.safe_load(value)
        for name in modules if isinstance(modules, list) else []:
            try:
                importlib.import_module(str(name))
            except ImportError as error:
                raise ConfigError(
                    f"Cannot import the module {name!r} under `imports`: {error}.",
                    path=None if option == "--imports" else value,
                    remedy="Install its package, or put its folder on PYTHONPATH.",
                ) from error
    return loaded
