"""The loss of one scale of ordered levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from affectkit.losses.base import MaskedLoss
from affectkit.losses.registry import register

__all__ = ["LevelsLoss"]


@register("levels", default=True)
class LevelsLoss(MaskedLoss):
    r"""Mean binary cross-entropy of the questions "is it at least level k?", k = 1..K-1.

    The target of question k is 0 or 1 for an annotated level, and for a distribution q over the levels
    :math:`\sum_{j \ge k} q_j`. Mistakes cost more the more levels they miss.

    Args:
        weight: One a level, times the loss of an entry with it; of a distribution its mean.

    Raises:
        ConfigError: A weight is negative.

    Example:
        >>> import torch
        >>> certain = torch.tensor([[50.0, 50.0, -50.0]])
        >>> LevelsLoss()(certain, torch.tensor([2]), torch.tensor([True]))[0].round()
        tensor(0.)

    References:
        L. Li and H.-T. Lin, "Ordinal regression by extended binary classification", NeurIPS 2006 (distributions and
        the mean over questions are ours).
    """

    kind = "levels"
    entry_axes = 1
    soft = True
    weight: Tensor | None

    def __init__(self, *, weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self.buffer("weight", weight)

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """The loss of every entry.

        Args:
            logits: [..., K-1] of "at least level k", k = 1..K-1.
            value: int64 [...], level indices; or float [..., K], distributions.

        Returns:
            [...].
        """
        q = value if value.is_floating_point() else F.one_hot(value, logits.shape[-1] + 1)
        q = q.to(logits.dtype)
        target = q.flip(-1).cumsum(-1).flip(-1)[..., 1:].clamp(max=1.0)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
        return losses if self.weight is None else losses * (q * self.weight).sum(-1)
