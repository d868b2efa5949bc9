"""Base class of temporal modules, and the mean over frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features
from affectkit.models.registry import register

__all__ = ["MeanPool", "Temporal", "frames_of"]


class Temporal(nn.Module, ABC):
    """Base class of temporal modules, which relate the frames of a clip between backbone and heads.

    A subclass is registered under a name, takes `in_features` first, sets `num_features` (its output width) and stores
    its other constructor arguments in `config`. Padding frames never change the output of real frames.

    Args:
        in_features: Width D of the frame vectors.
    """

    num_features: int
    config: dict[str, Any]

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.num_features = in_features

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Relate frames.

        Args:
            features: With `frames` [B, T, in_features].

        Returns:
            `pooled` [B, D] and `frames` [B, T, D]; `tokens` and `frame_mask` are unchanged.
        """


def frames_of(features: Features, max_frames: int | None = None) -> Tensor:
    """Frame vectors [B, T, D] of clips with at most `max_frames` frames.

    Raises:
        ValueError: The backbone gives no frame vectors.
        ConfigError: The clip is longer than `max_frames`.
    """
    if features.frames is None:
        raise ValueError("This backbone gives no vectors for single frames.")
    length = features.frames.shape[1]
    if max_frames is not None and length > max_frames:
        raise ConfigError(
            f"The clip has {length} frames, but max_frames is {max_frames}.",
            remedy="Cut the clip into windows, or train a model with a larger max_frames.",
        )
    return features.frames


@register("temporal", "mean")
class MeanPool(Temporal):
    """Mean over the real frames as clip vector; frame vectors are unchanged.

    Example:
        >>> import torch
        >>> MeanPool(2)(Features(torch.zeros(1, 2), frames=torch.ones(1, 4, 2))).pooled
        tensor([[1., 1.]])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.config = {"type": "mean"}

    def forward(self, features: Features) -> Features:
        """Set `pooled` to the mean."""
        return Features.of_frames(frames_of(features), features.frame_mask, features.tokens)
