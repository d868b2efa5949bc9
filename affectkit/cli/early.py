"""Checks that need neither weights nor a network, before the model of a recipe is built."""

from __future__ import annotations

from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from affectkit.datamodules import MixtureDataModule, SingleDataModule
from affectkit.errors import ConfigError

__all__ = ["check_checkpoint", "check_data", "check_devices"]

_DEVICES = ("accelerator", "devices", "num_nodes", "strategy", "precision")


def check_checkpoint(command: str, path: str | None, init_from: str | None) -> None:
    """Raise `ConfigError` if a command that needs trained weights has none."""
    if command != "fit" and path is None and init_from is None:
        raise ConfigError(
            f"`affectkit {command}` has no trained weights.",
            remedy="Name a checkpoint with --ckpt_path, or a saved model with --model.init_from.",
        )


def check_devices(trainer: Any) -> None:
    """Raise `ConfigError` if the configuration of a trainer asks for devices that this machine lacks."""
    wanted = {name: trainer[name] for name in _DEVICES if isinstance(trainer[name], str | int)}
    try:
        Trainer(
            **wanted,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        given = ", ".join(f"trainer.{name}={value}" for name, value in wanted.items())
        raise ConfigError(
            f"{' '.join(str(error).split()).rstrip('.')} ({given}).",
            remedy="Correct these settings; `affectkit doctor` lists the devices.",
        ) from error


def check_data(data: Any, command: str) -> None:
    """Open the corpora of a command, so that missing files are reported at once."""
    sources = data.sources.values() if isinstance(data, MixtureDataModule) else [data]
    for source in sources:
        if isinstance(source, SingleDataModule):
            source.check(command)
