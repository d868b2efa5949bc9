"""Optical flow between two frames of a clip, as a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.data.clip import Clip
from affectkit.data.transforms import ClipTransform
from affectkit.errors import ConfigError

__all__ = ["OpticalFlow"]


@dataclass(frozen=True)
class OpticalFlow(ClipTransform):
    r"""Replace a clip by one picture of the motion from the first frame to the apex.

    The channels are the shift to the right u, the shift down v, and the magnitude of the optical strain,
    :math:`\sqrt{u_x^2 + v_y^2 + \frac12 (u_y + v_x)^2}`, scaled to 0-255; zero shift is 128. The apex is the key frame
    if it was sampled, else the last real frame. The flow is by dense inverse search (DIS). Frame labels become those of
    the apex. Flips and crops must come before this transform.

    Args:
        size: Side of the result in pixels; the size of the frames by default.
        shift: Largest shift in pixels of the frames; larger ones are clipped.
        strain: Largest strain; larger ones are clipped.

    Raises:
        ConfigError: A value is not positive.

    Example:
        >>> clip = Clip.make(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
        >>> OpticalFlow(size=28)(clip).frames[0, :, 0, 0]
        tensor([128, 128,   0], dtype=torch.uint8)

    References:
        T. Kroeger, R. Timofte, D. Dai and L. Van Gool, "Fast optical flow using dense inverse search", ECCV 2016.
        S.-T. Liong et al., "Shallow triple stream three-dimensional CNN (STSTNet) for micro-expression
        recognition", FG 2019, whose input has these channels.
    """

    size: int | None = None
    shift: float = 4.0
    strain: float = 0.5

    def __post_init__(self) -> None:
        if min(self.shift, self.strain, 1 if self.size is None else self.size) <= 0:
            raise ConfigError(
                f"The size {self.size}, shift {self.shift} and strain {self.strain} must be positive."
            )

    def __call__(self, clip: Clip, rng: torch.Generator | None = None) -> Clip:
        """See `ClipTransform`."""
        last = int(clip.frame_mask.nonzero().max()) if clip.frame_mask.any() else 0
        apex = int(clip.key_frames[1]) if clip.key_frames[1] >= 0 else last
        u, v = _compute_flow(clip.frames[0], clip.frames[apex])
        u_y, u_x = torch.gradient(u)
        v_y, v_x = torch.gradient(v)
        strain = (u_x.square() + v_y.square() + 0.5 * (u_y + v_x).square()).sqrt()
        scaled = [(u / self.shift + 1) / 2, (v / self.shift + 1) / 2, strain / self.strain]
        picture = torch.stack(scaled)[None]
        if self.size is not None:
            picture = F.interpolate(picture, (self.size, self.size), mode="bilinear", antialias=True)
        scale = torch.tensor([picture.shape[-1], picture.shape[-2]]) / torch.tensor(clip.frames.shape[:-3:-1])
        keep = slice(apex, apex + 1)
        return replace(
            clip,
            frames=(picture * 255 + 0.5).clamp(0, 255).to(torch.uint8),
            frame_mask=clip.frame_mask[keep],
            targets={
                name: target.map(lambda values: values[keep]) if target.leading == 1 else target
                for name, target in clip.targets.items()
            },
            landmarks=(clip.landmarks[keep] + 0.5) * scale - 0.5,
            landmarks_mask=clip.landmarks_mask[keep],
            key_frames=torch.tensor([-1, 0, -1]),
        )


def _compute_flow(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Shifts u and v, float32 [H, W] in pixels, from the first frame to the second."""
    import cv2

    grey = [cv2.cvtColor(frame.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))
    u, v = torch.from_numpy(flow).unbind(-1)
    return u, v
