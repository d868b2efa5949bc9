"""Optical flow as pictures, for transforms of data and for models."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["check_flow", "flow_picture"]


def check_flow(size: int | None, shift: float, strain: float) -> None:
    """Raise ConfigError unless all arguments of `flow_picture` are positive."""
    if min(shift, strain, 1 if size is None else size) <= 0:
        raise ConfigError(f"The size {size}, shift {shift} and strain {strain} must be positive.")


def flow_picture(pair: Tensor, *, size: int | None = None, shift: float = 4.0, strain: float = 0.5) -> Tensor:
    r"""Picture of the motion from one frame to another, by dense inverse search (DIS).

    The channels are the shift to the right u, the shift down v, and the magnitude of the optical strain,
    :math:`\sqrt{u_x^2 + v_y^2 + \frac12 (u_y + v_x)^2}`, scaled to 0-255; zero shift is 128.

    Args:
        pair: uint8 [2, 3, H, W] RGB, on the CPU.
        size: Side of the result in pixels; the size of the frames by default.
        shift: Largest shift in pixels of the frames; larger ones are clipped.
        strain: Largest strain; larger ones are clipped.

    Returns:
        uint8 [3, H, W], or [3, size, size].

    Example:
        >>> flow_picture(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), size=28)[:, 0, 0]
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
    if size is not None and (size, size) != picture.shape[-2:]:
        picture = F.interpolate(picture, (size, size), mode="bilinear", antialias=True)
    return (picture[0] * 255 + 0.5).clamp(0, 255).to(torch.uint8)
