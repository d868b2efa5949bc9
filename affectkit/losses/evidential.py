"""Loss of heads whose logits are the evidence for classes or levels."""

from __future__ import annotations

import torch
from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss, register

__all__ = ["EvidentialLoss"]

_LARGEST = 10.0  # of logits: more evidence than of 20,000 clips


@register("evidential")
class EvidentialLoss(MaskedLoss):
    r"""Expected cross-entropy under a Dirichlet distribution, and a penalty on evidence for wrong classes.

    The logits z of a head with one logit per class give the distribution :math:`\mathrm{Dir}(\alpha)`,
    :math:`\alpha = \exp z`, with the mean softmax(z). For a target q, one class or a distribution,

    .. math::
        L = \sum_c q_c [\Psi(S) - \Psi(\alpha_c)] + \lambda \, \mathrm{KL}(\mathrm{Dir}(q + (1 - q) \alpha)
        \| \mathrm{Dir}(1)), \quad S = \sum_c \alpha_c

    Args:
        penalty: λ, from 0 up.

    Raises:
        ConfigError: `penalty` is negative.

    Example:
        >>> loss = EvidentialLoss(penalty=0.0)
        >>> loss(torch.zeros(1, 3), torch.tensor([1]), torch.tensor([True]))[0]  # 1 + 1/2
        tensor(1.5000)

    References:
        M. Sensoy, L. Kaplan, M. Kandemir, "Evidential deep learning to quantify classification uncertainty", NeurIPS
        2018 (with α = 1 + relu(z) and λ rising during training; here α = exp z, so that predictions are a
        softmax and have a temperature, and λ is constant).
    """

    kind = "categories"
    entry_axes = 1
    soft = True

    def __init__(self, *, penalty: float = 0.1) -> None:
        super().__init__()
        if not penalty >= 0:
            raise ConfigError(f"penalty={penalty} must not be negative.")
        self.penalty = penalty

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [...].

        Args:
            logits: [..., E].
            value: int64 [...], class indices; or float [..., E], distributions.
        """
        alpha = logits.clamp(-_LARGEST, _LARGEST).exp()
        classes = torch.arange(logits.shape[-1], device=logits.device)
        q = value if value.is_floating_point() else value.unsqueeze(-1) == classes
        q = q.to(logits.dtype)
        expected = (q * (alpha.sum(-1, keepdim=True).digamma() - alpha.digamma())).sum(-1)
        return expected + self.penalty * _divergence(q + (1 - q) * alpha)


def _divergence(alpha: Tensor) -> Tensor:
    """KL divergence of Dirichlet distributions [..., E] from the uniform one."""
    total = alpha.sum(-1, keepdim=True)
    classes = torch.tensor(float(alpha.shape[-1]), device=alpha.device)
    pull = ((alpha - 1) * (alpha.digamma() - total.digamma())).sum(-1)
    return total.squeeze(-1).lgamma() - alpha.lgamma().sum(-1) - classes.lgamma() + pull
