"""The contract of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from affectkit.models.features import Features, InputSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, ABC):
    """Encodes the frames of a clip, each by itself or together.

    A subclass is registered under a name, sets `num_features` and `input_spec`, normalises its input itself,
    and keeps in `config` every constructor argument that shapes it. Where initial weights come from is said
    by the arguments `pretrained` and `weights`, which `config` leaves out: a saved model brings its own
    weights.
    """

    num_features: int
    signals: tuple[str, ...] = ()
    """Signals that `forward` needs besides the frames, as arguments `signals` and `signals_mask`."""
    input_spec: InputSpec
    config: dict[str, Any]

    @abstractmethod
    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True where a frame is real; None where all are.
        """
