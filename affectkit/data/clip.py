"""Clips with their targets, and batches of them.

Frames stay uint8 until the model normalises them. Every target has a mask; masked entries are 0 and never count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from affectkit.data.target import Target
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.spaces import label_space

__all__ = ["Clip", "ClipBatch", "collate", "concat"]


@dataclass(frozen=True, eq=False)
class Clip:
    """One sample of a dataset.

    Args:
        frames: uint8 [T, C, H, W], RGB.
        frame_mask: bool [T], False for padding.
        targets: Labels by name ("au", "intensity", "expression"), per clip ([A]; [] for classes) or per frame
            ([T, A]; [T]).
        landmarks: float [T, 68, 2], x and y in pixels, integers at pixel centres; 0 where masked.
        landmarks_mask: bool [T, 68].
        signals: Measurements per frame by name, float [T, ...], such as those of `affectkit.faces.FaceMesh.signals`; 0
            where masked.
        signals_mask: bool [T], True where the signals of a frame are known.
        key_frames: int64 [3], positions of onset, apex and offset in `frames`; -1 if unknown or not sampled.
        valid: False if the sample must not count in metrics.
        subject: Index in the dataset's `subjects`; index of the clip if subjects are unknown.
        meta: Origin of the sample: dataset, clip, subject, indices.
        captions: Sentences about the clip by part: "global" and "summary" on the whole face, others on a region
            ("brows"); parts that are absent are not annotated.

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
    signals: dict[str, Tensor]
    signals_mask: Tensor
    key_frames: Tensor
    valid: bool = True
    subject: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)

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
        signals: dict[str, Tensor] | None = None,
        captions: dict[str, str] | None = None,
    ) -> Clip:
        """Create a clip with masks for absent parts; landmarks and signals that are not finite are masked."""
        length = len(frames)
        measured = torch.full((length,), bool(signals))
        for values in (signals or {}).values():
            measured &= values.flatten(1).isfinite().all(1)
        if landmarks is None:
            landmarks, mask = torch.zeros(length, 68, 2), torch.zeros(length, 68, dtype=torch.bool)
        else:
            mask = landmarks.isfinite().all(-1)
            mask = mask if landmarks_mask is None else mask & landmarks_mask
            landmarks = torch.where(mask[..., None], landmarks.float(), 0.0)
        return cls(
            frames=frames,
            frame_mask=torch.ones(length, dtype=torch.bool),
            targets=targets or {},
            landmarks=landmarks,
            landmarks_mask=mask,
            key_frames=torch.tensor(key_frames),
            valid=valid,
            subject=subject,
            meta=meta or {},
            captions=captions or {},
            signals={name: _where(measured, values) for name, values in (signals or {}).items()},
            signals_mask=measured,
        )


def _where(mask: Tensor, values: Tensor) -> Tensor:
    """Zero the rows of `values` [T, ...] that `mask` [T] excludes."""
    return torch.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values.float(), 0.0)


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips stacked along a new first axis B; the output of a data loader.

    Tensors, targets and signals are those of `Clip` with B in front, such as `frames`, uint8 [B, T, C, H, W]. `valid`
    is bool [B], `subject` int64 [B], and `meta` has a list of B entries under each name. A clip that lacks one of the
    signals of the batch is masked in `signals_mask`, bool [B, T]. `captions` has a list of B texts for each part that a
    clip has; texts are empty where `caption_mask` is False.

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
    signals: dict[str, Tensor]
    signals_mask: Tensor
    key_frames: Tensor
    valid: Tensor
    subject: Tensor
    meta: dict[str, list[Any]]
    captions: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def caption_mask(self, part: str) -> Tensor:
        """Clips that have this part of a caption, bool [B] on the batch's device."""
        texts = self.captions.get(part, [""] * len(self))
        return torch.tensor([bool(text) for text in texts], device=self.frames.device)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Copy all tensors to a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """Copy all tensors to page-locked memory, for asynchronous copies to an accelerator."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in _TENSORS}
        targets = {name: target.map(change) for name, target in self.targets.items()}
        signals = {name: change(values) for name, values in self.signals.items()}
        return replace(self, targets=targets, signals=signals, **changed)


_TENSORS = tuple(
    f.name for f in fields(ClipBatch) if f.name not in ("targets", "meta", "signals", "captions")
)
_BY_FRAME = ("frames", "frame_mask", "landmarks", "landmarks_mask")


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stack clips, padding short ones at the end; padding is masked in frames, targets and landmarks.

    Args:
        clips: At least one clip, all of one frame size; targets absent from some clips are masked there.

    Raises:
        ConfigError: Frame sizes differ.
        LabelSpaceError: A target is per frame in one clip and per clip in another.
    """
    _require_one_shape([clip.frames.shape[1:] for clip in clips])
    length = max(len(clip.frames) for clip in clips)
    keys = dict.fromkeys(key for clip in clips for key in clip.meta)

    def padded(tensor: Tensor) -> Tensor:
        missing = length - len(tensor)
        return tensor if missing == 0 else torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])

    def as_row(target: Target) -> Target:
        return target.map(lambda tensor: (padded(tensor) if target.leading else tensor)[None])

    by_frame: dict[str, Any] = {
        name: pad_sequence([getattr(clip, name) for clip in clips], batch_first=True) for name in _BY_FRAME
    }
    return ClipBatch(
        **by_frame,
        key_frames=torch.stack([clip.key_frames for clip in clips]),
        valid=torch.tensor([clip.valid for clip in clips]),
        subject=torch.tensor([clip.subject for clip in clips]),
        targets=_join_targets(
            [{name: as_row(target) for name, target in clip.targets.items()} for clip in clips],
            [1] * len(clips),
        ),
        meta={key: [clip.meta.get(key) for clip in clips] for key in keys},
        captions={
            part: [clip.captions.get(part, "") for clip in clips]
            for part in dict.fromkeys(part for clip in clips for part in clip.captions)
        },
        **_join_signals(
            [{name: padded(values)[None] for name, values in clip.signals.items()} for clip in clips],
            [padded(clip.signals_mask)[None] for clip in clips],
        ),
    )


