"""Optical flow as the input of any backbone that encodes pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from affectkit.flow import check_flow, flow_picture
from affectkit.models.backbones.base import Backbone
from affectkit.models.features import Features
from affectkit.models.registry import build, register

__all__ = ["FlowBackbone"]


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
        See `affectkit.flow.flow_picture`, which makes the pictures.
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
        check_flow(size, shift, strain)
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
        flows = [flow_picture(pair, size=size, shift=self.shift, strain=self.strain) for pair in ends]
        return torch.stack(flows)[:, None].to(frames.device)
