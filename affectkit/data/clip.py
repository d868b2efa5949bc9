"""Clips with their targets, one at a time and in batches.

Frames stay uint8 until the model normalises them. Every target carries a mask, since few corpora annotate
everything: what is masked holds 0, is finite, and never counts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.expressions import ExpressionSet, crosswalk
from affectkit.facs.sets import AUSet
from affectkit.facs.spaces import label_space, project

__all__ = ["Clip", "ClipBatch", "Target", "collate", "concat"]

_space = functools.lru_cache(maxsize=None)(label_space)


@dataclass(frozen=True, eq=False)
class Target:
    """Labels in a named label space, with a mask of those that were annotated.

    Args:
        value: float [..., A] for action units (0 or 1, soft values between, or intensities 0–5); int64 [...],
            without a class axis, for expressions.
        mask: bool, as `value`; True where annotated.
        space: Name of the label space, as `affectkit.facs.spaces.label_space` reads it.

    Raises:
        LabelSpaceError: Shape, dtype or a value does not fit the label space, or a masked value is not 0.

    Example:
        >>> target = Target.make(torch.tensor([1.0, float("nan")]), space="AU6,AU12")
        >>> target.value.tolist(), target.mask.tolist()
        ([1.0, 0.0], [True, False])
        >>> target.project("AU12,AU6,AU4").mask.tolist()
        [False, True, False]
    """

    value: Tensor
    mask: Tensor
    space: str

    def __post_init__(self) -> None:
        space, value, mask = _space(self.space), self.value, self.mask
        if space.kind == "multiclass":
            fits = value.dtype == torch.int64
        else:
            fits = value.is_floating_point() and value.shape[-1:] == (len(space),)
        if not fits or mask.dtype != torch.bool or mask.shape != value.shape:
            raise LabelSpaceError(
                f"Value {value.dtype} {list(value.shape)} with mask {mask.dtype} {list(mask.shape)} does not "
                f"fit the {space.kind} space '{self.space}' of {len(space)} labels."
            )
        if value.device.type != "cpu":  # looking at values would make an accelerator wait
            return
        highest = len(space) - 1 if space.kind == "multiclass" else 5
        sound = torch.where(mask, (value >= 0) & (value <= highest), value == 0)
        if not sound.all():
            raise LabelSpaceError(
                f"Values {value[~sound].tolist()[:5]} are not in 0 to {highest}, or not 0 where masked.",
                remedy="Mask what is not annotated with Target.make.",
            )

    @classmethod
    def make(cls, value: Tensor, mask: Tensor | None = None, *, space: str) -> Target:
        """Mask what is missing: NaN among action units, negative numbers among classes.

        Args:
            value: As in the class, with missing entries.
            mask: bool, as `value`: False masks further entries.
            space: Name of the label space.
        """
        known = value >= 0 if value.dtype == torch.int64 else torch.isfinite(value)
        known = known if mask is None else known & mask
        return cls(torch.where(known, value, torch.zeros((), dtype=value.dtype)), known, space)

    @property
    def classes(self) -> bool:
        """Whether `value` holds class indices, without a label axis."""
        return _space(self.space).kind == "multiclass"

    def project(self, space: str) -> Target:
        """Say the same in another label space; labels that it has and this one lacks are masked.

        Args:
            space: Name of the other label space.

        Raises:
            LabelSpaceError: The two spaces are of different kinds.
        """
        if space == self.space:
            return self
        source, target = _space(self.space), _space(space)
        device = self.value.device
        if isinstance(source, ExpressionSet) and isinstance(target, ExpressionSet):
            route = [-1 if goal is None else goal for goal in crosswalk(source, target)]
            value = torch.tensor(route, device=device)[self.value]
            mask = self.mask & (value >= 0)
        elif isinstance(source, AUSet) and isinstance(target, AUSet):
            columns, present = project(source, target)
            value = self.value[..., columns]
            mask = self.mask[..., columns] & torch.tensor(present, device=device)
        else:
            raise LabelSpaceError(f"Labels of '{self.space}' cannot be read as '{space}'.")
        return Target(torch.where(mask, value, 0), mask, space)

    def map(self, change: Callable[[Tensor], Tensor]) -> Target:
        """Apply one tensor function to value and mask."""
        return Target(change(self.value), change(self.mask), self.space)


@dataclass(frozen=True, eq=False)
class Clip:
    """One sample of a dataset.

    Args:
        frames: uint8 [T, C, H, W], RGB.
        frame_mask: bool [T], False where a frame only pads.
        targets: Labels by name ("au", "intensity", "expression"), for the clip ([A]; [] for classes) or for
            every frame ([T, A]; [T]).
        landmarks: float [T, 68, 2], x and y in pixels, integers at pixel centres; 0 where masked.
        landmarks_mask: bool [T, 68].
        key_frames: int64 [3], positions of onset, apex and offset in `frames`; -1 if unknown or not sampled.
        valid: False when the sample must not be counted.
        subject: Position of the subject in the dataset's `subjects`; of the clip, where subjects are unknown.
        meta: Where the sample is from: dataset, clip, subject, indices.

    Example:
        >>> clip = Clip.make(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
        >>> clip.landmarks_mask.any().item(), clip.key_frames.tolist()
        (False, [-1, -1, -1])
    """

    frames: Tensor
    frame_mask: Tensor
    targets: dict[str, Target]
    landmarks: Tensor
    landmarks_mask: Tensor
    key_frames: Tensor
    valid: bool = True
    subject: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        frames: Tensor,
        targets: dict[str, Target] | None = None,
        *,
        landmarks: Tensor | None = None,
        landmarks_mask: Tensor | None = None,
        key_frames: Sequence[int] = (-1, -1, -1),
        valid: bool = True,
        subject: int = 0,
        meta: dict[str, Any] | None = None,
    ) -> Clip:
        """Fill in masks for what is not given; landmarks that are not finite count as missing."""
        length = len(frames)
        if landmarks is None:
            landmarks, seen = torch.zeros(length, 68, 2), torch.zeros(length, 68, dtype=torch.bool)
        else:
            seen = landmarks.isfinite().all(-1)
            seen = seen if landmarks_mask is None else seen & landmarks_mask
            landmarks = torch.where(seen[..., None], landmarks.float(), 0.0)
        return cls(
            frames=frames,
            frame_mask=torch.ones(length, dtype=torch.bool),
            targets={} if targets is None else targets,
            landmarks=landmarks,
            landmarks_mask=seen,
            key_frames=torch.tensor(key_frames),
            valid=valid,
            subject=subject,
            meta={} if meta is None else meta,
        )


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips stacked along a new first axis B; what a data loader gives and a task takes.

    Args:
        frames: uint8 [B, T, C, H, W].
        frame_mask: bool [B, T].
        targets: As in `Clip`, with B in front.
        landmarks: float [B, T, 68, 2].
        landmarks_mask: bool [B, T, 68].
        key_frames: int64 [B, 3].
        valid: bool [B].
        subject: int64 [B].
        meta: A list of B entries under each name.

    Example:
        >>> clips = [Clip.make(torch.zeros(t, 3, 8, 8, dtype=torch.uint8)) for t in (2, 4)]
        >>> collate(clips).frame_mask.sum(1).tolist()
        [2, 4]
    """

    frames: Tensor
    frame_mask: Tensor
    targets: dict[str, Target]
    landmarks: Tensor
    landmarks_mask: Tensor
    key_frames: Tensor
    valid: Tensor
    subject: Tensor
    meta: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Copy all tensors to a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """Copy all tensors to page-locked memory, from where an accelerator fetches them without waiting."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in _TENSORS}
        return replace(self, targets={name: t.map(change) for name, t in self.targets.items()}, **changed)


_TENSORS = tuple(f.name for f in fields(ClipBatch) if f.name not in ("targets", "meta"))


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stack clips, padding short ones at their end; padding is masked in frames, targets and landmarks.

    Args:
        clips: One clip or more, of one frame size; a target absent from some of them is masked there.

    Raises:
        ConfigError: The frame sizes differ.
        LabelSpaceError: A target is per frame in one clip and per clip in another.
    """
    length = max(len(clip.frames) for clip in clips)
    return concat([_as_batch(clip, length) for clip in clips])


def concat(batches: Sequence[ClipBatch]) -> ClipBatch:
    """Join batches of one frame shape, from one corpus or from several.

    Targets of one name meet in one label space: the union of the action-unit sets, or the first batch's
    expressions. What a batch does not annotate is masked.

    Args:
        batches: One batch or more.

    Raises:
        ConfigError: The frame shapes differ.
        LabelSpaceError: Targets of one name cannot be joined.
    """
    shapes = {tuple(batch.frames.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        raise ConfigError(
            f"Clips of different frame shapes {sorted(shapes)} cannot share a batch.",
            remedy="End the transform with a crop or resize to one size.",
        )
    names = dict.fromkeys(name for batch in batches for name in batch.targets)
    keys = dict.fromkeys(key for batch in batches for key in batch.meta)
    return ClipBatch(
        targets={name: _join(name, batches) for name in names},
        meta={key: [m for b in batches for m in b.meta.get(key, [None] * len(b))] for key in keys},
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in _TENSORS},
    )


def _as_batch(clip: Clip, length: int) -> ClipBatch:
    """A batch of one clip, padded to `length` frames."""

    def padded(tensor: Tensor) -> Tensor:
        missing = length - len(tensor)
        return tensor if missing == 0 else torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])

    targets = {}
    for name, target in clip.targets.items():
        per_frame = target.value.dim() == (1 if target.classes else 2)
        whole = target.map(padded) if per_frame else target
        targets[name] = whole.map(lambda tensor: tensor[None])
    return ClipBatch(
        frames=padded(clip.frames)[None],
        frame_mask=padded(clip.frame_mask)[None],
        targets=targets,
        landmarks=padded(clip.landmarks)[None],
        landmarks_mask=padded(clip.landmarks_mask)[None],
        key_frames=clip.key_frames[None],
        valid=torch.tensor([clip.valid]),
        subject=torch.tensor([clip.subject]),
        meta={key: [value] for key, value in clip.meta.items()},
    )


