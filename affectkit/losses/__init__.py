"""Losses that know which annotations are missing.

Each maps `(logits, value, mask)` to `(sum, count)`: the sum of the losses of annotated entries in float32 and
their number. Dividing is the task's, which knows the counts of all processes.
"""

from __future__ import annotations

from affectkit.losses.asymmetric import AsymmetricLoss
from affectkit.losses.balancer import LossBalancer, ramp
from affectkit.losses.base import MaskedLoss
from affectkit.losses.bce import MaskedBCE
from affectkit.losses.cross_entropy import MaskedCrossEntropy
from affectkit.losses.dice import DiceLoss
from affectkit.losses.ordinal import OrdinalLoss
from affectkit.losses.registry import build, list_losses, register
from affectkit.losses.weights import inverse_frequency_weights, positive_weights

__all__ = [
    "AsymmetricLoss",
    "DiceLoss",
    "LossBalancer",
    "MaskedBCE",
    "MaskedCrossEntropy",
    "MaskedLoss",
    "OrdinalLoss",
    "build",
    "inverse_frequency_weights",
    "list_losses",
    "positive_weights",
    "ramp",
    "register",
]
