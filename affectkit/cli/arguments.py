"""What the commands have in common that take several kinds of input or write several kinds of output."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from affectkit.models import AffectModel

__all__ = ["MODEL", "check_choice", "open_model"]

MODEL = "folder or Hub name of a saved model, `demo`, or a .ckpt file of `affectkit fit`"
"""Help of `--model` where `open_model` reads it."""


def open_model(name: str) -> AffectModel:
    """Open a saved model, or that of a checkpoint with its chosen thresholds.

    Args:
        name: What a user gave as `--model`.

    Raises:
        WeightsError: There is none, or it is damaged.
    """
    if name.endswith(".ckpt"):
        from affectkit.models.convert import model_of_checkpoint

        return model_of_checkpoint(Path(name))
    from affectkit.models import load

    return load(name)


def check_choice(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    only: Mapping[tuple[str, ...], Sequence[str]],
    option: str,
    chosen: str,
) -> None:
    """Refuse options that mean nothing to what was chosen.

    Args:
        parser: It knows the defaults.
        options: What it read.
        only: By choices, the options that belong to these alone.
        option: The option that chooses, for messages.
        chosen: Its value.

    Raises:
        ConfigError: One was given.
    """
    for choices, names in only.items():
        for name in names:
            if chosen not in choices and getattr(options, name) != parser.get_default(name):
                raise ConfigError(
                    f"--{name.replace('_', '-')} does not go with --{option} {chosen}.",
                    remedy="Leave one of them out.",
                )
