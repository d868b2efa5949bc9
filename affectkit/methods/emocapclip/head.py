"""Expression classes by the texts that are nearest to a clip."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.methods.emocapclip.local import clip_vectors
from affectkit.models.features import Features
from affectkit.models.heads import ExpressionHead
from affectkit.models.registry import build, register

__all__ = ["ZeroShotHead"]


@register("head", "zero_shot")
class ZeroShotHead(ExpressionHead):
    r"""Exclusive expression classes without parameters, :math:`z = s \cos(v, t)`, p = softmax(z).

    v is the vector of a clip, the mean of its frames' unit vectors, and t that of a class, from a bridge.

    Args:
        in_features: Width D of the features.
        space: The classes, or their name.
        scale: s; that of OpenAI's models is 100.
        target: Name of the annotation to compare with.

    Attributes:
        prototypes: float [E, D], a buffer.

    Raises:
        ConfigError: `scale` is not positive.

    Example:
        >>> head = ZeroShotHead(8, "basic7")
        >>> head(torch.ones(3, 8), torch.eye(7, 8)).shape
        torch.Size([3, 7])
    """

    uses_prototypes = True
    answers_by = "prototypes"
    meaning = "probability of each class, by its texts; they sum to 1"

    def __init__(
        self, in_features: int, space: str | LabelSpace, *, scale: float = 100.0, target: str | None = None
    ) -> None:
        super().__init__(in_features, space, target=target)
        if not scale > 0:
            raise ConfigError(f"scale={scale} must be positive.")
        del self.body, self.out
        self.scale = scale
        self.register_buffer("prototypes", torch.zeros(len(self.space), in_features))
        chosen = {"target": target} if target is not None else {}
        self.arguments: dict[str, Any] = {"space": self.space.name, "scale": scale, **chosen}

    def forward(self, features: Features | Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Logits [B, E], or [..., E] for a tensor [..., D].

        Args:
            features: Features, or vectors of clips.
            prototypes: [E, D]; the head's own by default.
        """
        given = self.prototypes if prototypes is None else prototypes
        vectors = (
            clip_vectors(features)
            if isinstance(features, Features)
            else F.normalize(features.float(), dim=-1)
        )
        with torch.autocast(vectors.device.type, enabled=False):
            cosine = vectors.float() @ F.normalize(given.float(), dim=-1).T
        return (self.scale * cosine).to(self.prototypes.dtype)

    def by_prototypes(self, space: LabelSpace | None = None, prototypes: Tensor | None = None) -> Self:
        """See `Head`."""
        space = self.space if space is None else space
        head: Self = build("head", {**self.config, "space": space.name}, in_features=self.in_features)
        head.to(self.prototypes)
        head.prototypes.copy_(self.prototypes if prototypes is None else prototypes)
        return head.train(self.training)
