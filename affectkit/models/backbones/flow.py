"""Small networks that read optical flow; the strongest public baselines for micro-expressions are of this kind."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec, Normalize
from affectkit.models.registry import register

__all__ = ["OffApexNet", "STSTNet"]

SIZE = 28
_SPEC = InputSpec(size=SIZE, mean=(0.5, 0.5, 0.0), std=(0.5, 0.5, 1.0))  # shifts in -1..1, strain in 0..1


class _FlowNet(Backbone):
    """Encodes every picture of flow by itself; see `affectkit.data.OpticalFlow` for what the channels hold."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.input_spec = _SPEC
        self.normalize = Normalize(_SPEC)

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of flow pictures.

        Args:
            frames: [B, T, 3, 28, 28]: shift right, shift down and strain, as `OpticalFlow` scales them.
            frame_mask: bool [B, T], True where a picture is real.

        Returns:
            `pooled` [B, D] and `frames` [B, T, D].

        Raises:
            ValueError: The pictures are of another size.
        """
        if frames.shape[-2:] != (SIZE, SIZE):
            raise ValueError(f"Flow networks read {SIZE} by {SIZE} pixels, not {list(frames.shape[-2:])}.")
        vectors = self.encode(self.normalize(frames.flatten(0, 1)))
        return Features.of_frames(vectors.reshape(*frames.shape[:2], -1), frame_mask)

    @abstractmethod
    def encode(self, pictures: Tensor) -> Tensor:
        """[N, D] from normalised pictures [N, 3, 28, 28]."""


@register("backbone", "ststnet")
class STSTNet(_FlowNet):
    """Three shallow streams of 3, 5 and 8 filters over shift and strain, joined and averaged.

    Args:
        dropout: Probability, in every stream.

    Example:
        >>> STSTNet()(torch.zeros(2, 1, 3, 28, 28, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 400])

    References:
        S.-T. Liong, Y. S. Gan, J. See, H.-Q. Khor and Y.-C. Huang, "Shallow triple stream three-dimensional CNN
        (STSTNet) for micro-expression recognition", FG 2019.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__(width=400)
        self.config = {"type": "ststnet", "dropout": dropout}
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, filters, 3, padding=2),
                nn.ReLU(),
                nn.BatchNorm2d(filters),
                nn.MaxPool2d(3, stride=3, padding=1),
                nn.Dropout(dropout),
            )
            for filters in (3, 5, 8)
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """[N, 400] from normalised pictures [N, 3, 28, 28]."""
        joined = torch.cat([stream(pictures) for stream in self.streams], dim=1)
        return nn.functional.avg_pool2d(joined, 2).flatten(1)


@register("backbone", "offapexnet")
class OffApexNet(_FlowNet):
    """One stream for each direction of the shift, then two dense layers. The strain is not read.

    Args:
        dropout: Probability, before the dense layers.

    Example:
        >>> OffApexNet()(torch.zeros(2, 1, 3, 28, 28, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 1024])

    References:
        Y. S. Gan, S.-T. Liong, W.-C. Yau, Y.-C. Huang and L.-K. Tan, "OFF-ApexNet on micro-expression recognition
        system", Signal Processing: Image Communication 74, 2019.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__(width=1024)
        self.config = {"type": "offapexnet", "dropout": dropout}
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
            )
            for _ in range(2)
        )
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * 16 * 7 * 7, 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(1024, 1024),
            nn.ReLU(),
        )

    def encode(self, pictures: Tensor) -> Tensor:
        """[N, 1024] from normalised pictures [N, 3, 28, 28]."""
        halves = [stream(pictures[:, k : k + 1]) for k, stream in enumerate(self.streams)]
        dense: Tensor = self.dense(torch.cat(halves, dim=1))
        return dense
