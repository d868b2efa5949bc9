"""The LED network: a learned temporal filter and two small 3-D convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec, Normalize
from affectkit.models.registry import register
from affectkit.models.temporal.led import LEDFilter

__all__ = ["LEDBackbone"]

FRAMES = 6
SIZE = 64
WIDTH = 256


@register("backbone", "led")
class LEDBackbone(Backbone):
    """Sees how six grey frames of a clip change; gives one vector a clip and none a frame.

    Clips of another length are read at six evenly spaced frames. The filter's three numbers learn a thousand times
    faster than the rest in the publication: give `*.filter.*` a parameter group of its own.

    Args:
        dropout: Probability, three times.

    Example:
        >>> LEDBackbone()(torch.zeros(2, 6, 3, 64, 64, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 256])

    References:
        T. Varanka, W. Peng and G. Zhao, "Learnable Eulerian dynamics for micro-expression action unit detection",
        SCIA 2023.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_features = WIDTH
        self.input_spec = InputSpec(size=SIZE, frames=FRAMES, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.normalize = Normalize(self.input_spec)
        self.config = {"type": "led", "dropout": dropout}
        self.filter = LEDFilter()
        self.net = nn.Sequential(
            nn.Conv3d(1, 32, (1, 5, 5)),
            nn.MaxPool3d((1, 3, 3)),  # before the ReLU, with which it commutes: a ninth of the values is left
            nn.ReLU(),
            nn.BatchNorm3d(32),
            nn.Dropout3d(dropout),
            nn.Conv3d(32, 64, (2, 3, 3)),
            nn.MaxPool3d(2),
            nn.ReLU(),
            nn.BatchNorm3d(64),
            nn.Dropout3d(dropout),
            nn.Flatten(),
            nn.Linear(64 * 2 * 9 * 9, WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips.

        Args:
            frames: [B, T, 3, 64, 64] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True where a frame is real; padding comes last.

        Returns:
            `pooled` [B, 256].

        Raises:
            ValueError: The pictures are of another size.
        """
        if frames.shape[-2:] != (SIZE, SIZE):
            raise ValueError(f"The LED network reads {SIZE} by {SIZE} pixels, not {list(frames.shape[-2:])}.")
        kept = frames[
            torch.arange(frames.shape[0], device=frames.device)[:, None], _places(frames, frame_mask)
        ]
        rgb = self.normalize(kept)
        grey = 255 * (rgb * rgb.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=2, keepdim=True)
        motion = self.filter(grey).transpose(1, 2)
        return Features(pooled=self.net(motion), frame_mask=frame_mask)


def _places(frames: Tensor, frame_mask: Tensor | None) -> Tensor:
    """int64 [B, 6]: evenly spaced positions among the real frames."""
    length = frames.shape[1]
    real = (
        torch.full((frames.shape[0],), length, device=frames.device)
        if frame_mask is None
        else frame_mask.sum(dim=1)
    )
    steps = torch.linspace(0, 1, FRAMES, device=frames.device)
    return ((real.clamp(min=1) - 1)[:, None] * steps).round().long()
