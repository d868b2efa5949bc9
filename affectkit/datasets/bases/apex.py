"""What stands for the apex of a movement where none is annotated."""

from __future__ import annotations

from typing import Literal

import torch

from affectkit.data.frames import FrameSampler

__all__ = ["ApexPolicy", "Midpoint"]

ApexPolicy = Literal["midpoint", "none", "drop"]
"""Frame samplers get the middle frame, or nothing; or such clips are left out. The record's apex stays None."""


class Midpoint(FrameSampler):
    """Another sampler, given the middle of the movement where its apex is not known.

    Args:
        sampler: The other one.

    Example:
        >>> from affectkit.data import OnsetApex
        >>> Midpoint(OnsetApex(2))(20, onset=4, offset=12)
        [4, 8]
    """

    def __init__(self, sampler: FrameSampler) -> None:
        self.sampler = sampler

    def __call__(
        self,
        length: int,
        *,
        rng: torch.Generator | None = None,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
    ) -> list[int]:
        """See `FrameSampler`."""
        if apex is None and onset is not None and offset is not None:
            apex = (onset + offset) // 2
        return self.sampler(length, rng=rng, onset=onset, apex=apex, offset=offset)
