"""Base class of bridges, which compute the prototypes of heads."""

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
    """Base class of bridges: prototypes for some heads, which may depend on those of other heads.

    A subclass is registered under a name, takes `spaces` first (label spaces by head name), sets `num_features` (the
    width D of prototypes) and stores its other constructor arguments in `config`, except sources of initial weights.
    Before training, the heads depend on each other as prior knowledge says.

    A bridge runs at every training step. When the model enters evaluation mode or is saved, each head stores a copy of
    its prototypes, and the bridge runs no more; see `AffectModel.refresh_prototypes`.
    """

    spaces: dict[str, LabelSpace]
    num_features: int
    config: dict[str, Any]

    @abstractmethod
    def forward(self) -> dict[str, Tensor]:
        """Unit prototypes [labels, D] by head name, with gradients."""

    @abstractmethod
    def parts_of(self, head: str) -> tuple[str, ...]:
        """Name prefixes of the tensors whose shape or meaning depends on a head's labels."""

    @abstractmethod
    def encode_classes(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> dict[str, Tensor]:
        """Unit prototypes [D] for new classes, by class name, without gradients.

        Args:
            head: Name of an expression head.
            texts: Class names or free texts; or texts by class name.
        """

    @abstractmethod
    def class_texts(self, head: str, texts: Sequence[str] | Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Texts that `encode_classes` reads, by class name; arguments as there."""

    def explanations(self, model: AffectModel) -> tuple[Explanation, ...]:
        """Figures of what the bridge learned in this model; none by default."""
        return ()

    def check(self, name: str, head: Head) -> None:
        """Check that a head named `name` takes the prototypes that it gets.

        Raises:
            ConfigError: Labels or widths differ, or only one of the two uses prototypes.
        """
        given = self.spaces.get(name)
        if (given is not None) != head.uses_prototypes or (given is not None and given.labels != head.labels):
            takes = list(head.labels) if head.uses_prototypes else "none"
            raise ConfigError(
                f"The bridge gives {name!r} {'no prototypes' if given is None else list(given.labels)}; the head "
                f"takes {takes}.",
                remedy="Build a new model and start it with `init_from`; or see `use_classes`.",
            )
        if given is not None and head.width != self.num_features:
            raise ConfigError(
                f"The bridge's prototypes have {self.num_features} features; the head {name!r} compares "
                f"{head.width}.",
                remedy="Give the text tower and the backbone the same width.",
            )
