"""The losses a recipe can name."""

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
    """Class decorator that makes a loss available to configurations.

    Args:
        name: What configurations call it.
        default: Make it the loss of its kind of label where none is named; it must need no arguments.

    Raises:
        ConfigError: The name is taken, or the kind has a default loss.
    """

    def file(cls: type[Loss]) -> type[Loss]:
        if default:
            _DEFAULTS.register(cls.kind)(cls)
        return _LOSSES.register(name)(cls)

    return file


def default_loss(space: LabelSpace) -> Loss:
    """The loss of a label space where none is named.

    Args:
        space: The head's label space.

    Raises:
        ConfigError: Its kind has no default loss.

    Example:
        >>> from affectkit.facs import label_space
        >>> default_loss(label_space("basic7"))
        MaskedCrossEntropy()
    """
    return _DEFAULTS.build({"type": space.kind})


def list_losses() -> tuple[str, ...]:
    """The registered names, sorted.

    Example:
        >>> list_losses()
        ('asymmetric', 'bce', 'ccc', 'cross_entropy', 'dice', 'levels', 'ordinal')
    """
    return _LOSSES.names()


def build(config: Mapping[str, Any], space: LabelSpace) -> Loss:
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
            f"The loss {config['type']!r} is for labels of {loss.kind}, and {space.name!r} is of {space.kind}.",
            remedy="Choose another loss for this head.",
        )
    for name, weights in loss.named_buffers():
        if len(weights) != len(space):
            raise LabelSpaceError(
                f"The loss {config['type']!r} has {len(weights)} values in {name!r} for {len(space)} labels.",
                remedy=f"Give one for each of {', '.join(space.labels)}.",
            )
    return loss
