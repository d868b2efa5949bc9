"""Losses with masks for missing annotations.

Each maps `(logits, value, mask)` to `(sum, count)`: the float32 sum over annotated entries and their number. The task
divides, since it knows the counts of all processes. A loss of a whole batch returns a `BatchStatistic` instead.
"""

from __future__ import annotations

from affectkit.losses.base import (
    BatchStatistic,
    Loss,
    LossTerm,
    MaskedLoss,
    default_loss,
    list_losses,
    register,
)
from affectkit.losses.ccc import CCCLoss
from affectkit.losses.classification import AsymmetricLoss, DiceLoss, MaskedBCE, MaskedCrossEntropy
from affectkit.losses.contrast import SoftContrast
from affectkit.losses.evidential import EvidentialLoss
from affectkit.losses.ordinal import LevelsLoss, OrdinalLoss
from affectkit.losses.weights import LossBalancer, inverse_frequency_weights, positive_weights, ramp

__all__ = [
    "AsymmetricLoss",
    "BatchStatistic",
    "CCCLoss",
    "DiceLoss",
    "EvidentialLoss",
    "LevelsLoss",
    "Loss",
    "LossBalancer",
    "LossTerm",
    "MaskedBCE",
    "MaskedCrossEntropy",
    "MaskedLoss",
    "OrdinalLoss",
    "SoftContrast",
    "default_loss",
    "inverse_frequency_weights",
    "list_losses",
    "positive_weights",
    "ramp",
    "register",
]
