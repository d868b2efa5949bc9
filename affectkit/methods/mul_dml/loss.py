"""Triplet loss at many thresholds, one for each slice of an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["Dual", "Mining", "MultiThresholdTriplet", "largest_threshold", "mean_distance"]

Dual = Literal["none", "shared", "mined"]
Mining = Literal["batch_hard", "semi_hard", "all"]


def largest_threshold(classes: int) -> float:
    r"""Largest threshold that all pairs of classes can satisfy, :math:`2C / (C - 1)`.

    Squared distances between C points of a sphere are all equal, and as large as possible, at the corners of a regular
    simplex.

    Example:
        >>> round(largest_threshold(7), 3)
        2.333
    """
    return 2 * classes / (classes - 1)


class MultiThresholdTriplet(nn.Module):
    r"""Triplet loss with a threshold of its own in each slice of an embedding.

    With d the squared Euclidean distance of slices of unit length, in [0, 4], and the threshold :math:`\tau_n` of slice
    n, an anchor a with a positive p (same label) and a negative q (another label) costs

    .. math:: [d_{ap} - d_{aq} + \tau_n]_+ + [d_{ap} - d_{pq} + \tau_n]_+ .

    The second term, the dual one, is the first with anchor and positive exchanged: without it, the third side of the
    triplet is not judged. The loss is the mean over slices and over the anchors that have a positive and a negative.
    Several groups of slices, such as one group for each action unit, have labels of their own.

    Args:
        slices: Number of slices N.
        classes: Number of classes C; 2 for the states of an action unit.
        thresholds: N thresholds, or one for all slices; by default spread evenly from `tau_min` to `tau_max`.
        tau_min: Threshold of the first slice.
        tau_max: Threshold of the last slice; nine tenths of `largest_threshold` by default.
        dual: The negative q of the dual term: that of the anchor (`shared`) or one mined for the positive (`mined`);
            `none` for no dual term.
        mining: `semi_hard` takes all positives of an anchor, each with the nearest negative beyond it, or the farthest
            negative if none is. `all` averages over all triplets of an anchor that violate the threshold. Both need
            memory cubic in the batch. `batch_hard` takes the farthest positive and the nearest negative only, as in the
            paper; on rendered faces, it shrank the slices to almost a point.
        identity_aware: Positives must show other people, and an anchor with negatives of the same person has only
            these.
        softness: s of :math:`s \ln(1 + e^{x / s})` in place of :math:`[x]_+`, which has a gradient everywhere; 0 for
            the latter.

    Raises:
        ConfigError: A threshold is not positive or above `largest_threshold`, their number does not fit, or
            `softness` is negative.

    Example:
        >>> loss = MultiThresholdTriplet(1, 2, thresholds=[0.5], dual="none")
        >>> points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> labels, mask = torch.tensor([[0], [0], [1]]), torch.ones(3, 1, dtype=torch.bool)
        >>> loss(points[:, None, None], labels, mask)  # negatives are farther by 2
        (tensor(0.), tensor(2.))

    References:
        W. Yang et al., "Multi-threshold deep metric learning for facial expression recognition", Pattern Recognition
       , 2024, arXiv 2406.16434. Only its idea was available to us: the form of the dual term, the range of
        thresholds, mining, identities and the soft form are our own.
    """

    thresholds: Tensor

    def __init__(
        self,
        slices: int,
        classes: int,
        *,
        thresholds: Sequence[float] | None = None,
        tau_min: float = 0.1,
        tau_max: float | None = None,
        dual: Dual = "shared",
        mining: Mining = "semi_hard",
        identity_aware: bool = False,
        softness: float = 0.0,
    ) -> None:
        super().__init__()
        highest = largest_threshold(classes)
        if thresholds is None:
            taus = torch.linspace(tau_min, 0.9 * highest if tau_max is None else tau_max, slices)
        elif len(thresholds) in (1, slices):
            taus = torch.tensor([float(tau) for tau in thresholds]).expand(slices).clone()
        else:
            raise ConfigError(f"{slices} slices need as many thresholds, or one, not {len(thresholds)}.")
        if not ((taus > 0) & (taus <= highest)).all():
            raise ConfigError(
                f"Thresholds {[round(tau, 3) for tau in taus.tolist()]} must be positive and at most {highest:.3f}, "
                f"the largest that {classes} classes can satisfy."
            )
        if softness < 0:
            raise ConfigError(f"softness {softness} must not be negative.")
        self.dual = dual
        self.mining = mining
        self.identity_aware = identity_aware
        self.softness = softness
        self.register_buffer("thresholds", taus, persistent=False)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        mask: Tensor,
        people: Tensor | None = None,
        *,
        mining: Mining | None = None,
        local: slice | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sum and count.

        Args:
            embeddings: [B, G, N, D], the slices of each group, of all clips of all processes; any length.
            labels: int64 [B, G]; any value for entries without annotation.
            mask: bool [B, G], True for annotated entries; others are neither anchor nor positive nor negative.
            people: int64 [B], number of the person in each clip; needed for `identity_aware`.
            mining: Mining of this call; that of the constructor by default.
            local: The clips of this process, which provide its anchors; all by default.

        Returns:
            The sum over anchors of the mean over slices, and the number of anchors, both scalar float32 (float64 for
            such embeddings). The sum always has a gradient to `embeddings`, 0 for clips without annotation.

        Raises:
            ValueError: The loss is `identity_aware` and there are no `people`.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            distances = _distances(embeddings, mask)
            positive, negative = self._candidates(labels, mask, people)
            valid = positive.any(-1) & negative.any(-1)
            losses = self._per_anchor(distances, positive[:, None], negative[:, None], mining or self.mining)
        own = slice(None) if local is None else local
        losses = torch.where(valid, losses.mean(dim=1), 0.0)[:, own]
        return losses.sum(), valid[:, own].sum().to(losses.dtype)

    def _candidates(self, labels: Tensor, mask: Tensor, people: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positives and negatives of each anchor, bool [G, B, B] each."""
        known = rearrange(mask, "b g -> g b 1") & rearrange(mask, "b g -> g 1 b")
        same = rearrange(labels, "b g -> g b 1") == rearrange(labels, "b g -> g 1 b")
        others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive, negative = known & same & others, known & ~same
        if self.identity_aware:
            if people is None:
                raise ValueError("A loss with `identity_aware` needs the people of the clips.")
            one_person = people[:, None] == people
            positive = positive & ~one_person
            own = negative & one_person
            negative = torch.where(own.any(-1, keepdim=True), own, negative)
        return positive, negative

    def _per_anchor(self, distances: Tensor, positive: Tensor, negative: Tensor, mining: Mining) -> Tensor:
        """Loss of each anchor [G, N, B], from distances [G, N, B, B] and candidates [G, 1, B, B]."""
        if mining == "all":
            return self._over_all(distances, positive, negative)
        if mining == "batch_hard":
            nearest = distances.masked_fill(~negative, torch.inf).argmin(-1, keepdim=True)
            losses = self._of_pairs(distances, nearest.expand_as(distances))
            farthest = distances.masked_fill(~positive, -1.0).argmax(-1, keepdim=True)
            return losses.gather(-1, farthest).squeeze(-1)
        beyond = rearrange(negative, "g n a q -> g n a 1 q") & (
            distances[..., None, :] > distances[..., None]
        )
        nearest = distances[..., None, :].masked_fill(~beyond, torch.inf).argmin(-1)
        last = distances.masked_fill(~negative, -1.0).argmax(-1, keepdim=True)
        losses = self._of_pairs(distances, torch.where(beyond.any(-1), nearest, last))
        return torch.where(positive, losses, 0.0).sum(-1) / positive.sum(-1).clamp(min=1)

    def _of_pairs(self, distances: Tensor, chosen: Tensor) -> Tensor:
        """Loss [G, N, B, B] of each anchor and positive with the negative of index `chosen` [G, N, B, B]."""
        from_anchor = distances.gather(-1, chosen)
        losses = self._violation(distances - from_anchor)
        if self.dual == "none":
            return losses
        from_positive = from_anchor if self.dual == "mined" else distances.gather(-1, chosen.mT)
        return losses + self._violation(distances - from_positive.mT)

    def _over_all(self, distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean over the violating triplets of each anchor, [G, N, B]."""
        to_positive = rearrange(distances, "g n a p -> g n a p 1")
        losses = self._violation(to_positive - rearrange(distances, "g n a q -> g n a 1 q"))
        if self.dual != "none":
            losses = losses + self._violation(to_positive - rearrange(distances, "g n p q -> g n 1 p q"))
        triplets = rearrange(positive, "g n a p -> g n a p 1") & rearrange(negative, "g n a q -> g n a 1 q")
        violating = triplets & (losses > 0)
        return torch.where(violating, losses, 0.0).sum((-2, -1)) / violating.sum((-2, -1)).clamp(min=1)

    def _violation(self, excess: Tensor) -> Tensor:
        """Hinge, or its soft form, of an excess [G, N, …] to which each slice adds its threshold."""
        shape = (1, -1, *[1] * (excess.ndim - 2))
        excess = excess + self.thresholds.to(excess.dtype).reshape(shape)
        return F.softplus(excess / self.softness) * self.softness if self.softness else excess.relu()


def mean_distance(embeddings: Tensor, mask: Tensor) -> Tensor:
    """Mean squared distance of the slices of all pairs of annotated clips, which is 0 for a collapsed slice.

    Args:
        embeddings: [B, G, N, D], of any length.
        mask: bool [B, G].

    Returns:
        [G, N]; infinite for fewer than two annotated clips.

    Example:
        >>> mean_distance(torch.eye(2)[:, None, None], torch.ones(2, 1, dtype=torch.bool))
        tensor([[2.]])
    """
    units = _units(embeddings, mask)
    count = rearrange(mask.sum(0), "g -> g 1").to(units.dtype)
    # |z| = 1, so the sum over ordered pairs is 2 n² - 2 |Σ z|²
    total = 2 * count.square() - 2 * units.sum(0).square().sum(-1)
    return torch.where(count > 1, total.clamp(min=0) / (count * (count - 1)).clamp(min=1), torch.inf)


def _units(embeddings: Tensor, mask: Tensor) -> Tensor:
    """Slices of unit length [B, G, N, D]; zeros for entries without annotation."""
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    return F.normalize(wide.masked_fill(~mask[..., None, None], 0.0), dim=-1)


def _distances(embeddings: Tensor, mask: Tensor) -> Tensor:
    """Squared distances [G, N, B, B]."""
    units = rearrange(_units(embeddings, mask), "b g n d -> g n b d")
    return (2 - 2 * units @ units.mT).clamp(min=0)
