"""MixUp of clips: frames and labels blended in pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from affectkit.data.clip import ClipBatch
from affectkit.data.target import Target
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs.spaces import label_space

__all__ = ["ClipMixup"]


@dataclass(frozen=True, slots=True)
class ClipMixup:
    r"""MixUp of whole clips, :math:`\lambda x + (1-\lambda) x'`, for frames and labels.

    Each batch has one :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, each clip one partner for all frames.
    Cross-entropy is linear in the target, so the loss against mixed labels is the mixed loss; classes become
    distributions. Labels that either clip lacks are masked. Frames whose partner is padding keep pixels and labels.

    Args:
        alpha: α, positive; smaller values mix most batches less.

    Raises:
        ConfigError: `alpha` is not positive.

    Example:
        >>> from affectkit.data import Clip, collate
        >>> labels = {"au": Target.make(torch.ones(1), space="AU12")}
        >>> clip = Clip.make(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels)
        >>> frames, target = ClipMixup(0.4)(collate([clip, clip]), "au", torch.Generator().manual_seed(0))
        >>> frames.dtype, target.value.shape
        (torch.float32, torch.Size([2, 1]))

    References:
        H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018; on clips as SSM does it, arXiv
        2604.10541.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ConfigError(
                f"MixUp needs a positive alpha, not {self.alpha}.", remedy="Remove MixUp to mix nothing."
            )

    def __call__(
        self, batch: ClipBatch, target: str, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Target]:
        """Mix a batch with itself.

        Args:
            batch: B clips; `frame_mask` also applies to the mixed frames.
            target: Name of a target whose labels may be soft: units, classes or levels.
            rng: Random generator on the CPU; the default generator of torch by default.

        Returns:
            Frames [B, T, C, H, W], float32 in [0, 1], and the target with values in [0, 1].

        Raises:
            LabelSpaceError: The batch lacks the target, or the labels cannot be soft.
        """
        labels = batch.targets.get(target)
        if labels is None or not label_space(labels.space).soft:
            raise LabelSpaceError(
                f"MixUp needs labels that may be soft; the batch has "
                f"{'no target' if labels is None else labels.space + ' under'} {target!r}."
            )
        labels = labels.as_soft()
        seed = int(torch.randint(2**62, (), generator=rng))
        share = random.Random(seed).betavariate(self.alpha, self.alpha)
        partner = torch.randperm(len(batch), generator=rng).to(batch.frames.device)
        # 1 - λ, or 0 where the partner is padding.
        other = (1 - share) * batch.frame_mask[partner].to(torch.float32)
        frames = batch.frames.to(torch.float32) / 255
        frames = frames + other[:, :, None, None, None] * (frames[partner] - frames)
        value, mask = labels.value, labels.mask
        if labels.leading == 2:
            mixes, weight = batch.frame_mask[partner], other
        else:
            mixes, weight = torch.ones_like(batch.valid), torch.full_like(other[:, 0], 1 - share)
        mask = mask & (mask[partner] | ~(mixes if labels.soft else mixes.unsqueeze(-1)))
        known = mask.unsqueeze(-1) if labels.soft else mask
        mixed = value + weight.unsqueeze(-1).to(value.dtype) * (value[partner] - value)
        return frames, Target(torch.where(known, mixed, 0.0), mask, labels.space)
