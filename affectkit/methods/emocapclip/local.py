"""Vectors of clips, and of the patches that a text looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from affectkit.models.features import Features, masked_mean

__all__ = ["FacePatches", "clip_vectors"]


def clip_vectors(features: Features) -> Tensor:
    """Unit vectors [B, D] of clips: the mean of the unit vectors of their real frames, normalised."""
    if features.frames is None:
        return F.normalize(features.pooled.float(), dim=-1)
    frames = F.normalize(features.frames.float(), dim=-1)
    return F.normalize(masked_mean(frames, features.frame_mask), dim=-1)


@dataclass(frozen=True, slots=True)
class FacePatches:
    r"""Patches of clips, compared with texts that attend to them.

    A text t attends to the unit vectors Z of a clip's patches, :math:`a = \mathrm{softmax}(Z t / \tau_p)`, and is
    compared with their weighted mean: :math:`\cos(Z^\top a, t)`. Every text attends to every clip, so that a pair of
    different clips is compared in the same way as a pair of one clip. The cosine is computed from the products of the
    patches with each other, :math:`t^\top Z^\top a / \sqrt{a^\top Z Z^\top a}`, without a pooled vector per pair.

    Args:
        vectors: Z, float [B, N, D], of unit length; zeros for padding.
        mask: bool [B, N], True for patches of real frames.
    """

    vectors: Tensor
    mask: Tensor

    @classmethod
    def of(cls, features: Features) -> FacePatches:
        """Patches of all frames of clips.

        Raises:
            ValueError: The backbone gives no patches.
        """
        if features.tokens is None:
            raise ValueError("Local captions need patches: give the backbone `tokens: true`.")
        T, N = features.tokens.shape[1:3]
        vectors = rearrange(F.normalize(features.tokens.float(), dim=-1), "b t n d -> b (t n) d")
        if features.frame_mask is None:
            return cls(vectors, vectors.new_ones(len(vectors), T * N, dtype=torch.bool))
        mask = repeat(features.frame_mask, "b t -> b (t n)", n=N)
        return cls(torch.where(mask[..., None], vectors, 0.0), mask)

    def scores(self, texts: Tensor, focus: float) -> Tensor:
        """Cosines [B, M] of every clip with every text.

        Args:
            texts: Unit vectors float [M, D].
            focus: Temperature τ_p of the attention.
        """
        products = einsum(self.vectors, texts.float(), "b n d, m d -> b m n")
        attention = self._attend(products, self.mask[:, None], focus)
        square = einsum(attention @ (self.vectors @ self.vectors.mT), attention, "b m n, b m n -> b m")
        return (attention * products).sum(dim=-1) / square.clamp(min=1e-12).sqrt()

    def pooled(self, texts: Tensor, focus: float) -> Tensor:
        """Unit vectors [B, D] of the patches that the own text of each clip, float [B, D], attends to."""
        products = einsum(self.vectors, texts.float(), "b n d, b d -> b n")
        attention = self._attend(products, self.mask, focus)
        return F.normalize(einsum(attention, self.vectors, "b n, b n d -> b d"), dim=-1)

    @staticmethod
    def _attend(products: Tensor, mask: Tensor, focus: float) -> Tensor:
        """Attention over patches; uniform in a clip without a real frame, whose patches are zeros."""
        return (products / focus).masked_fill(~mask, torch.finfo(products.dtype).min).softmax(dim=-1)
