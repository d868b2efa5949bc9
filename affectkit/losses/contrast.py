"""Contrast of two views of clips, such as pictures and texts, with soft targets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["SoftContrast"]

_TIE = 1e-6  # clips with equal texts are equally similar, up to rounding

Guide = Literal["other", "text", "both", "off"]


class SoftContrast(nn.Module):
    r"""Contrast of pictures and texts of the same clips, whose targets also name similar clips as positives.

    With scores :math:`s_{ij}` of picture i and text j, :math:`\frac12 [H(q^{it}, \mathrm{softmax}_j(s_{ij} / \tau)) +
    H(q^{ti}, \mathrm{softmax}_i(s_{ij} / \tau))]` with the cross-entropy H. The targets are :math:`q_{ij} = (1 - \beta)
    [i = j] + \beta \, \mathrm{softmax}_{j \in P(i)}(S_{ij} / \tau_q)`, where P(i) are the k clips that are the most
    similar to clip i, with those that equal the last of them, if their similarity :math:`S_{ij}` exceeds `least`. Where
    P(i) is empty, :math:`\beta` = 0. Clips whose texts are equal are no negatives of each other: they are left out of
    each other's softmax.

    Args:
        guide: Similarity S of the targets of a picture and of a text. "other": that of the other view, texts with
            texts for a picture, and pictures with pictures for a text. "text": that of texts for both. "both": the mean
            of both views for both. "off": no similar clips.
        beta: Share β of similar clips in the targets, in [0, 1).
        most: Number k of similar clips.
        least: Lowest similarity, a cosine.
        sharpness: Temperature τ_q of their shares.

    Raises:
        ConfigError: An argument is out of range.

    Example:
        >>> total, count = SoftContrast()(torch.eye(2), torch.tensor([1, 2]), torch.tensor(1.0))
        >>> total.round(decimals=4), count
        (tensor(0.6265), tensor(2.))

    References:
        EmoCapCLIP, arXiv 2507.21015, names the mining of positives guided across modalities; its equations were not
        available, so these are ours. A. Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021.
    """

    def __init__(
        self,
        *,
        guide: Guide = "other",
        beta: float = 0.3,
        most: int = 5,
        least: float = 0.8,
        sharpness: float = 0.1,
    ) -> None:
        super().__init__()
        if not (0 <= beta < 1 and most >= 1 and -1 <= least <= 1 and sharpness > 0):
            raise ConfigError(
                f"beta {beta} must be in [0, 1), most {most} at least 1, least {least} a cosine, and sharpness "
                f"{sharpness} positive."
            )
        self.guide, self.beta, self.most, self.least, self.sharpness = guide, beta, most, least, sharpness

    def forward(
        self,
        scores: Tensor,
        texts: Tensor,
        temperature: Tensor,
        *,
        mask: Tensor | None = None,
        similar_pictures: Tensor | None = None,
        similar_texts: Tensor | None = None,
        local: slice | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            scores: Cosines [B, B] of pictures (rows) and texts (columns) of all clips of all processes.
            texts: int64 [B], equal for equal texts.
            temperature: τ, a positive scalar.
            mask: bool [B], True for clips with a text; all by default.
            similar_pictures: Cosines [B, B] of pictures with each other, used without gradients; with `similar_texts`,
                that of texts, needed for mining. Without both there is no mining.
            similar_texts: See `similar_pictures`.
            local: The clips of this process, which provide its anchors; all by default.

        Returns:
            The sum over clips and their number, both scalar; the sum always has a gradient to `scores`.
        """
        own = slice(None) if local is None else local
        scores = scores.float()
        known = torch.ones_like(texts, dtype=torch.bool) if mask is None else mask
        same = torch.eye(len(texts), dtype=torch.bool, device=texts.device)
        other = (texts[:, None] != texts) & known  # [anchor, candidate]
        candidates = other | same
        to_texts, to_pictures = self._guides(similar_pictures, similar_texts)
        losses = [
            self._direction(logits / temperature, candidates, other, guide, own)
            for logits, guide in ((scores, to_texts), (scores.T, to_pictures))
        ]
        kept = known[own]
        total = torch.where(kept, (losses[0] + losses[1]) / 2, 0.0).sum()
        return total, kept.sum().to(total.dtype)

    def targets(self, guide: Tensor | None, other: Tensor) -> Tensor:
        """Targets q [B, B] of anchors (rows), which sum to 1; see the class.

        Args:
            guide: Similarities S [B, B]; None for no similar clips.
            other: bool [B, B], clips that may be similar: annotated, with another text than the anchor.
        """
        same = torch.eye(len(other), device=other.device)
        if guide is None:
            return same
        allowed = guide.detach().float().masked_fill(~other, -torch.inf)
        lowest = allowed.topk(min(self.most, len(other)), dim=1).values[:, -1:] - _TIE
        near = (allowed >= lowest) & (allowed > self.least)
        shares = (allowed / self.sharpness).masked_fill(~near, -torch.inf).softmax(dim=1).nan_to_num(0.0)
        beta = self.beta * near.any(dim=1, keepdim=True)
        return (1 - beta) * same + beta * shares

    def _guides(self, pictures: Tensor | None, texts: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Similarities that guide the targets of pictures and of texts."""
        if self.guide == "off" or pictures is None or texts is None:
            return None, None
        if self.guide == "both":
            mean = (pictures + texts) / 2
            return mean, mean
        return texts, (texts if self.guide == "text" else pictures)

    def _direction(
        self, logits: Tensor, candidates: Tensor, other: Tensor, guide: Tensor | None, own: slice
    ) -> Tensor:
        """Cross-entropy [b] of the anchors of this process."""
        target = self.targets(guide, other)[own]
        logits = logits[own].masked_fill(~candidates[own], torch.finfo(logits.dtype).min)
        return -(target * logits.log_softmax(dim=1).masked_fill(target == 0, 0.0)).sum(dim=1)
