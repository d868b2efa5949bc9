"""The contract of a temporal module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from affectkit.models.features import Features

__all__ = ["Temporal", "frames_of"]


class Temporal(nn.Module, ABC):
    """Relates the frames of a clip; stands between a backbone and the heads.

    A subclass is registered under a name, takes `in_features` first, sets `num_features` (the width it gives)
    and keeps its other constructor arguments in `config`. Padding frames never change what real frames get.
    """

    num_features: int
    config: dict[str, Any]

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Relate frames.

        Args:
            features: With `frames` [B, T, in_features].

        Returns:
            With `pooled` [B, D] and `frames` [B, T, D]; tokens and mask pass through.
        """


def frames_of(features: Features) -> Tensor:
    """The frame vectors [B, T, D] of a clip.

    Raises:
        ValueError: The backbone gives none.
    """
    if features.frames is None:
        raise ValueError("This backbone gives no vectors for single frames.")
    return features.frames
