"""Concordance loss of continuous dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.losses.base import BatchStatistic, Loss, register

__all__ = ["CCCLoss"]

_EPSILON = 1e-8  # for predictions and labels that do not vary


@register("ccc", default=True)
class CCCLoss(Loss):
    r"""One minus Lin's concordance correlation coefficient, mean over dimensions.

    .. math:: 1 - \frac{2 \, \mathrm{cov}(x, y)}{\mathrm{var}\,x + \mathrm{var}\,y + (\bar x - \bar y)^2}

    with the predictions x and labels y of all annotated entries of a step, over all clips, groups and processes. It
    is a statistic of the whole batch, computed from :math:`\sum 1, x, y, x^2, y^2, xy` in float64. Dimensions without
    annotations in a step are left out of the mean. Batches should hold many frames with different labels.

    Logits are [..., D], on the scale of the labels.

    Example:
        >>> truth, mask = torch.tensor([[-0.5], [0.0], [0.5]]), torch.ones(3, 1, dtype=torch.bool)
        >>> term = CCCLoss()(truth + 0.5, truth, mask)  # variances of 1/6, means 1/2 apart
        >>> round(term.finish(term.sums).item(), 4)
        0.4286

    References:
        L. I. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
    """

    kind = "dimensions"

    def forward(self, logits: Tensor, value: Tensor, mask: Tensor) -> BatchStatistic:
        """Return a statistic with sums [D, 6]."""
        if logits.shape != value.shape or logits.shape != mask.shape:
            raise self.shape_error(logits, value, mask)
        dtype = _sum_dtype(logits)
        x = logits.masked_fill(~mask, 0.0).to(dtype)
        y = value.masked_fill(~mask, 0.0).to(dtype)
        terms = torch.stack([mask.to(dtype), x, y, x * x, y * y, x * y], dim=-1)
        sums = terms.reshape(mask[..., 0].numel(), mask.shape[-1], 6).sum(0)
        return BatchStatistic(sums, self.finish, mask.sum())

    def nothing(self, logits: Tensor) -> BatchStatistic:
        """Return a statistic with sums of 0, connected to the logits."""
        zero = logits.to(_sum_dtype(logits)).sum() * 0.0
        return BatchStatistic(zero.expand(logits.shape[-1], 6), self.finish, zero.detach())

    @staticmethod
    def finish(sums: Tensor) -> Tensor:
        """Compute the scalar loss from the sums [D, 6] of the whole batch; 0 if nothing is annotated."""
        known = sums[:, 0] > 0
        x, y, xx, yy, xy = (sums[:, 1:] / sums[:, :1].clamp(min=1)).unbind(-1)
        spread = (xx - x * x).clamp(min=0) + (yy - y * y).clamp(min=0) + (x - y).square()
        losses = 1 - 2 * (xy - x * y) / (spread + _EPSILON)
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def _sum_dtype(tensor: Tensor) -> torch.dtype:
    """float64, or float32 on Apple's accelerators, which lack float64."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
