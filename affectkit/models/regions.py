"""Patches of a picture where each action unit is visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import REGIONS, ActionUnit
from affectkit.facs.mean_shape import MEAN_SHAPE_68

__all__ = ["PatchRegions"]

Side = Literal[2, 3]

_CENTRES = 2  # the most that a unit has
_FALLOFF = 3.0  # distance in patches at which the weight is 0
_EYE_CORNERS = (39, 42)


class PatchRegions(nn.Module):
    r"""Patches around the centres of each unit, with weights that decrease with the distance.

    The centres are those of `affectkit.facs.region_centres`. The region of a unit is the 3 × 3 patches around each
    centre's patch, or the 2 × 2 patches nearest to each centre, with weights :math:`\max(0, 1 - d_1 / 3)` for the
    city-block distance d in patches to the patch of the nearer centre. If a landmark of a centre is unknown or not
    finite, the centre of a mean face that fills the picture is used.

    Args:
        units: The units, in order.
        side: Patches per side of a region, S, 3 or 2; 2 for coarse grids, where 3 × 3 patches cover several regions.

    Raises:
        LabelSpaceError: A unit has no known region.
        ConfigError: `side` is neither 3 nor 2.

    Example:
        >>> regions = PatchRegions([ActionUnit(12)])
        >>> places, weights = regions(None, None, clips=1, picture=224, grid=14)
        >>> places.shape, int((weights > 0).sum())
        (torch.Size([1, 1, 18]), 18)

    References:
        Z. Shao et al., "JAA-Net", IJCV 2021, for the centres of most units.
    """

    mean: Tensor
    average: Tensor
    offset: Tensor
    present: Tensor

    def __init__(self, units: Sequence[ActionUnit], *, side: Side = 3) -> None:
        super().__init__()
        if side not in get_args(Side):
            raise ConfigError(f"A region has 3 × 3 or 2 × 2 patches, not {side} × {side}.")
        self.side = side
        table = REGIONS["affectkit"].centres
        if unknown := [str(unit) for unit in units if unit.id not in table]:
            known = ", ".join(f"AU{number}" for number in sorted(table))
            raise LabelSpaceError(
                f"There is no region for {', '.join(unknown)}.", remedy=f"Use only units of {known}."
            )
        average = torch.zeros(len(units), _CENTRES, 68)
        offset = torch.zeros(len(units), _CENTRES, 2)
        present = torch.zeros(len(units), _CENTRES, dtype=torch.bool)
        for row, unit in enumerate(units):
            centres = [c for c in table[unit.id] if unit.side is None or c.side in (None, unit.side)]
            for column, centre in enumerate(centres):
                average[row, column, list(centre.points)] = 1 / len(centre.points)
                outward = {"R": -1.0, "L": 1.0, None: 0.0}[centre.side] * centre.outward
                offset[row, column] = torch.tensor([outward, centre.down])
                present[row, column] = True
        tables = {
            "average": average,
            "offset": offset,
            "present": present,
            "mean": torch.tensor(MEAN_SHAPE_68),
        }
        for name, values in tables.items():
            self.register_buffer(name, values, persistent=False)  # constants, nothing learned

    def centres(self, landmarks: Tensor | None, mask: Tensor | None, *, clips: int, picture: int) -> Tensor:
        """Centres in pixels.

        Args:
            landmarks: float [B, 68, 2] in pixels of the picture, with integers at pixel centres; or None.
            mask: bool [B, 68], True for known landmarks; None if all are known.
            clips: B.
            picture: Side of the picture in pixels.

        Returns:
            float32 [B, A, 2, 2]: up to two centres (x, y) for each unit; see `present`.
        """
        mean = self._centres_of(self.mean.float()[None] * picture - 0.5).expand(clips, -1, -1, -1)
        if landmarks is None:
            return mean
        known = landmarks.isfinite().all(dim=-1)
        if mask is not None:
            known = known & mask
        found = self._centres_of(torch.where(known[..., None], landmarks.float(), 0.0))
        needed = (self.average > 0).float()
        lacking = torch.einsum("bp,acp->bac", (~known).float(), needed) > 0
        lacking |= rearrange(~known[:, _EYE_CORNERS].all(dim=1), "b -> b 1 1")
        return torch.where(lacking[..., None], mean, found)

    def forward(
        self, landmarks: Tensor | None, mask: Tensor | None, *, clips: int, picture: int, grid: int
    ) -> tuple[Tensor, Tensor]:
        """Patches of every unit in a grid of `grid` patches per side; see `centres` for the other arguments.

        Returns:
            Patch numbers, row by row, int64 [B, A, 2 S²], and weights float32 [B, A, 2 S²]; 0 for entries outside the
            picture and for repeated patches.
        """
        centres = self.centres(landmarks, mask, clips=clips, picture=picture)
        spot = ((centres + 0.5) * (grid / picture)).clamp(0, grid)  # in patches
        home = spot.floor().long().clamp(max=grid - 1)
        first = home - 1 if self.side == 3 else home - (spot - home < 0.5).long()
        step = torch.arange(self.side, device=home.device)
        around = rearrange(list(torch.meshgrid(step, step, indexing="xy")), "xy r c -> (r c) xy")
        places = first[:, :, :, None] + around  # [B, A, 2, S², 2]
        inside = ((places >= 0) & (places < grid)).all(dim=-1) & self.present[:, :, None]
        distance = (places[:, :, :, :, None] - home[:, :, None, None]).abs().sum(dim=-1).float()
        distance = distance.masked_fill(~self.present[:, None, None, :], torch.inf).amin(dim=-1)
        weights = rearrange((1 - distance / _FALLOFF).clamp(min=0) * inside, "b a c p -> b a (c p)")
        column, row = places.clamp(0, grid - 1).unbind(-1)
        numbers = rearrange(row * grid + column, "b a c p -> b a (c p)")
        # A patch of both centres counts once; an entry outside the picture must not hide one inside.
        same = (numbers[..., :, None] == numbers[..., None, :]) & (weights > 0)[..., None, :]
        repeated = same.tril(diagonal=-1).any(dim=-1)
        return numbers, weights.masked_fill(repeated, 0.0)

    def _centres_of(self, points: Tensor) -> Tensor:
        """Centres [B, A, 2, 2] from landmarks [B, 68, 2]."""
        length = (points[:, _EYE_CORNERS[0], 0] - points[:, _EYE_CORNERS[1], 0]).abs()
        return self.average.float() @ points[:, None] + self.offset.float() * length[:, None, None, None]
