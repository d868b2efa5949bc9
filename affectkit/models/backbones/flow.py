"""Optical flow as the input of any backbone that encodes pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features
from affectkit.models.registry import build, register

__all__ = ["FlowBackbone", "flow_picture"]


def flow_picture(pair: Tensor, size: int, *, shift: float = 4.0, strain: float = 0.5) -> Tensor:
    r"""Picture of the motion from one frame to another, by dense inverse search (DIS).

    The channels are the shift to the right u, the shift down v, and the magnitude of the optical strain,
    :math:`\sqrt{u_x^2 + v_y^2 + \frac12 (u_y + v_x)^2}`, scaled to 0-255; zero shift is 128.

    Args:
        pair: uint8 [2, 3, H, W] RGB, on the CPU.
        size: Side of the result in pixels.
        shift: Largest shift in pixels of the frames; larger ones are clipped.
        strain: Largest strain; larger ones are clipped.

    Returns:
        uint8 [3, size, size].

    Example:
        >>> flow_picture(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 28)[:, 0, 0]
        tensor([128, 128,   0], dtype=torch.uint8)

    References:
        T. Kroeger, R. Timofte, D. Dai and L. Van Gool, "Fast optical flow using dense inverse search", ECCV 2016.
        S.-T. Liong et al., "Shallow triple stream three-dimensional CNN (STSTNet) for micro-expression
        recognition", FG 2019, whose input has these channels.
    """
    import cv2

    frames = pair.permute(0, 2, 3, 1).contiguous().numpy()
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(first, second, np.zeros((*first.shape, 2), np.float32))  # [H, W, 2], in pixels
    u, v = torch.from_numpy(flow).unbind(-1)
    u_y, u_x = torch.gradient(u)
    v_y, v_x = torch.gradient(v)
    magnitude = (u_x.square() + v_y.square() + 0.5 * (u_y + v_x).square()).sqrt()
    picture = torch.stack([(u / shift + 1) / 2, (v / shift + 1) / 2, magnitude / strain])[None]
    if (size, size) != picture.shape[-2:]:
        picture = F.interpolate(picture, (size, size), mode="bilinear", antialias=True)
    return (picture[0] * 255 + 0.5).clamp(0, 255).to(torch.uint8)


@register("backbone", "flow")
class FlowBackbone(Backbone):
    """Optical flow from the first to the last real frame, as one picture that another backbone encodes.

    Clips must end at the apex, as those of `affectkit.data.OnsetApex` do. The flow is computed from the pictures that
    the model reads, so training, `affectkit predict` and spotting need no transform of their own. OpenCV computes it on
    the CPU without gradients: such a model cannot be exported.

    Args:
        backbone: The backbone that encodes the pictures, or its configuration.
        size: Height and width in pixels of the frames; those of the backbone's pictures by default.
        shift: Largest shift in pixels of the frames; larger ones are clipped.
        strain: Largest strain; larger ones are clipped.

    Attributes:
        backbone: As given.
        num_features: Width of the backbone.

    Raises:
        ConfigError: A value is not positive.

    Example:
        >>> backbone = FlowBackbone({"type": "ststnet"}, size=64)
        >>> backbone(torch.zeros(2, 5, 3, 64, 64, dtype=torch.uint8)).frames.shape
        torch.Size([2, 1, 400])

    References:
        See `flow_picture`, which makes the pictures.
    """

    def __init__(
        self,
        backbone: Backbone | Mapping[str, Any],
        *,
        size: int | None = None,
        shift: float = 4.0,
        strain: float = 0.5,
    ) -> None:
        super().__init__()
        if min(shift, strain, 1 if size is None else size) <= 0:
            raise ConfigError(f"The size {size}, shift {shift} and strain {strain} must be positive.")
        self.backbone: Backbone = build("backbone", backbone) if isinstance(backbone, Mapping) else backbone
        self.shift, self.strain = shift, strain
        self.num_features = self.backbone.num_features
        given = self.backbone.input_spec
        self.input_spec = replace(given, size=given.size if size is None else size)
        self.config = {
            "type": "flow",
            "backbone": self.backbone.config,
            "size": self.input_spec.size,
            "shift": shift,
            "strain": strain,
        }

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips; features have one frame, the flow."""
        self.check_size(frames)
        return self.backbone(self.pictures(frames, frame_mask))  # type: ignore[no-any-return]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def pictures(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Flow pictures uint8 [B, 1, 3, S, S] of clips [B, T, 3, H, W], for S the size that the backbone reads."""
        B, T = frames.shape[:2]
        pixels = frames if frames.dtype == torch.uint8 else (frames * 255).round().to(torch.uint8)
        mask = torch.ones(B, T, dtype=torch.bool) if frame_mask is None else frame_mask.cpu()
        last = mask.sum(dim=1).clamp(min=1) - 1  # padding is last
        ends = torch.stack([pixels[:, 0], pixels[torch.arange(B), last]], dim=1).cpu()
        size = self.backbone.input_spec.size
        flows = [flow_picture(pair, size, shift=self.shift, strain=self.strain) for pair in ends]
        return torch.stack(flows)[:, None].to(frames.device)
