"""Labels with a mask of the annotated ones."""

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
_SUM_TOLERANCE = 1e-3  # of distributions in float32, or written with few decimals


@dataclass(frozen=True, eq=False)
class Target:
    """Labels in a named label space, with a mask of the annotated ones.

    Args:
        value: With a label axis (action units and dimensions), float [..., A]: 0 or 1, probabilities, or intensities
            0–5. In indexed spaces (expressions, levels), int64 [...] without that axis, or a distribution over the
            classes, float [..., E].
        mask: bool, True where annotated; shape of `value`, of a distribution [...].
        space: Name of the label space, see `affectkit.facs.spaces.label_space`.

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
            has_type = value.dtype == torch.int64 if space.indexed else value.is_floating_point()
            fits = has_type and value.shape == mask.shape and value.shape[value.ndim - len(last) :] == last
        if not fits or mask.dtype != torch.bool:
            raise LabelSpaceError(
                f"Value {value.dtype} {list(value.shape)} with mask {mask.dtype} {list(mask.shape)} does not "
                f"fit the space '{self.space}' of {len(space)} labels ({space.kind})."
            )
        if value.device.type != "cpu":  # reading values would synchronise an accelerator
            return
        low, high = (0.0, 1.0) if self.soft else space.value_range
        is_valid = torch.where(self._known, (value >= low) & (value <= high), value == 0)
        if not is_valid.all():
            raise LabelSpaceError(
                f"Values {value[~is_valid].tolist()[:5]} are not in {low:g} to {high:g}, or not 0 where masked.",
                remedy="Mask missing annotations with Target.make.",
            )
        if self.soft and not ((value.sum(-1) - mask.to(value.dtype)).abs() <= _SUM_TOLERANCE).all():
            raise LabelSpaceError(f"The distributions over {space.labels} do not all sum to 1.")

    @classmethod
    def make(cls, value: Tensor, mask: Tensor | None = None, *, space: str) -> Target:
        """Mask missing entries: NaN, and negative indices.

        Args:
            value: See the class, with missing entries; a distribution with any NaN is missing.
            mask: bool, see the class; False masks further entries.
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
        """Whether entries are classes, without a label axis in `mask`."""
        return _space(self.space).indexed

    @property
    def soft(self) -> bool:
        """Whether entries are distributions, with a class axis in `value` alone."""
        return self.indexed and self.value.is_floating_point()

    @property
    def leading(self) -> int:
        """Number of axes (clips, frames) before the labels."""
        return self.mask.ndim - (not self.indexed)

    @property
    def _known(self) -> Tensor:
        """Mask that broadcasts to `value`."""
        return self.mask.unsqueeze(-1) if self.soft else self.mask

    def project(self, space: str) -> Target:
        """Convert to another label space; labels that this space lacks are masked.

        Distributions drop classes that the other space lacks and are rescaled to a sum of 1; they are masked where the
        likeliest class is dropped.

        Raises:
            LabelSpaceError: Values of the two spaces differ in meaning.
        """
        if space == self.space:
            return self
        route, device = _route(self.space, space), self.value.device
        kept = torch.tensor([place is not None for place in route], device=device)
        if self.soft:
            moved = self.value.new_zeros(*self.mask.shape, len(_space(space)))
            for place, goal in enumerate(route):
                if goal is not None:
                    moved[..., goal] += self.value[..., place]
            mask = self.mask & kept[self.value.argmax(-1)]
            value = moved / moved.sum(-1, keepdim=True).clamp(min=1e-6)
            return Target(torch.where(mask.unsqueeze(-1), value, 0.0), mask, space)
        indices = [place or 0 for place in route]
        if self.indexed:
            value, mask = torch.tensor(indices, device=device)[self.value], self.mask & kept[self.value]
        else:
            value, mask = self.value[..., indices], self.mask[..., indices] & kept
        return Target(torch.where(mask, value, 0), mask, space)

    def as_soft(self) -> Target:
        """Convert indices to distributions that are 1 at the index; other targets are unchanged."""
        if not self.indexed or self.soft:
            return self
        classes = torch.arange(len(_space(self.space)), device=self.value.device)
        value = (self.value.unsqueeze(-1) == classes) & self.mask.unsqueeze(-1)
        return Target(value.to(torch.get_default_dtype()), self.mask, self.space)

    def likeliest(self) -> Target:
        """Convert distributions to the index of the likeliest class, the first one on ties."""
        return Target(self.value.argmax(-1), self.mask, self.space) if self.soft else self

    def over_frames(self) -> Target:
        """Reduce frame labels to clip labels by the rule of the label space.

        Returns:
            A target without the last leading axis, annotated where a frame is annotated and, for classes, where all
            annotated frames agree.
        """
        axis, mask = self.leading - 1, self.mask.any(self.leading - 1)
        rule = "mean" if self.soft else _space(self.space).over_frames
        if rule == "max":
            value = self.value.amax(axis)
        elif rule == "mean":
            value = self.value.sum(axis) / self._known.sum(axis).clamp(min=1)
        else:
            highest = self.value.masked_fill(~self.mask, -1).amax(axis)
            mask = mask & ((self.value == highest.unsqueeze(axis)) | ~self.mask).all(axis)
            value = highest.masked_fill(~mask, 0)
        return Target(value, mask, self.space)

    def map(self, change: Callable[[Tensor], Tensor]) -> Target:
        """Apply a tensor function to value and mask."""
        return Target(change(self.value), change(self.mask), self.space)


@functools.cache
def _route(source: str, target: str) -> Projection:
    return _space(source).project(_space(target))
