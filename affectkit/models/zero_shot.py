"""Answers by prototypes alone: of the labels a model was trained on, or of classes that nobody trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from affectkit.errors import ConfigError
from affectkit.facs import ExpressionSet
from affectkit.models.heads import Head
from affectkit.models.model import AffectModel

__all__ = ["heads_with_prototypes", "prototype_only", "use_classes"]


def heads_with_prototypes(model: AffectModel) -> dict[str, Head]:
    """The heads of a model that use prototypes, by name."""
    heads = {name: model.head(name) for name in model.heads}
    return {name: head for name, head in heads.items() if head.uses_prototypes}


def prototype_only(model: AffectModel, head: str) -> None:
    """Let a head answer by its prototypes alone, without what its linear layer learned, from now on.

    Thresholds go back to 0.5 and the temperature to 1, for they were fitted to other logits.

    Args:
        model: The model, which is changed.
        head: A head with prototypes.

    Raises:
        ConfigError: There is no such head, or it has no prototypes.
    """
    model.replace_head(head, _head(model, head).by_prototypes())


def use_classes(model: AffectModel, head: str, texts: Sequence[str] | Mapping[str, str]) -> None:
    """Let an expression head answer for any classes without training, by their prototypes alone.

    The bridge is given up: what it knows of the other heads stays in their copies. To ask about one set of classes
    after another, copy the model first. See `Bridge.encode_classes`.

    Args:
        model: The model, which is changed.
        head: An expression head with prototypes.
        texts: Class names or free texts, whose letters then name the class; or texts by class name.

    Raises:
        ConfigError: There is no such head, or nothing to make its prototypes by.
        LabelSpaceError: There are fewer than two classes, one that a text names is none, or two are the same.
        WeightsError: The text tower was saved without its token embedding.
    """
    old = _head(model, head)
    if model.bridge is None:
        raise ConfigError(
            "This model has no bridge that could read new classes.",
            remedy="Load the model as it was trained.",
        )
    if model.training:
        model.refresh_prototypes()
    classes = model.bridge.encode_classes(head, texts)
    new = old.by_prototypes(ExpressionSet(tuple(classes)), torch.stack(list(classes.values())))
    model.bridge = None
    model.replace_head(head, new)


def _head(model: AffectModel, name: str) -> Head:
    """The head of this name, which must have prototypes."""
    head = model.head(name)
    if not head.uses_prototypes:
        having = ", ".join(heads_with_prototypes(model)) or "none"
        raise ConfigError(f"The head {name!r} has no prototypes.", remedy=f"Heads with prototypes: {having}.")
    return head
