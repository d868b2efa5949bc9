"""Losses of different size, each divided by its own moving mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError

__all__ = ["LossBalancer", "ramp"]


def ramp(epoch: float, length: float = 30) -> float:
    r"""A weight that rises from 0 towards 1 over training: :math:`2 / (1 + e^{-10p}) - 1`, p = epoch / length.

    Args:
        epoch: Epochs done, from 0.
        length: Epochs over which p goes to 1.

    Raises:
        ConfigError: `length` is not positive.

    Example:
        >>> [round(ramp(epoch), 3) for epoch in (0, 3, 30)]
        [0.0, 0.462, 1.0]

    References:
        Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
    """
    if not length > 0:
        raise ConfigError(f"The length of a ramp must be positive, not {length}.")
    return math.tanh(5 * epoch / length)  # the same function, and it cannot overflow


class LossBalancer(nn.Module):
    r"""Weighs losses relative to what each has lately been, so that none drowns the others.

    .. math:: L = \frac{1}{Z} \sum_k w_k \frac{L_k}{\mu_k + 10^{-8}}, \qquad \mu_k \leftarrow m \mu_k + (1-m) L_k

    The mean :math:`\mu_k` starts each epoch as the first value it gets and carries no gradient. `update` comes
    before the sum of the same step. The means are buffers: a run resumed within an epoch goes on as if it had never
    stopped.

    Args:
        names: The losses.
        weights: w, by name; 1 where it is absent.
        momentum: m, in [0, 1).
        denominator: Z, positive.

    Attributes:
        values: float32 [K], the means in the order of `names`; 0 before the first value.
        seen: bool [K], whether a mean has had a value since the last `reset`.

    Raises:
        ConfigError: A name is doubled or unknown, or a number is out of range.

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
        """Forget the means; to be called as an epoch starts."""
        self.values.zero_()
        self.seen.zero_()

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> None:
        """Take the losses of a step into the means.

        Args:
            values: Scalars by name, averaged over all processes. A loss that is left out keeps its mean.
            present: Scalars by name: 0 or False where the loss had no label in this step, so that its value says
                nothing and its mean stays. Present where absent.
        """
        for index, name in enumerate(self.names):
            if name not in values:
                continue
            value = values[name].detach().to(self.values)
            mean = torch.where(
                self.seen[index], self.momentum * self.values[index] + (1 - self.momentum) * value, value
            )
            counted = (present or {}).get(name)
            there = self.seen.new_ones(()) if counted is None else counted.to(self.seen.device) > 0
            self.values[index] = torch.where(there, mean, self.values[index])
            self.seen[index] |= there

    def forward(self, losses: Mapping[str, Tensor], factors: Mapping[str, float] | None = None) -> Tensor:
        """The balanced sum.

        Args:
            losses: Scalars by name. One that is left out, or has had no value since `reset`, adds 0.
            factors: What to multiply the weight of a loss with in this step, by name; 1 where it is absent.

        Returns:
            A scalar with the gradients of `losses`.

        Raises:
            ConfigError: A loss or a factor has another name.
        """
        if unknown := {*losses, *(factors or {})} - set(self.names):
            raise ConfigError(
                f"There is no loss {', '.join(sorted(unknown))}.", remedy=f"Known: {', '.join(self.names)}."
            )
        scale = torch.where(self.seen, 1 / (self.values + 1e-8), 0.0) / self.denominator
        terms = [
            self.weights[name] * (factors or {}).get(name, 1.0) * losses[name] * scale[self.names.index(name)]
            for name in losses
        ]
        return torch.stack(terms).sum() if terms else self.values.new_zeros(())
