"""Areas under the ROC curve, for all groups together and with each one left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

__all__ = ["Ranking"]


@dataclass(frozen=True)
class Ranking:
    """Scores of yes-or-no labels, by group and unit.

    The area of a unit is the share of pairs of a positive and a negative in which the positive has the higher score,
    ties counted half: U / (P N). Leaving out group g removes the pairs of its positives with all negatives and of its
    negatives with all positives, and those within the group only once. All counts are integers, so results do not
    depend on the order of the scores or the number of processes.

    Args:
        score: Float32 [N], growing with the probability, not NaN.
        place: Int64 [N], (group · units + unit) · 2 + label, the label 0 or 1.
        num_groups: Number of groups.
        num_units: Number of units.

    Example:
        >>> Ranking(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0, 0, 1, 1]), 1, 1).areas()
        tensor([0.8750], dtype=torch.float64)
    """

    score: Tensor
    place: Tensor
    num_groups: int
    num_units: int

    @staticmethod
    def join(parts: Sequence[Ranking]) -> Ranking:
        """Concatenate rankings of the same units; their groups count as different."""
        units, places, groups = parts[0].num_units, [], 0
        for part in parts:
            places.append(part.place + 2 * units * groups)
            groups += part.num_groups
        return Ranking(torch.cat([part.score for part in parts]), torch.cat(places), groups, units)

    def only(self, groups: Sequence[int]) -> Ranking:
        """Select groups by their indices, each once; the first becomes group 0."""
        width = 2 * self.num_units
        new = torch.full((self.num_groups,), -1)
        new[list(groups)] = torch.arange(len(groups))
        group = new[self.place // width]
        kept = group >= 0
        place = group[kept] * width + self.place[kept] % width
        return Ranking(self.score[kept], place, len(groups), self.num_units)

    def areas(self) -> Tensor:
        """Compute the area of each unit, float64 [A]; NaN without positives or negatives."""
        positives, negatives = self._labels.sum(0).unbind(-1)
        return self._pairs[..., 0].sum(0) / (2 * positives * negatives)

    def areas_without_each(self) -> Tensor:
        """Compute the area of each unit with each group left out, float64 [G, A]."""
        pairs = self._pairs[..., 0].sum(0) - self._pairs.sum(-1) + self._pairs_within
        positives, negatives = (self._labels.sum(0) - self._labels).unbind(-1)
        return pairs / (2 * positives * negatives)

    @cached_property
    def _labels(self) -> Tensor:
        """Positives and negatives, float64 [G, A, 2]."""
        return self._by_place(torch.bincount(self.place, minlength=2 * self.num_groups * self.num_units))

    @cached_property
    def _pairs(self) -> Tensor:
        """Twice the right pairs per unit, counted at their positives and at their negatives, float64 [G, A, 2]."""
        packed = _sort((self._key << 32) | self.place)
        packed = packed[_order((packed & 0xFFFFFFFF) // 2 % self.num_units)]
        place = packed & 0xFFFFFFFF
        return self._sum(place, place // 2 % self.num_units, packed >> 32)

    @cached_property
    def _pairs_within(self) -> Tensor:
        """Twice the right pairs per unit within each group, float64 [G, A]."""
        packed = _sort(((self.place // 2) << 33) | ((self._key + 2**31) << 1) | (self.place % 2))
        segment = packed >> 33
        return self._sum(2 * segment + packed % 2, segment, (packed >> 1) & 0xFFFFFFFF)[..., 0]

    @property
    def _key(self) -> Tensor:
        """Integers in the order of the scores, int64 [N] with 32 significant bits."""
        bits = (self.score + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
        return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)

    def _sum(self, place: Tensor, segment: Tensor, key: Tensor) -> Tensor:
        """Count twice the right pairs within segments, at their positives and negatives, float64 [G, A, 2].

        `place`, `segment` and `key` are int64 [N], sorted by segment and then by key.
        """
        first = torch.ones_like(segment, dtype=torch.bool)  # of a segment
        first[1:] = segment[1:] != segment[:-1]
        new = first.clone()  # score
        new[1:] |= key[1:] != key[:-1]
        label = place % 2
        tie, number = new.cumsum(0) - 1, first.cumsum(0) - 1
        tied = torch.bincount(2 * tie + label, minlength=2 * int(new.sum())).view(-1, 2)
        below = tied.cumsum(0) - tied  # negatives and positives with lower scores, earlier segments included
        start = below[tie[first]]
        end = torch.cat([start[1:], tied.sum(0, keepdim=True)])[: len(start)]
        at_positive = 2 * (below[tie, 0] - start[number, 0]) + tied[tie, 0]
        at_negative = 2 * (end[number, 1] - below[tie, 1]) - tied[tie, 1]
        total = torch.zeros(2 * self.num_groups * self.num_units, dtype=torch.int64)
        return self._by_place(total.index_add_(0, place, torch.where(label == 1, at_positive, at_negative)))

    def _by_place(self, sums: Tensor) -> Tensor:
        """Sums by place as float64 [G, A, 2], positives first."""
        return sums.view(self.num_groups, self.num_units, 2).flip(-1).double()


def _sort(keys: Tensor) -> Tensor:
    """Sort int64 [N]; NumPy is several times faster than torch."""
    return torch.from_numpy(np.sort(keys.numpy()))


def _order(units: Tensor) -> Tensor:
    """Stable order of small integers, in linear time."""
    return torch.from_numpy(np.argsort(units.numpy().astype(np.int16), kind="stable"))
