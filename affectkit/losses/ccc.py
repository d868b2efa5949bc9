"""The loss of continuous dimensions: agreement over a whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.losses.base import BatchStatistic, Loss
from affectkit.losses.registry import register

__all__ = ["CCCLoss"]

_SMALLEST = 1e-8  # where neither predictions nor labels vary


@register("ccc", default=True)
class CCCLoss(Loss):
    r"""One minus Lin's concordance correlation coefficient, mean over dimensions.

    .. math:: 1 - \frac{2 \, \mathrm{cov}(x, y)}{\mathrm{var}\,x + \mathrm{var}\,y + (\bar x - \bar y)^2}

    with x the predictions and y the labels of all annotated entries of a step, whatever their clips, groups and
    processes: a statistic of the whole batch and no mean over entries. It follows from :math:`\sum 1, x, y, x^2, y^2,
    xy`, which are summed in float64. A dimension without annotations in a step has no part in the mean; entries of
    few different labels say little, so batches should hold many frames.

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
        """The sums of one group of clips.

        Args:
            logits: [..., D], predictions on the scale of the labels.
            value: [..., D]; entries that are not annotated may hold anything.
            mask: bool [..., D].

        Returns:
            A statistic with sums [D, 6].

        Raises:
            ValueError: The shapes do not fit.
        """
        if logits.shape != value.shape or logits.shape != mask.shape:
            raise self.misfit(logits, value, mask)
        dtype = _exact(logits)
        x = logits.masked_fill(~mask, 0.0).to(dtype)
        y = value.masked_fill(~mask, 0.0).to(dtype)
        terms = torch.stack([mask.to(dtype), x, y, x * x, y * y, x * y], dim=-1)
        sums = terms.reshape(mask[..., 0].numel(), mask.shape[-1], 6).sum(0)
        return BatchStatistic(sums, self.finish, mask.sum())

    def nothing(self, logits: Tensor) -> BatchStatistic:
        """The sums of clips without this target.

        Args:
            logits: [..., D].
        """
        zero = logits.to(_exact(logits)).sum() * 0.0
        return BatchStatistic(zero.expand(logits.shape[-1], 6), self.finish, zero.detach())

    @staticmethod
    def finish(sums: Tensor) -> Tensor:
        """The loss from the sums over the whole batch.

        Args:
            sums: [D, 6].

        Returns:
            Scalar; 0 where nothing is annotated.
        """
        known = sums[:, 0] > 0
        x, y, xx, yy, xy = (sums[:, 1:] / sums[:, :1].clamp(min=1)).unbind(-1)
        spread = (xx - x * x).clamp(min=0) + (yy - y * y).clamp(min=0) + (x - y).square()
        losses = 1 - 2 * (xy - x * y) / (spread + _SMALLEST)
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)


def _exact(tensor: Tensor) -> torch.dtype:
    """The type to sum in; Apple's accelerators have no float64."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
