"""Label weights from how often labels occur."""

from __future__ import annotations

from collections.abc import Sequence

from affectkit.errors import ConfigError

__all__ = ["inverse_frequency_weights", "positive_weights"]


def _check(rates: Sequence[float]) -> list[float]:
    values = [float(rate) for rate in rates]
    wrong = [index for index, rate in enumerate(values) if not 0 < rate <= 1]
    if not values or wrong:
        raise ConfigError(
            f"Occurrence rates must lie in (0, 1], and those at {wrong} of {values} do not.",
            remedy="Leave out labels that never occur in the training data.",
        )
    return values


def inverse_frequency_weights(rates: Sequence[float]) -> list[float]:
    r"""Weights that rise as labels get rarer, with mean 1: :math:`\omega_i = N (1/r_i) / \sum_j (1/r_j)`.

    Args:
        rates: Share of annotated training entries in which each label is positive, in (0, 1].

    Returns:
        One weight a label.

    Raises:
        ConfigError: A rate is out of range.

    Example:
        >>> inverse_frequency_weights([0.5, 0.25, 0.25])
        [0.6, 1.2, 1.2]

    References:
        Z. Shao et al., "JAA-Net", IJCV 2021; used with these constants by most work on BP4D and DISFA since.
    """
    inverse = [1.0 / rate for rate in _check(rates)]
    return [len(inverse) * value / sum(inverse) for value in inverse]


def positive_weights(rates: Sequence[float], *, power: float = 0.5) -> list[float]:
    r"""Weights of positive entries against negative ones: :math:`\pi_i = ((1-r_i)/r_i)^{power}`.

    Args:
        rates: Share of annotated training entries in which each label is positive, in (0, 1].
        power: 1 balances positives and negatives in full, 0 not at all; the square root is a usual
            compromise.

    Returns:
        One weight a label.

    Raises:
        ConfigError: A rate is out of range.

    Example:
        >>> positive_weights([0.5, 0.1])
        [1.0, 3.0]
    """
    return [((1.0 - rate) / rate) ** power for rate in _check(rates)]
