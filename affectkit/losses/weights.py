"""Weights of labels by their occurrence rates, and of losses by their moving means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["LossBalancer", "inverse_frequency_weights", "positive_weights", "ramp"]


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


def ramp(epoch: float, length: float = 30) -> float:
    r"""Compute a weight that rises from 0 towards 1 over training: :math:`2 / (1 + e^{-10p}) - 1`, p = epoch / length.

    Args:
        epoch: Finished epochs, from 0.
        length: Epochs until p is 1.

    Raises:
        ConfigError: `length` is not positive.

    Example:
        >>> [round(ramp(epoch), 3) for epoch in (0, 3, 30)]
        [0.0, 0.462, 1.0]

    References:
        Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
    """
    if not length > 0:
        raise ConfigError(f"length must be positive, not {length}.")
    return math.tanh(5 * epoch / length)  # the same function without overflow


class LossBalancer(nn.Module):
    r"""Weighted sum of losses, each divided by its moving mean so that none dominates.

    .. math:: L = \frac{1}{Z} \sum_k w_k \frac{L_k}{\mu_k + 10^{-8}}, \qquad \mu_k \leftarrow m \mu_k + (1-m) L_k

    The mean :math:`\mu_k` starts each epoch at its first value and carries no gradient. Call `update` before the sum of
    the same step. The means are buffers, so a run can resume within an epoch.

    Args:
        names: Names of the losses.
        weights: w by name, 1 by default.
        momentum: m, in [0, 1).
        denominator: Z, positive.

    Attributes:
        values: float32 [K], the means in the order of `names`; 0 before the first value.
        seen: bool [K], whether a mean has a value since the last `reset`.

    Raises:
        ConfigError: A name is duplicated or unknown, or a number is out of range.

    Example:
        >>> balancer = LossBalancer(["expression", "au"], {"au": 2.0})
        >>> losses = {"expression": torch.tensor(1.9), "au": torch.tensor(0.2)}
        >>> balancer.update(losses)
        >>> balancer(losses)
        tensor(1.)

    References:
        SSM, arXiv 2604.10541 (terms without labels and resuming are our additions).
    """

    values: Tensor
    seen: Tensor

    def __init__(
        self,
        names: Sequence[str],
        weights: Mapping[str, float] | None = None,
        *,
        momentum: float = 0.95,
        denominator: float = 3.0,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        given = dict(weights or {})
        if not names or len(set(names)) != len(names) or set(given) - set(names):
            raise ConfigError(
                f"Losses {list(names)} with weights for {sorted(given)} do not fit together.",
                remedy="Name every loss once, and give weights only to these.",
            )
        if not 0 <= momentum < 1 or not denominator > 0 or not all(0 <= w < math.inf for w in given.values()):
            raise ConfigError(
                f"momentum={momentum} must be in [0, 1), denominator={denominator} positive, and the weights "
                f"{given} from 0 up."
            )
        self.weights = {name: float(given.get(name, 1.0)) for name in names}
        self.momentum = momentum
        self.denominator = denominator
        self.register_buffer("values", torch.zeros(len(names)))
        self.register_buffer("seen", torch.zeros(len(names), dtype=torch.bool))

    def reset(self) -> None:
        """Forget the means; call it at the start of each epoch."""
        self.values.zero_()
        self.seen.zero_()

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> None:
        """Update the means with the losses of a step.

        Args:
            values: Scalars by name, averaged over all processes. A loss that is left out keeps its mean.
            present: Scalars by name; a loss with 0 or False had no label in this step and keeps its mean.
        """
        for index, name in enumerate(self.names):
            if name not in values:
                continue
            value = values[name].detach().to(self.values)
            mean = torch.where(
                self.seen[index], self.momentum * self.values[index] + (1 - self.momentum) * value, value
            )
            count = (present or {}).get(name)
            is_present = self.seen.new_ones(()) if count is None else count.to(self.seen.device) > 0
            self.values[index] = torch.where(is_present, mean, self.values[index])
            self.seen[index] |= is_present

    def forward(self, losses: Mapping[str, Tensor], factors: Mapping[str, float] | None = None) -> Tensor:
        """Compute the balanced sum, a scalar with the gradients of `losses`.

        Args:
            losses: Scalars by name. One that is left out, or has no value since `reset`, adds 0.
            factors: Factors of the weights in this step by name, 1 by default.

        Raises:
            ConfigError: A name is unknown.
        """
        if unknown := {*losses, *(factors or {})} - set(self.names):
            raise ConfigError(
                f"Unknown loss {', '.join(sorted(unknown))}.", remedy=f"Known: {', '.join(self.names)}."
            )
        scale = torch.where(self.seen, 1 / (self.values + 1e-8), 0.0) / self.denominator
        terms = [
            self.weights[name] * (factors or {}).get(name, 1.0) * losses[name] * scale[self.names.index(name)]
            for name in losses
        ]
        return torch.stack(terms).sum() if terms else self.values.new_zeros(())
