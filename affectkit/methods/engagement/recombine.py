"""Artificial clips from segments of several clips of one class."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from affectkit.data import ClipBatch, Target, concat

__all__ = ["recombine"]


def recombine(
    batch: ClipBatch, target: str, weight: Tensor, *, segments: int = 30, generator: torch.Generator
) -> tuple[ClipBatch, Tensor]:
    """Add as many artificial clips of signals as the batch has clips, of all classes about equally often.

    Each of the equal segments of an artificial clip is that of a random clip of its class. Short clips are repeated.
    The artificial clip has the mean of their labels and of their weights; it has no other target and black pictures.

    Args:
        batch: Clips with signals, and classes or levels in `target`.
        target: Name of the target.
        weight: Float [B], weights of the clips; clips with weight 0 are not used.
        segments: Number of segments.
        generator: Source of randomness.

    Returns:
        Batch of 2 B clips, and their weights [2 B]; the batch as it is if no clip can be used.

    References:
        A. Vedernikov et al., "TCCT-Net", CVPR Workshops 2024; labels are averaged because they may be distributions.
    """
    label = batch.targets[target].as_soft()
    usable = label.mask & batch.valid & (weight > 0)
    if not usable.any():
        return batch, weight
    classes = label.value.argmax(-1).masked_fill(~usable, -1).cpu()
    present = sorted(set(classes[classes >= 0].tolist()))
    size, length = batch.frames.shape[:2]
    start = int(torch.randint(len(present), (), generator=generator))
    picks = torch.empty(size, segments, dtype=torch.int64)
    for clip in range(size):
        members = (classes == present[(start + clip) % len(present)]).nonzero()[:, 0]
        picks[clip] = members[torch.randint(len(members), (segments,), generator=generator)]
    picks = picks.to(batch.frames.device)
    places = torch.arange(length, device=picks.device)
    source = picks[:, places * segments // length]  # [B, T], clip of each frame
    frame = places % batch.frame_mask.sum(1).clamp(min=1)[source]
    value = label.value[picks].mean(1)
    artificial = replace(
        batch,
        frames=torch.zeros_like(batch.frames),
        frame_mask=torch.ones_like(batch.frame_mask),
        targets={target: Target(value, torch.ones_like(label.mask), label.space)},
        landmarks=torch.zeros_like(batch.landmarks),
        landmarks_mask=torch.zeros_like(batch.landmarks_mask),
        signals={name: values[source, frame] for name, values in batch.signals.items()},
        signals_mask=batch.signals_mask[source, frame],
        key_frames=torch.full_like(batch.key_frames, -1),
        valid=torch.ones_like(batch.valid),
    )
    return concat([batch, artificial]), torch.cat([weight, weight[picks].mean(1)])
