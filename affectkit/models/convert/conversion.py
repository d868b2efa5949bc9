"""What becomes of another program's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from affectkit.models.model import AffectModel

__all__ = ["Conversion"]


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
