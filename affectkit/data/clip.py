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

from affectkit.data.target import Target
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.spaces import label_space

__all__ = ["Clip", "ClipBatch", "collate", "concat"]


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
    expressions; where one batch has distributions, all become such. What a batch does not annotate is masked.

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
        whole = target.map(padded) if target.leading else target
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
    if any(part is not None and part.soft for part in parts):
        parts = [None if part is None else part.as_soft() for part in parts]
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
    return functools.reduce(lambda one, other: one.join(other), map(label_space, names)).name
