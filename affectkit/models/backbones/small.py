"""Small networks for micro-expressions: LED on grey frames, STSTNet and OFF-ApexNet on optical flow."""

from __future__ import annotations

from abc import abstractmethod

import torch
from einops import rearrange, reduce
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec, Normalize
from affectkit.models.registry import register
from affectkit.models.temporal.motion import LEDFilter

__all__ = ["LEDBackbone", "LEDMaps", "OffApexNet", "STSTNet"]


class _FlowNet(Backbone):
    """Encode pictures of optical flow, made from frames by a `FlowBackbone` around this network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        # Shifts in -1..1, strain in 0..1.
        self.input_spec = InputSpec(size=28, mean=(0.5, 0.5, 0.0), std=(0.5, 0.5, 1.0))
        self.normalize = Normalize(self.input_spec)

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode flow pictures [B, T, 3, 28, 28]: see `flow_picture` for the channels."""
        self.check_size(frames)
        vectors = self.encode(self.normalize(rearrange(frames, "b t c h w -> (b t) c h w")))
        return Features.of_frames(rearrange(vectors, "(b t) d -> b t d", b=frames.shape[0]), frame_mask)

    @abstractmethod
    def encode(self, pictures: Tensor) -> Tensor:
        """Vectors [N, D] of normalised pictures [N, 3, 28, 28]."""


@register("backbone", "ststnet")
class STSTNet(_FlowNet):
    """Three shallow streams of 3, 5 and 8 filters over shift and strain, concatenated and averaged.

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
        super().__init__(num_features=400)
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
        """See `_FlowNet`."""
        maps = torch.cat([stream(pictures) for stream in self.streams], dim=1)
        return rearrange(F.avg_pool2d(maps, 2), "n c h w -> n (c h w)")


@register("backbone", "offapexnet")
class OffApexNet(_FlowNet):
    """One stream for each direction of the shift, then two dense layers. The strain is ignored.

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
        super().__init__(num_features=1024)
        self.config = {"type": "offapexnet", "dropout": dropout}
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                Rearrange("n c h w -> n (c h w)"),
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
        """See `_FlowNet`."""
        halves = [stream(pictures[:, k : k + 1]) for k, stream in enumerate(self.streams)]
        dense: Tensor = self.dense(torch.cat(halves, dim=1))
        return dense


@register("backbone", "led")
class LEDBackbone(Backbone):
    """Learned temporal filter over six grey frames and two 3-D convolutions; one vector per clip, none per frame.

    Clips of another length are sampled at six evenly spaced frames. In the publication, the filter's three numbers have
    a learning rate a thousand times larger: give `*.filter.*` a parameter group of its own.

    Args:
        dropout: Probability, three times.

    Example:
        >>> LEDBackbone()(torch.zeros(2, 6, 3, 64, 64, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 256])

    References:
        T. Varanka et al., SCIA 2023, see `LEDFilter`.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_features = 256
        self.input_spec = InputSpec(size=64, frames=6, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.normalize = Normalize(self.input_spec)
        self.config = {"type": "led", "dropout": dropout}
        self.filter = LEDFilter()
        self.net = nn.Sequential(
            nn.Conv3d(1, 32, (1, 5, 5)),
            nn.MaxPool3d((1, 3, 3)),  # commutes with the ReLU, which then processes a ninth of the values
            nn.ReLU(),
            nn.BatchNorm3d(32),
            nn.Dropout3d(dropout),
            nn.Conv3d(32, 64, (2, 3, 3)),
            nn.MaxPool3d(2),
            nn.ReLU(),
            nn.BatchNorm3d(64),
            nn.Dropout3d(dropout),
            Rearrange("b c t h w -> b (c t h w)"),
            nn.Linear(64 * 2 * 9 * 9, self.num_features),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode clips [B, T, 3, 64, 64] with padding last to `pooled` [B, 256]."""
        return Features(pooled=self.net(self.motion(frames, frame_mask)), frame_mask=frame_mask)

    def motion(self, frames: Tensor, frame_mask: Tensor | None) -> Tensor:
        """Output [B, 1, 5, 64, 64] of the temporal filter for clips [B, T, 3, 64, 64]."""
        self.check_size(frames)
        B, T = frames.shape[:2]
        length = frames.new_full((B,), T, dtype=torch.long) if frame_mask is None else frame_mask.sum(dim=1)
        steps = torch.linspace(0, 1, self.input_spec.frames, device=frames.device)
        places = ((length.clamp(min=1) - 1)[:, None] * steps).round().long()
        rgb = self.normalize(frames[torch.arange(B, device=frames.device)[:, None], places])
        luma = rearrange(rgb.new_tensor([0.299, 0.587, 0.114]), "c -> c 1 1")
        grey = 255 * reduce(rgb * luma, "b t c h w -> b t 1 h w", "sum")
        filtered: Tensor = self.filter(grey)
        return rearrange(filtered, "b t c h w -> b c t h w")


@register("backbone", "led_maps")
class LEDMaps(LEDBackbone):
    """`LEDBackbone` up to its second convolution: maps of 18 by 18 places at four times, for heads that use places.

    Args:
        dropout: Probability, once: of whole channels of the first convolution.

    Example:
        >>> features = LEDMaps()(torch.zeros(2, 6, 3, 64, 64, dtype=torch.uint8))
        >>> features.tokens.shape, features.pooled.shape
        (torch.Size([2, 4, 324, 64]), torch.Size([2, 64]))

    References:
        T. Varanka et al., SCIA 2023, see `LEDFilter`.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__(dropout=dropout)
        self.num_features = 64
        self.config = {"type": "led_maps", "dropout": dropout}
        self.net = nn.Sequential(*list(self.net)[:6], nn.ReLU(), nn.BatchNorm3d(64))

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode clips [B, T, 3, 64, 64] with padding last to `tokens` [B, 4, 324, 64], row by row."""
        maps = self.net(self.motion(frames, frame_mask))
        return Features(
            pooled=reduce(maps, "b c t h w -> b c", "mean"),
            tokens=rearrange(maps, "b c t h w -> b t (h w) c"),
        )
