"""Labels with a mask of those that were annotated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from affectkit.errors import LabelSpaceError
from affectkit.facs.spaces import Projection, label_space

__all__ = ["Target"]

_space = functools.lru_cache(maxsize=None)(label_space)
_SUM_TOLERANCE = 1e-3  # of a distribution in float32, or one written with few decimals


@dataclass(frozen=True, eq=False)
class Target:
    """Labels in a named label space, with a mask of those that were annotated.

    Args:
        value: float [..., A] where the space has an axis of labels: action units (0 or 1, soft values between, or
            intensities 0–5) and dimensions. Of indexed spaces (expressions, levels) int64 [...], without that axis,
            or a distribution over the classes, float [..., E].
        mask: bool, as `value`, of a distribution [...]; True where annotated.
        space: Name of the label space, as `affectkit.facs.spaces.label_space` reads it.

    Raises:
        LabelSpaceError: Shape, dtype or a value does not fit the label space, or a masked value is not 0.

    Example:
        >>> target = Target.make(torch.tensor([1.0, float("nan")]), space="AU6,AU12")
        >>> target.value.tolist(), target.mask.tolist()
        ([1.0, 0.0], [True, False])
        >>> target.project("AU12,AU6,AU4").mask.tolist()
        [False, True, False]
        >>> Target.make(torch.tensor([0.75, 0.25]), space="happiness,anger").project("anger,happiness").value
        tensor([0.2500, 0.7500])
    """

    value: Tensor
    mask: Tensor
    space: str

    def __post_init__(self) -> None:
        space, value, mask = _space(self.space), self.value, self.mask
        last = () if space.indexed else (len(space),)
        if self.soft:
            fits = space.soft and value.shape == (*mask.shape, len(space))
        else:
            kind = value.dtype == torch.int64 if space.indexed else value.is_floating_point()
            fits = kind and value.shape == mask.shape and value.shape[value.ndim - len(last) :] == last
        if not fits or mask.dtype != torch.bool:
            raise LabelSpaceError(
                f"Value {value.dtype} {list(value.shape)} with mask {mask.dtype} {list(mask.shape)} does not "
                f"fit the space '{self.space}' of {len(space)} labels ({space.kind})."
            )
        if value.device.type != "cpu":  # looking at values would make an accelerator wait
            return
        low, high = (0.0, 1.0) if self.soft else space.value_range
        known = mask.unsqueeze(-1) if self.soft else mask
        sound = torch.where(known, (value >= low) & (value <= high), value == 0)
        if not sound.all():
            raise LabelSpaceError(
                f"Values {value[~sound].tolist()[:5]} are not in {low:g} to {high:g}, or not 0 where masked.",
                remedy="Mask what is not annotated with Target.make.",
            )
        if self.soft and not ((value.sum(-1) - mask.to(value.dtype)).abs() <= _SUM_TOLERANCE).all():
            raise LabelSpaceError(f"The distributions over {space.labels} do not all sum to 1.")

    @classmethod
    def make(cls, value: Tensor, mask: Tensor | None = None, *, space: str) -> Target:
        """Mask what is missing: NaN among numbers, negative indices among classes.

        Args:
            value: As in the class, with missing entries; a distribution with any NaN is missing.
            mask: bool, as in the class: False masks further entries.
            space: Name of the label space.
        """
        known = value >= 0 if value.dtype == torch.int64 else torch.isfinite(value)
        soft = _space(space).indexed and value.is_floating_point()
        known = known.all(-1) if soft else known
        known = known if mask is None else known & mask
        kept = known.unsqueeze(-1) if soft else known
        return cls(torch.where(kept, value, torch.zeros((), dtype=value.dtype)), known, space)

    @property
    def indexed(self) -> bool:
        """Whether an entry is a class, without an axis of labels in `mask`."""
        return _space(self.space).indexed

    @property
    def soft(self) -> bool:
        """Whether entries are distributions over classes, with an axis of classes in `value` alone."""
        return self.indexed and self.value.is_floating_point()

    @property
    def leading(self) -> int:
        """Number of axes before the labels: of clips, of frames."""
        return self.mask.ndim - (not self.indexed)

    def project(self, space: str) -> Target:
        """Say the same in another label space; labels that it has and this one lacks are masked.

        Of a distribution, the classes that the other space lacks are left out and the others scaled up to a sum of
        1; it is masked where the likeliest class is lacking.

        Args:
            space: Name of the other label space.

        Raises:
            LabelSpaceError: Values of the two spaces do not mean the same.
        """
        if space == self.space:
            return self
        route, device = _route(self.space, space), self.value.device
        if self.soft:
            return self._spread(route, space)
        if self.indexed:
            value = torch.tensor([-1 if goal is None else goal for goal in route], device=device)[self.value]
            mask = self.mask & (value >= 0)
        else:
            columns = [place or 0 for place in route]
            present = torch.tensor([place is not None for place in route], device=device)
            value, mask = self.value[..., columns], self.mask[..., columns] & present
        return Target(torch.where(mask, value, 0), mask, space)

    def _spread(self, route: Projection, space: str) -> Target:
        """A distribution over the classes of another space."""
        moved = self.value.new_zeros(*self.mask.shape, len(_space(space)))
        for place, goal in enumerate(route):
            if goal is not None:
                moved[..., goal] += self.value[..., place]
        carried = torch.tensor([goal is not None for goal in route], device=self.value.device)
        mask = self.mask & carried[self.value.argmax(-1)]
        total = moved.sum(-1, keepdim=True)
        return Target(torch.where(mask.unsqueeze(-1), moved / total.clamp(min=1e-6), 0.0), mask, space)

    def as_soft(self) -> Target:
        """The same as distributions, which are 1 at an index; targets without indices as they are."""
        if not self.indexed or self.soft:
            return self
        classes = torch.arange(len(_space(self.space)), device=self.value.device)
        value = (self.value.unsqueeze(-1) == classes) & self.mask.unsqueeze(-1)
        return Target(value.to(torch.get_default_dtype()), self.mask, self.space)

    def likeliest(self) -> Target:
        """The same with an index for each distribution: the likeliest class, the first of equal ones."""
        return Target(self.value.argmax(-1), self.mask, self.space) if self.soft else self

    def over_frames(self) -> Target:
        """Labels of whole clips from those of their frames, as the label space says.

        Returns:
            A target without the last leading axis, annotated where one of the frames is (of classes, where all
            annotated frames agree).
        """
        axis = self.leading - 1
        if self.soft:
            return self._mean(axis)
        return _OVER_FRAMES[_space(self.space).over_frames](self, axis)

    def _max(self, axis: int) -> Target:
        return Target(self.value.amax(axis), self.mask.any(axis), self.space)

    def _agree(self, axis: int) -> Target:
        highest = self.value.masked_fill(~self.mask, -1).amax(axis)
        same = ((self.value == highest.unsqueeze(axis)) | ~self.mask).all(axis)
        mask = self.mask.any(axis) & same
        return Target(highest.masked_fill(~mask, 0), mask, self.space)

    def _mean(self, axis: int) -> Target:
        known = self.mask.unsqueeze(-1) if self.soft else self.mask
        mean = self.value.sum(axis) / known.sum(axis).clamp(min=1)
        return Target(mean, self.mask.any(axis), self.space)

    def map(self, change: Callable[[Tensor], Tensor]) -> Target:
        """Apply one tensor function to value and mask."""
        return Target(change(self.value), change(self.mask), self.space)


_OVER_FRAMES = {"max": Target._max, "agree": Target._agree, "mean": Target._mean}


@functools.cache
def _route(source: str, target: str) -> Projection:
    return _space(source).project(_space(target))
