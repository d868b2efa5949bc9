"""The losses a recipe can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from affectkit.errors import LabelSpaceError
from affectkit.facs import LabelSpace
from affectkit.losses.base import MaskedLoss
from affectkit.registry import Registry

__all__ = ["build", "list_losses", "register"]

_LOSSES: Registry[MaskedLoss] = Registry("loss")


def register(name: str) -> Callable[[type[MaskedLoss]], type[MaskedLoss]]:
    """Class decorator that makes a loss available to configurations under `name`."""
    return _LOSSES.register(name)


def list_losses() -> tuple[str, ...]:
    """The registered names, sorted.

    Example:
        >>> list_losses()
        ('asymmetric', 'bce', 'cross_entropy', 'dice', 'ordinal')
    """
    return _LOSSES.names()


def build(config: Mapping[str, Any], space: LabelSpace) -> MaskedLoss:
    """Build the loss of a head from `{"type": name, argument: value, ...}`.

    Args:
        config: Name and arguments; plain values only.
        space: The head's label space, which the loss and its per-label weights must fit.

    Raises:
        ConfigError: The type or an argument is unknown, or a value is out of range.
        LabelSpaceError: The loss is for another kind of labels, or weights are not one a label.

    Example:
        >>> from affectkit.facs import label_space
        >>> build({"type": "bce", "pos_weight": [2.0, 1.0]}, label_space("AU1,AU12")).pos_weight
        tensor([2., 1.])
    """
    loss = _LOSSES.build(config)
    if loss.kind != space.kind:
        raise LabelSpaceError(
            f"The loss {config['type']!r} is for {loss.kind} labels, and {space.name!r} is {space.kind}.",
            remedy="Choose another loss for this head.",
        )
    for name, weights in loss.named_buffers():
        if len(weights) != len(space):
            raise LabelSpaceError(
                f"The loss {config['type']!r} has {len(weights)} values in {name!r} for {len(space)} labels.",
                remedy=f"Give one for each of {', '.join(space.labels)}.",
            )
    return loss
