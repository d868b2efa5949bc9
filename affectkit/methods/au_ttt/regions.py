"""Heat maps of the regions in which action units appear."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from affectkit.facs import ActionUnit
from affectkit.models.regions import PatchRegions

__all__ = ["UnitMaps"]


class UnitMaps(PatchRegions):
    r"""Heat map of each unit: :math:`H(u) = \max_c \exp(-\lVert u - c \rVert^2 / 2\sigma^2)` over its centres c.

    Centres are those of `affectkit.models.regions.PatchRegions`, from landmarks, or a mean face where they are unknown.

    Args:
        units: The units, in order.
        sigma: σ as a fraction of the picture's side.

    Raises:
        LabelSpaceError: A unit has no known region.

    Example:
        >>> maps = UnitMaps([ActionUnit(12)]).heat(None, None, clips=1, picture=224, grid=14)
        >>> maps.shape, int((maps > 0.5).sum())
        (torch.Size([1, 1, 14, 14]), 36)
    """

    def __init__(self, units: Sequence[ActionUnit], *, sigma: float = 20 / 128) -> None:
        super().__init__(units)
        self.sigma = sigma

    def heat(
        self, landmarks: Tensor | None, mask: Tensor | None, *, clips: int, picture: int, grid: int
    ) -> Tensor:
        """Heat maps at the centres of `grid` × `grid` cells.

        Args:
            landmarks: float [B, 68, 2] in pixels of the picture; None for those of a mean face.
            mask: bool [B, 68], True for known landmarks; None if all are known.
            clips: B.
            picture: Side of the picture in pixels.
            grid: Cells per side.

        Returns:
            float32 [B, A, grid, grid] in [0, 1].
        """
        centres = self.centres(landmarks, mask, clips=clips, picture=picture)
        cells = (torch.arange(grid, device=centres.device) + 0.5) * (picture / grid) - 0.5
        across, down = (
            rearrange(centres[..., axis], "b a c -> b a c 1") - cells for axis in range(2)
        )  # both [B, A, C, grid]
        squared = (
            rearrange(down, "b a c y -> b a c y 1") ** 2 + rearrange(across, "b a c x -> b a c 1 x") ** 2
        )
        maps = torch.exp(-squared / (2 * (self.sigma * picture) ** 2))
        return (maps * rearrange(self.present, "a c -> a c 1 1")).amax(dim=2)
