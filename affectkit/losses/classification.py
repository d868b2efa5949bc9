"""Losses of independent yes-or-no labels and of exclusive classes.

Logits and values of yes-or-no labels are [..., A] with values in [0, 1]; soft targets are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.losses.base import MaskedLoss, register

__all__ = ["AsymmetricLoss", "DiceLoss", "MaskedBCE", "MaskedCrossEntropy"]


@register("bce", default=True)
class MaskedBCE(MaskedLoss):
    r"""Binary cross-entropy, :math:`-\omega_i [\pi_i y \log p + (1-y) \log(1-p)]`.

    Args:
        weight: ω, one factor per label; see `inverse_frequency_weights`.
        pos_weight: π, one factor per label for its positives only; see `positive_weights`.
        smoothing: Move targets towards one half: y (1 - smoothing) + smoothing / 2, in [0, 1).

    Example:
        >>> import torch
        >>> loss = MaskedBCE()
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[True, False]]))
        (tensor(0.6931), tensor(1.))
    """

    kind = "occurrence"
    pos_weight: Tensor | None

    def __init__(
        self,
        *,
        weight: Sequence[float] | None = None,
        pos_weight: Sequence[float] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight=weight)
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing must be in [0, 1), not {smoothing}.")
        self._add_weights("pos_weight", pos_weight)
        self.smoothing = smoothing

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [..., A]."""
        target = value.to(logits.dtype) * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )


@register("asymmetric")
class AsymmetricLoss(MaskedLoss):
    r"""Asymmetric loss: binary cross-entropy that down-weights easy negatives.

    .. math::
        -\omega_i [ y (1-p)^{\gamma_+} \log p + (1-y) p_m^{\gamma_-} \log(1-p_m) ], \quad p_m = \max(p-m, 0)

    Args:
        gamma_pos: Focus on hard positives, 0 or at least 1.
        gamma_neg: Focus on hard negatives, 0 or at least 1.
        clip: The margin m in [0, 1); negatives with a smaller p are ignored.
        weight: ω, one factor per label; see `inverse_frequency_weights`.

    Raises:
        ConfigError: An exponent is between 0 and 1, where gradients are infinite, or another value is out of range.

    Example:
        >>> import torch
        >>> loss = AsymmetricLoss(gamma_neg=1.0, clip=0.05)
        >>> loss(torch.tensor([[-4.0]]), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))[0].abs()
        tensor(0.)

    References:
        T. Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021. With `gamma_neg=1` and
        `clip=0.05` it is the loss of K. Yuan et al., "AUFormer", ECCV 2024, at a fixed exponent.
    """

    kind = "occurrence"

    def __init__(
        self,
        *,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(weight=weight)
        if any(gamma != 0 and not gamma >= 1 for gamma in (gamma_pos, gamma_neg)):
            raise ConfigError(f"Exponents must be 0 or at least 1, not {gamma_pos} and {gamma_neg}.")
        if not 0 <= clip < 1:
            raise ConfigError(f"clip must be in [0, 1), not {clip}.")
        self.gamma_pos = gamma_pos
        self.gamma_neg: float | Tensor = gamma_neg
        self.clip = clip

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [..., A]."""
        value = value.to(logits.dtype)
        absent = (-logits).sigmoid()
        positive = F.logsigmoid(logits) * absent**self.gamma_pos
        if self.clip == 0:
            negative = F.logsigmoid(-logits) * logits.sigmoid() ** self.gamma_neg
        else:
            shifted = (absent + self.clip).clamp(max=1.0)  # 1 - p_m
            negative = shifted.log() * (1.0 - shifted) ** self.gamma_neg
        return self._weighted(-(value * positive + (1.0 - value) * negative))


@register("dice")
class DiceLoss(MaskedLoss):
    r"""One minus a smoothed dice coefficient, :math:`\omega_i [1 - (2yp + \epsilon) / (y^2 + p^2 + \epsilon)]`.

    The coefficient is that of each entry, not of a batch, so the loss is a sum like the others. It is bounded and
    therefore tolerates wrong labels better than cross-entropy, with which it is usually combined.

    Args:
        smooth: ε, positive.
        weight: ω, one factor per label; see `inverse_frequency_weights`.

    Example:
        >>> import torch
        >>> DiceLoss()(torch.tensor([[50.0]]), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))[0]
        tensor(0.)

    References:
        F. Milletari et al., "V-Net", 3DV 2016 (over volumes); Z. Shao et al., "JAA-Net", IJCV 2021 (action units).
    """

    kind = "occurrence"

    def __init__(self, *, smooth: float = 1.0, weight: Sequence[float] | None = None) -> None:
        super().__init__(weight=weight)
        if not smooth > 0:
            raise ConfigError(f"smooth must be positive, not {smooth}.")
        self.smooth = smooth

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [..., A]."""
        value, probability = value.to(logits.dtype), logits.sigmoid()
        overlap = 2 * value * probability + self.smooth
        return self._weighted(1 - overlap / (value.square() + probability.square() + self.smooth))


@register("cross_entropy", default=True)
class MaskedCrossEntropy(MaskedLoss):
    r"""Cross-entropy, :math:`-\omega_c \log p_c` of the annotated class c.

    The loss of a distribution q over the classes is :math:`-\sum_c \omega_c q_c \log p_c`. The count is the number of
    annotated entries, not the sum of their weights as in PyTorch's mean.

    Args:
        weight: ω, one factor per class.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Example:
        >>> import torch
        >>> loss = MaskedCrossEntropy()
        >>> loss(torch.zeros(2, 4), torch.tensor([3, 0]), torch.tensor([True, False]))
        (tensor(1.3863), tensor(1.))
    """

    kind = "categories"
    entry_axes = 1
    soft = True

    def __init__(self, *, weight: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(weight=weight)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def per_entry(self, logits: Tensor, value: Tensor) -> Tensor:
        """Compute the loss of every entry, [...].

        Args:
            logits: [..., E].
            value: int64 [...], class indices; or float [..., E], distributions.
        """
        soft = value.is_floating_point()
        flat = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            value.to(logits.dtype).reshape(-1, logits.shape[-1]) if soft else value.reshape(-1),
            weight=None if self.weight is None else self.weight.to(logits.dtype),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return flat.reshape(logits.shape[:-1])
