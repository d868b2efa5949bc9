"""Registry of the losses that recipes can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from affectkit.errors import LabelSpaceError
from affectkit.facs import LabelSpace
from affectkit.losses.base import Loss
from affectkit.registry import Registry

__all__ = ["build", "default_loss", "list_losses", "register"]

_LOSSES: Registry[Loss] = Registry("loss")
_DEFAULTS: Registry[Loss] = Registry("kind of label with a default loss")


def register(name: str, *, default: bool = False) -> Callable[[type[Loss]], type[Loss]]:
    """Class decorator that registers a loss.

    Args:
        name: Name in configurations.
        default: Make it the default of its kind of label; it must need no arguments.

    Raises:
        ConfigError: The name is taken, or the kind has a default loss.
    """

    def add(cls: type[Loss]) -> type[Loss]:
        if default:
            _DEFAULTS.register(cls.kind)(cls)
        return _LOSSES.register(name)(cls)

    return add


def default_loss(space: LabelSpace) -> Loss:
    """Build the default loss of a label space.

    Raises:
        ConfigError: Its kind has no default loss.

    Example:
        >>> from affectkit.facs import label_space
        >>> default_loss(label_space("basic7"))
        MaskedCrossEntropy()
    """
    return _DEFAULTS.build({"type": space.kind})


def list_losses() -> tuple[str, ...]:
    """List the registered names, sorted.

    Example:
        >>> list_losses()
        ('asymmetric', 'bce', 'ccc', 'cross_entropy', 'dice', 'levels', 'ordinal')
    """
    return _LOSSES.names()


def build(config: Mapping[str, Any], space: LabelSpace) -> Loss:
    """Build the loss of a head from `{"type": name, argument: value, ...}`.

    Args:
        config: Name and arguments, plain values only.
        space: Label space of the head, which the loss and its weights must fit.

    Raises:
        ConfigError: The type or an argument is unknown, or a value is out of range.
        LabelSpaceError: The loss is for another kind of labels, or the number of weights differs from that of labels.

    Example:
        >>> from affectkit.facs import label_space
        >>> build({"type": "bce", "pos_weight": [2.0, 1.0]}, label_space("AU1,AU12")).pos_weight
        tensor([2., 1.])
    """
    loss = _LOSSES.build(config)
    if loss.kind != space.kind:
        raise LabelSpaceError(
            f"The loss {config['type']!r} is for labels of {loss.kind}, but {space.name!r} holds {space.kind}.",
            remedy="Choose another loss for this head.",
        )
    for name, weights in loss.named_buffers():
        if len(weights) != len(space):
            raise LabelSpaceError(
                f"The loss {config['type']!r} has {len(weights)} values in {name!r} for {len(space)} labels.",
                remedy=f"Give one for each of {', '.join(space.labels)}.",
            )
    return loss
