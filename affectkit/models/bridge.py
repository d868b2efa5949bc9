"""The contract of a bridge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.models.explain import Explanation
from affectkit.models.heads import Head

if TYPE_CHECKING:
    from affectkit.models.model import AffectModel

__all__ = ["Bridge"]


class Bridge(nn.Module, ABC):
    """Gives some heads their prototypes, which may borrow from those of others.

    A subclass is registered under a name, takes `spaces` first (the label spaces of those heads by head name), sets
    `num_features` (the width D of prototypes) and keeps its other constructor arguments in `config`, except where
    initial weights come from. Before training, what heads borrow is what prior knowledge says.

    It runs at every step of training. When the model enters evaluation or is saved, each head keeps a copy of its
    prototypes, and the bridge runs no more; see `AffectModel.refresh_prototypes`.
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

    def explanations(self, model: AffectModel) -> tuple[Explanation, ...]:
        """What it can show of what it learned; nothing by default.

        Args:
            model: The model around it.
        """
        return ()

    def check(self, name: str, head: Head) -> None:
        """Refuse a head that takes other prototypes than it gets.

        Args:
            name: What the model calls the head.
            head: The head.

        Raises:
            ConfigError: Labels or widths differ, or only one of the two knows of prototypes.
        """
        given = self.spaces.get(name)
        if (given is not None) != head.uses_prototypes or (given is not None and given.labels != head.labels):
            takes = list(head.labels) if head.uses_prototypes else "none"
            raise ConfigError(
                f"The bridge gives {name!r} {'no prototypes' if given is None else list(given.labels)}, and the head "
                f"takes {takes}.",
                remedy="Build a new model, and take over what still fits with `init_from`; or see `use_classes`.",
            )
        if given is not None and head.width != self.num_features:
            raise ConfigError(
                f"The bridge's prototypes have {self.num_features} features, and the head {name!r} compares "
                f"{head.width}.",
                remedy="Give the text tower and the backbone the same width.",
            )
