"""The contract of a bridge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from affectkit.facs import LabelSpace

__all__ = ["Bridge"]


class Bridge(nn.Module, ABC):
    """Gives some heads their prototypes, which may borrow from those of others.

    A subclass is registered under a name, takes `spaces` first (the label spaces of those heads by head name), sets
    `num_features` (the width D of prototypes) and keeps its other constructor arguments in `config`, except where
    initial weights come from. Before training, what heads borrow is what prior knowledge says.
    """

    spaces: dict[str, LabelSpace]
    num_features: int
    config: dict[str, Any]

    @abstractmethod
    def forward(self) -> dict[str, Tensor]:
        """Prototypes [labels, D] of unit length by head name, with gradients."""

    @abstractmethod
    def parts_of(self, head: str) -> tuple[str, ...]:
        """Prefixes of the names of those tensors whose shape or meaning hangs on a head's labels."""

    @abstractmethod
    def encode_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, Tensor]:
        """Prototypes [D] of unit length for new classes of a head, by class name, without gradients.

        Args:
            head: An expression head.
            texts: Class names or free texts; or texts by class name.
        """
