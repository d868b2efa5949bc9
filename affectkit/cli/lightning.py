"""LightningCLI over our tasks and datamodules: `affectkit fit|validate|test|predict --config RECIPE`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import pickle
import re
import warnings
from collections.abc import Sequence
from functools import partialmethod
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, cast

import lightning
import torch
import yaml
from jsonargparse import Namespace, dict_to_namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported so that recipes can name every class without its module.
import affectkit.data
import affectkit.datamodules
import affectkit.losses
import affectkit.methods
import affectkit.models
import affectkit.tasks
from affectkit.cli.early import check_checkpoint, check_data, check_devices
from affectkit.cli.loggers import FigureLogger, LoggerName, logger_config
from affectkit.cli.one_job import one_job
from affectkit.cli.progress import BestEpoch, TrainingBar, summarize
from affectkit.cli.quiet import quietly
from affectkit.cli.recipe import as_text, compose, find_recipe
from affectkit.datamodules import SingleDataModule
from affectkit.errors import ConfigError, WeightsError
from affectkit.models.hub import locate
from affectkit.tasks import SavedModel
from affectkit.tasks.callbacks import NEWEST, NewestCheckpoint, PredictionsWriter, ResultsWriter

for _method in iter_modules(affectkit.methods.__path__):  # their tasks are imported on first use
    importlib.import_module(f"affectkit.methods.{_method.name}.task")

__all__ = ["AffectCLI", "build_part", "launch", "launch_part", "run"]


class ConfigWriter(Callback):
    """Writes `config.yaml` into the folder of a run, like `SaveConfigCallback`, without dumping it again."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config: dict[str, Any] | None = config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration once."""
        folder = trainer.log_dir  # on every process, because it is broadcast
        if trainer.is_global_zero and folder and self.config:
            Path(folder).mkdir(parents=True, exist_ok=True)
            header = f"# affectkit {affectkit.__version__}, lightning {lightning.__version__}\n"
            Path(folder, "config.yaml").write_text(header + yaml.safe_dump(self.config, sort_keys=False))
            self.config = None


class AffectCLI(LightningCLI):
    """LightningCLI with subclass mode for model and data, our result writers and short errors.

    Every run that keeps checkpoints also keeps its newest state, see `NewestCheckpoint`.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the modules to import first, and the callbacks that write results and predictions."""
        parser.add_argument(
            "--imports", type=list[str], default=[], help="modules whose classes a recipe names"
        )
        parser.add_argument(
            "--logger", type=LoggerName | None, default=None, help="logger by name, instead of trainer.logger"
        )
        parser.set_defaults({"trainer.enable_model_summary": False})
        parser.add_lightning_class_args(ResultsWriter, "results")
        parser.add_lightning_class_args(PredictionsWriter, "predictions")

    def before_instantiate_classes(self) -> None:
        """Check everything that needs no weights, choose the logger, and add the callbacks of every run."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        trainer = config.trainer
        if config.logger is not None or trainer.logger in (None, True):
            named = logger_config(config.logger or "csv", trainer.default_root_dir or ".")
            trainer.logger = dict_to_namespace(named)
        check_devices(trainer)
        self.keep_config()
        if self.subcommand is not None:
            self._check(config)
        callbacks: list[Callback] = [BestEpoch(), FigureLogger()]
        if not trainer.fast_dev_run:
            callbacks.append(ConfigWriter(self.config_dump))
        if trainer.enable_progress_bar is not False and not trainer.barebones:
            callbacks.append(TrainingBar())
        if trainer.enable_checkpointing is not False and not trainer.barebones:
            callbacks.append(NewestCheckpoint())
        self.trainer_defaults = {"callbacks": callbacks}

    def keep_config(self) -> None:
        """Dump the configuration, for hyperparameters and `config.yaml`; parsing has validated it."""
        dumped = self.parser.dump(
            self.config, "json", skip_unset=False, skip_validation=True, skip_link_targets=False
        )
        whole = json.loads(dumped)
        self.config_dump = whole[self.subcommand] if self.subcommand else whole

    def _check(self, config: Namespace) -> None:
        """Check checkpoint and data of a sub-command."""
        arguments = config.model.get("init_args", {})
        if config.model.class_path.rpartition(".")[2] == SavedModel.__name__:
            return  # its data have no fold
        init_from = arguments.get("init_from")
        if config.ckpt_path != "last":
            check_checkpoint(str(self.subcommand), config.ckpt_path, init_from)
        if init_from is not None:
            locate(init_from)
        alone = {"subcommand": self.subcommand, self.subcommand: {"data": config.data}}
        built = self.parser.instantiate_classes(dict_to_namespace(alone))
        check_data(built[self.subcommand].data, str(self.subcommand))

    def _run(self, command: str, ckpt_path: str | None = None, **options: Any) -> None:
        """Run a command of the trainer; checkpoints hold tensors and plain values only."""
        if isinstance(self.model, SavedModel):
            for data in getattr(self.datamodule, "sources", {"": self.datamodule}).values():
                if isinstance(data, SingleDataModule):
                    data.evaluate_only(self.model.model)
        if ckpt_path == "last":
            ckpt_path = self._last_checkpoint()
        if command == "fit" and ckpt_path is not None and Path(ckpt_path).name == NEWEST:
            self._keep_folder(Path(ckpt_path))
        options |= {"ckpt_path": ckpt_path, "weights_only": True}
        if command == "test":
            options["verbose"] = False  # `ResultsWriter` prints the results
        with one_job(self.trainer):
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
    if execute:  # making the parser of a sub-command takes long, so only that of this one is made
        named = {args[0]: LightningCLI.subcommands()[args[0]]}
        kind = cast("type[AffectCLI]", type("One", (kind,), {"subcommands": staticmethod(lambda: named)}))
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
                save_config_callback=None,  # see `ConfigWriter`
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
            f"{explain(str(error)).rstrip('.')}.",
            remedy="Name a recipe with --config, or compare yours with `affectkit recipe show NAME`.",
        ) from error


class PartCLI(AffectCLI):
    """Builds only the task or the datamodule of a recipe, as `built`.

    Attributes:
        part: `model` or `data`.
        weights: Without, a task ignores its `init_from`.
    """

    part: Literal["model", "data"]
    weights = True

    def before_instantiate_classes(self) -> None:
        """Check nothing, because no run follows."""
        self.keep_config()

    def instantiate_classes(self) -> None:
        """Build the part."""
        config = self.config[self.part]
        if not self.weights and "init_from" in config.init_args:
            config.init_args.init_from = None
        self.built = self.parser.instantiate_classes(dict_to_namespace({self.part: config}))[self.part]


def launch_part(args: Sequence[str], part: Literal["model", "data"], *, weights: bool = True) -> PartCLI:
    """Parse a recipe and build only its task or its datamodule, see `PartCLI`."""
    kind = type("Part", (PartCLI,), {"part": part, "weights": weights})
    return cast("PartCLI", launch(args, execute=False, kind=kind))


def build_part(args: Sequence[str], part: Literal["model", "data"], *, weights: bool = True) -> Any:
    """Build only the task or the datamodule of a recipe; without weights, a task ignores its `init_from`."""
    return launch_part(args, part, weights=weights).built


def run(args: Sequence[str], *, model: str | None = None) -> int:
    """Run one of Lightning's sub-commands; see `launch`. After `fit`, print the best epoch and the next command."""
    with quietly():
        cli = launch(args, model=model)
    if args[0] == "fit" and cli.trainer.is_global_zero:
        print(summarize(cli.trainer, args[1:]))
    return 0


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
