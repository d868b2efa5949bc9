"""Label weights from occurrence rates."""

from __future__ import annotations

from collections.abc import Sequence

from affectkit.errors import ConfigError

__all__ = ["inverse_frequency_weights", "positive_weights"]


def inverse_frequency_weights(rates: Sequence[float]) -> list[float]:
    r"""Compute label weights with mean 1 that fall with frequency: :math:`\omega_i = N (1/r_i) / \sum_j (1/r_j)`.

    Args:
        rates: Share of positives among the annotated training entries of each label, in (0, 1].

    Raises:
        ConfigError: A rate is out of range.

    Example:
        >>> inverse_frequency_weights([0.5, 0.25, 0.25])
        [0.6, 1.2, 1.2]

    References:
        Z. Shao et al., "JAA-Net", IJCV 2021; the usual weights on BP4D and DISFA since.
    """
    inverse = [1.0 / rate for rate in _checked(rates)]
    return [len(inverse) * value / sum(inverse) for value in inverse]


def positive_weights(rates: Sequence[float], *, power: float = 0.5) -> list[float]:
    r"""Compute weights of positives against negatives: :math:`\pi_i = ((1-r_i)/r_i)^{power}`.

    Args:
        rates: As for `inverse_frequency_weights`.
        power: 1 balances positives and negatives fully, 0 not at all; the square root is a usual compromise.

    Raises:
        ConfigError: A rate is out of range.

    Example:
        >>> positive_weights([0.5, 0.1])
        [1.0, 3.0]
    """
    return [((1.0 - rate) / rate) ** power for rate in _checked(rates)]


def _checked(rates: Sequence[float]) -> list[float]:
    values = [float(rate) for rate in rates]
    wrong = [rate for rate in values if not 0 < rate <= 1]
    if not values or wrong:
        raise ConfigError(
            f"Occurrence rates must be in (0, 1], not {wrong or 'empty'}.",
            remedy="Leave out labels that never occur in the training data.",
        )
    return values