def concat(batches: Sequence[ClipBatch]) -> ClipBatch:
    """Join batches with one frame shape, from one or several corpora.

    Targets of one name are joined in a common label space: the union of action-unit sets, or the expressions of the
    first batch. If one batch has distributions, all are converted. Absent annotations are masked.

    Args:
        batches: At least one batch.

    Raises:
        ConfigError: Frame shapes differ.
        LabelSpaceError: Targets of one name cannot be joined.
    """
    _require_one_shape([batch.frames.shape[1:] for batch in batches])
    keys = dict.fromkeys(key for batch in batches for key in batch.meta)
    return ClipBatch(
        targets=_join_targets([batch.targets for batch in batches], list(map(len, batches))),
        meta={key: [m for b in batches for m in b.meta.get(key, [None] * len(b))] for key in keys},
        captions={
            part: [text for b in batches for text in b.captions.get(part, [""] * len(b))]
            for part in dict.fromkeys(part for b in batches for part in b.captions)
        },
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in _TENSORS}
        | _join_signals([batch.signals for batch in batches], [batch.signals_mask for batch in batches]),
    )


def _require_one_shape(shapes: Sequence[torch.Size]) -> None:
    if len(set(shapes)) > 1:
        raise ConfigError(
            f"Clips of different frame shapes {sorted(map(tuple, set(shapes)))} cannot share a batch.",
            remedy="End the transform with a crop or resize to one size.",
        )


def _join_signals(parts: Sequence[dict[str, Tensor]], masks: Sequence[Tensor]) -> dict[str, Any]:
    """Join the signals of parts, masked where a part lacks one of them."""
    like = {name: values for part in parts for name, values in part.items()}
    joined = {
        name: torch.cat(
            [
                part[name] if name in part else values.new_zeros(*mask.shape, *values.shape[2:])
                for part, mask in zip(parts, masks, strict=True)
            ]
        )
        for name, values in like.items()
    }
    complete = [mask & (part.keys() >= like.keys()) for part, mask in zip(parts, masks, strict=True)]
    return {"signals": joined, "signals_mask": torch.cat(complete)}


def _join_targets(parts: Sequence[dict[str, Target]], sizes: Sequence[int]) -> dict[str, Target]:
    """Join the targets of parts with `sizes` clips in common label spaces, masked where a part lacks them."""
    joined = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        given = [part[name] for part in parts if name in part]
        space = _common_space(tuple(dict.fromkeys(target.space for target in given)))
        given = [target.project(space) for target in given]
        if any(target.soft for target in given):
            given = [target.as_soft() for target in given]
        like = given[0]
        if any(target.value.shape[1:] != like.value.shape[1:] for target in given):
            raise LabelSpaceError(
                f"The target '{name}' is per frame in one clip and per clip in another.",
                remedy="Give the two targets different names.",
            )
        rest = iter(given)
        filled = [
            next(rest) if name in part else like.map(lambda t, n=size: t.new_zeros(n, *t.shape[1:]))  # type: ignore[misc]
            for part, size in zip(parts, sizes, strict=True)
        ]
        values, masks = zip(*((target.value, target.mask) for target in filled), strict=True)
        joined[name] = Target(torch.cat(values), torch.cat(masks), space)
    return joined


@functools.cache
def _common_space(names: tuple[str, ...]) -> str:
    return functools.reduce(lambda one, other: one.join(other), map(label_space, names)).name
