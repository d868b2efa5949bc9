"""Checkpoints of other programs: what a converter is, and what it leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from affectkit.models.model import AffectModel

__all__ = ["Conversion", "Converter"]


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint.

    Args:
        model: The model, in evaluation mode.
        release: Which release of their code it fits.
        mapped: Name in the checkpoint by ours.
        ignored: Reason by name in the checkpoint, for tensors that say nothing new.
    """

    model: AffectModel
    release: int
    mapped: Mapping[str, str]
    ignored: Mapping[str, str]


class Converter(ABC):
    """Turns checkpoints of one program into models; `affectkit model convert` lists those that are registered.

    Attributes:
        about: Whose checkpoints, in one line.
        options: By flag, what `argparse` needs of each option; `dest` is the argument of `convert`.
    """

    about: ClassVar[str]
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @staticmethod
    @abstractmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """Turn a checkpoint into a model that computes the same.

        Args:
            path: The file.
            **options: By `dest`.
        """
