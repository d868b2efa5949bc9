"""Whether probabilities mean what they say, and the temperature at which they do."""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["expected_calibration_error", "fit_temperature", "log_loss"]

_RANGE = 20.0  # temperatures from 1 / 20 to 20: beyond them logits say nothing, or everything


def log_loss(logits: Tensor, truth: Tensor, temperature: float = 1.0) -> float:
    r"""Mean negative log-likelihood of labels under :math:`\sigma(z / T)`, or under the softmax for classes.

    Args:
        logits: float [N] of yes-or-no labels, or [N, E] of classes.
        truth: [N]; at least 0.5 is yes, or the class.
        temperature: T.

    Returns:
        Nats a label; NaN for no labels.

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
    r"""How far confidence is from frequency: :math:`\sum_b \frac{n_b}{N} |\bar p_b - \bar y_b|` over equal bins of p.

    For yes-or-no labels p is the probability of yes and y whether it is yes; for classes p is that of the likeliest
    class and y whether that is right.

    Args:
        logits: float [N] of yes-or-no labels, or [N, E] of classes.
        truth: [N]; at least 0.5 is yes, or the class.
        temperature: T.
        bins: Number of bins; a p on the border of two is in the lower one.

    Returns:
        From 0 to 1; NaN for no labels.

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
    """The temperature with the least `log_loss`: above 1 where a model is surer than it is right.

    The loss is convex in 1 / T. It changes no ranking, and no decision at a probability of 0.5.

    Args:
        logits: float [N] of yes-or-no labels, or [N, E] of classes.
        truth: [N]; at least 0.5 is yes, or the class.

    Returns:
        From 1 / 20 to 20; 1 for no labels.

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
