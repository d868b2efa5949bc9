"""MobileFaceNet, a small network for pictures of 112 by 112 pixels."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features, InputSpec, Normalize
from affectkit.models.registry import register

__all__ = ["MobileFaceNet"]

# Channels, inner channels of the block with a stride, and number of blocks after it.
_STAGES = ((128, 128, 4), (256, 256, 6), (256, 512, 2))


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, linear: bool = False
) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless linear, PReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers) if linear else nn.Sequential(*layers, nn.PReLU(outputs))


class _Bottleneck(nn.Sequential):
    """Depthwise convolution between two pointwise ones; added to its input without a stride."""

    def __init__(self, inputs: int, outputs: int, inner: int, stride: int) -> None:
        super().__init__(
            _conv(inputs, inner),
            _conv(inner, inner, 3, stride, inner),
            _conv(inner, outputs, linear=True),
        )
        self.is_residual = stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        """From [N, C, H, W] to [N, C', H / stride, W / stride]."""
        change = maps
        for layer in self:
            change = layer(change)
        return maps + change if self.is_residual else change


@register("backbone", "mobilefacenet")
class MobileFaceNet(Backbone):
    """MobileFaceNet of 2.06 million parameters, with 512 features per frame; it encodes the frames one by one.

    The variant of InsightFace, of double width. Pictures are 112 by 112 pixels.

    Example:
        >>> import torch
        >>> MobileFaceNet().eval()(torch.zeros(2, 1, 3, 112, 112, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 512])

    References:
        S. Chen, Y. Liu, X. Gao and Z. Han, "MobileFaceNets: efficient CNNs for accurate real-time face verification on
        mobile devices", CCBR 2018.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 512
        self.input_spec = InputSpec(size=112, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.normalize = Normalize(self.input_spec)
        self.config = {"type": "mobilefacenet"}
        stages: list[nn.Module] = [_conv(3, 128, 3, 2), _conv(128, 128, 3, groups=64)]
        width = 128
        for channels, inner, blocks in _STAGES:
            stages.append(_Bottleneck(width, channels, inner, 2))
            stages.append(
                nn.Sequential(*(_Bottleneck(channels, channels, channels, 1) for _ in range(blocks)))
            )
            width = channels
        self.body = nn.Sequential(*stages)
        self.last = _conv(width, 512)
        # One weight for each place and channel instead of an average.
        self.pool = nn.Sequential(nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512))
        self.out = nn.Linear(512, 512, bias=False)
        self.norm = nn.BatchNorm1d(512)

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips [B, T, 3, 112, 112]."""
        self.check_size(frames)
        pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
        maps = self.pool(self.last(self.body(pictures)))
        vectors = self.norm(self.out(rearrange(maps, "n c 1 1 -> n c")))
        return Features.of_frames(rearrange(vectors, "(b t) d -> b t d", b=frames.shape[0]), frame_mask)
