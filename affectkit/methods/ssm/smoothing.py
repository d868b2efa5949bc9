"""Learned smoothing of logits over the frames of a clip."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SmoothLogits", "Smoothing"]

Smoothing = Literal["none", "frames", "pairs"]
KERNEL = 5


class SmoothLogits(nn.Module):
    """Learned filter of five frames for each label, initially their mean.

    Args:
        labels: Number of labels L.
        over: "frames" filters over the clip with repeated ends; padding takes the logits of the nearest earlier real
            frame. "pairs" is the smoothing of the released SSM: each pair of consecutive frames is filtered alone, with
            zeros around it, so that a new filter gives a fifth of their sum; padding is zero, and the last frame of an
            odd clip is filtered alone.

    Example:
        >>> SmoothLogits(1, "frames")(torch.tensor([[[0.0], [5.0], [0.0]]])).flatten().tolist()
        [1.0, 1.0, 1.0]
        >>> SmoothLogits(1, "pairs")(torch.tensor([[[0.0], [5.0], [0.0]]])).flatten().tolist()
        [1.0, 1.0, 0.0]

    References:
        SSM, arXiv 2604.10541 ("frames" is ours).
    """

    def __init__(self, labels: int, over: Literal["frames", "pairs"]) -> None:
        super().__init__()
        self.over = over
        self.weight = nn.Parameter(torch.full((labels, 1, KERNEL), 1 / KERNEL))

    def forward(self, logits: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Smooth logits.

        Args:
            logits: [..., T, L]; [N, L] for N stills.
            frame_mask: bool [B, T], True for real frames; None if all are real.

        Returns:
            The same shape.
        """
        if logits.ndim < 3:
            return self.forward(logits.unsqueeze(-2), frame_mask).squeeze(-2)
        x = logits.flatten(0, -3)
        place = torch.arange(x.shape[1], device=x.device)
        if self.over == "pairs":
            if frame_mask is not None:
                x = x.masked_fill(~frame_mask.unsqueeze(-1), 0.0)
            earlier, own, later = self.weight[:, 0, 1:4].to(x.dtype).unbind(1)
            wider = F.pad(x, (0, 0, 1, 1))
            first = (place % 2 == 0).unsqueeze(-1)
            partner = torch.where(first, later * wider[:, 2:], earlier * wider[:, :-2])
            return (own * x + partner).reshape(logits.shape)
        if frame_mask is not None:
            source = place.where(frame_mask, -1).cummax(1).values
            start = frame_mask.to(torch.uint8).argmax(1, keepdim=True)  # for padding before all real frames
            x = x.gather(1, source.where(source >= 0, start).unsqueeze(-1).expand_as(x))
        x = F.pad(x.mT, (KERNEL // 2, KERNEL // 2), mode="replicate")
        return F.conv1d(x, self.weight.to(x.dtype), groups=x.shape[1]).mT.reshape(logits.shape)