def _join(name: str, batches: Sequence[ClipBatch]) -> Target:
    """The target `name` of all batches in one label space, masked where a batch lacks it."""
    given = [batch.targets.get(name) for batch in batches]
    space = _common_space(tuple(dict.fromkeys(target.space for target in given if target is not None)))
    parts = [None if target is None else target.project(space) for target in given]
    like = next(part for part in parts if part is not None)
    if any(part is not None and part.value.shape[1:] != like.value.shape[1:] for part in parts):
        raise LabelSpaceError(
            f"The target '{name}' is per frame in one clip and per clip in another.",
            remedy="Give the two targets different names.",
        )
    filled = [
        _masked(like, len(batch)) if part is None else part
        for part, batch in zip(parts, batches, strict=True)
    ]
    return Target(
        torch.cat([part.value for part in filled]), torch.cat([part.mask for part in filled]), space
    )


def _masked(like: Target, length: int) -> Target:
    """Targets of `length` clips that annotate nothing, shaped as `like`."""
    return like.map(lambda tensor: tensor.new_zeros(length, *tensor.shape[1:]))


@functools.cache
def _common_space(names: tuple[str, ...]) -> str:
    spaces = [_space(name) for name in names]
    units = [space for space in spaces if isinstance(space, AUSet)]
    return functools.reduce(AUSet.union, units).name if len(units) == len(spaces) else names[0]
