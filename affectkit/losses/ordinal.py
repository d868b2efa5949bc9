"""Losses of ordered labels: intensities of action units, and levels of one scale."""

from __future__ import annotations

from torch import Tensor, arange
from torch.nn import functional as F

from affectkit.losses.base import MaskedLoss, register

__all__ = ["LevelsLoss", "OrdinalLoss"]


@register("ordinal", default=True)
class OrdinalLoss(MaskedLoss):
    r"""Mean binary cross-entropy of "intensity is at least k", k = 1..K.

    The target of question k is min(max(y - k + 1, 0), 1): 0 or 1 for whole intensities and a share in between, so the
    expected intensity :math:`\sum_k P(y \ge k)` is also right for averaged annotations. The loss grows with the
    distance between prediction and label.

    Args:
        weight: One factor per unit.

    Example:
        >>> import torch
        >>> certain = torch.tensor([[[50.0, 50.0, -50.0, -50.0, -50.0]]])
        >>> OrdinalLoss()(certain, torch.tensor([[2.0]]), torch.tensor([[True]]))[0].round()
        tensor(0.)

    References:
        L. Li and H.-T. Lin, "Ordinal regression by extended binary classification", NeurIPS 2006.
    """

    kind = "intensity"
    entry_axes = 1

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [..., A].

        Args:
            logits: [..., A, K] of "at least k", k = 1..K.
            value: [..., A] in [0, K]; fractions are allowed.
        """
        below = arange(logits.shape[-1], device=logits.device)  # k - 1
        target = (value.to(logits.dtype).unsqueeze(-1) - below).clamp(0.0, 1.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
        return self._weighted(losses)


@register("levels", default=True)
class LevelsLoss(MaskedLoss):
    r"""Mean binary cross-entropy of "level is at least k", k = 1..K-1, for one scale of K levels.

    The target of question k is 0 or 1 for an annotated level, and :math:`\sum_{j \ge k} q_j` for a distribution q over
    the levels.

    Args:
        weight: One factor per level, for entries with that level; a distribution gets its mean.

    Example:
        >>> import torch
        >>> certain = torch.tensor([[50.0, 50.0, -50.0]])
        >>> LevelsLoss()(certain, torch.tensor([2]), torch.tensor([True]))[0].round()
        tensor(0.)

    References:
        As for `OrdinalLoss`; distributions and the mean over questions are our additions.
    """

    kind = "levels"
    entry_axes = 1
    soft = True

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [...].

        Args:
            logits: [..., K-1] of "at least level k", k = 1..K-1.
            value: int64 [...], level indices; or float [..., K], distributions.
        """
        q = value if value.is_floating_point() else F.one_hot(value, logits.shape[-1] + 1)
        q = q.to(logits.dtype)
        target = q.flip(-1).cumsum(-1).flip(-1)[..., 1:].clamp(max=1.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
        return losses if self.weight is None else losses * (q * self.weight).sum(-1)
