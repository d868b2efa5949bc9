"""Calibration error of probabilities, and the temperature that calibrates them.

Logits are float [N] of yes-or-no labels, or [N, E] of classes. Truth is [N]: yes from 0.5 up, or the class index.
"""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["expected_calibration_error", "fit_temperature", "log_loss"]

_RANGE = 20.0  # temperatures from 1 / 20 to 20: logits beyond them carry no information


def log_loss(logits: Tensor, truth: Tensor, temperature: float = 1.0) -> float:
    r"""Compute the mean negative log-likelihood under :math:`\sigma(z / T)`, or under the softmax for classes.

    Returns:
        Nats per label; NaN without labels.

    Example:
        >>> round(log_loss(torch.zeros(2), torch.tensor([0, 1])), 4)
        0.6931
    """
    scaled = logits.double() / temperature
    if logits.ndim == 1:
        return F.binary_cross_entropy_with_logits(scaled, (truth >= 0.5).double()).item()
    return F.cross_entropy(scaled, truth.long()).item()


def expected_calibration_error(
    logits: Tensor, truth: Tensor, temperature: float = 1.0, *, bins: int = 15
) -> float:
    r"""Compute the gap of confidence and frequency, :math:`\sum_b \frac{n_b}{N} |\bar p_b - \bar y_b|` over bins of p.

    For yes-or-no labels p is the probability of yes and y is 1 for yes; for classes p is the highest probability and y
    is 1 if its class is right. The `bins` are of equal width; a p on a border belongs to the lower one.

    Returns:
        From 0 to 1; NaN without labels.

    Example:
        >>> round(expected_calibration_error(torch.zeros(4), torch.tensor([1, 1, 1, 0])), 4)
        0.25

    References:
        C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Tested against a loop over bins.
    """
    scaled = logits.double() / temperature
    if logits.ndim == 1:
        p, right = scaled.sigmoid(), (truth >= 0.5).double()
    else:
        p, guess = scaled.softmax(-1).max(-1)
        right = (guess == truth.long()).double()
    place = ((p * bins).ceil() - 1).clamp(0, bins - 1).long()
    gap = torch.zeros(bins, dtype=torch.float64, device=p.device).index_add(0, place, p - right)
    return (gap.abs().sum() / p.shape[0]).item()


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Find the temperature with the least `log_loss`; above 1 for an overconfident model.

    The loss is convex in 1 / T. A temperature changes no ranking, and no decision at a probability of 0.5.

    Returns:
        From 1 / 20 to 20; 1 without labels.

    Example:
        >>> logits, truth = torch.tensor([4.0, 4.0, 4.0, 4.0]), torch.tensor([1, 1, 1, 0])
        >>> round(fit_temperature(logits, truth), 3)  # 4 / ln(3): three of four are right
        3.641

    References:
        C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if not len(truth):
        return 1.0
    from scipy.optimize import minimize_scalar

    edge = log(_RANGE)
    found = minimize_scalar(
        lambda x: log_loss(logits, truth, exp(x)),
        bounds=(-edge, edge),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(exp(found.x))
