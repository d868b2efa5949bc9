"""Base class of backbones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.features import Features, InputSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, ABC):
    """Base class of backbones, which encode the frames of a clip, one by one or together.

    A subclass is registered under a name, sets `num_features` and `input_spec`, and normalises its input. `config`
    holds every constructor argument that shapes it, but not the sources of initial weights (`pretrained`, `weights`): a
    saved model contains its own weights.
    """

    num_features: int
    signals: tuple[str, ...] = ()
    """Signals that `forward` needs besides the frames, as arguments `signals` and `signals_mask`."""
    reads_pictures: bool = True
    """Whether `forward` reads the pixels of the frames; if not, datasets do not decode them."""
    reads_landmarks: bool = False
    """Whether `forward` takes the arguments `landmarks` and `landmarks_mask`, both optional."""
    input_spec: InputSpec
    config: dict[str, Any]

    @abstractmethod
    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True for real frames; None if all are real.
        """

    def levels(self, frames: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of single blocks, for parts that combine several depths.

        Args:
            frames: As for `forward`.
            blocks: Numbers of blocks from 1, ascending; a convolutional network counts its stem as the first.

        Returns:
            For each block, vectors of its places [B, T, N, D], row by row, without class tokens. N and D may differ.

        Raises:
            ConfigError: The backbone does not give them, or has no such block.
        """
        raise ConfigError(
            f"{type(self).__name__} does not give the outputs of single blocks.",
            remedy="Use a ClipBackbone or a TimmBackbone.",
        )

    def check_size(self, frames: Tensor) -> None:
        """Raise ValueError if the pictures differ in size from `input_spec`."""
        size = self.input_spec.size
        if frames.shape[-2:] != (size, size):
            given = list(frames.shape[-2:])
            raise ValueError(f"{type(self).__name__} reads {size} by {size} pixels, not {given}.")
