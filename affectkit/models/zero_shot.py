"""Prediction by prototypes alone, for trained labels or new classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch

from affectkit.errors import ConfigError
from affectkit.facs import ExpressionSet
from affectkit.models.bridge import Bridge
from affectkit.models.heads import Head
from affectkit.models.model import AffectModel

__all__ = [
    "copy_by_prototypes",
    "heads_with_prototypes",
    "prototype_only",
    "texts_of_classes",
    "use_classes",
]


def heads_with_prototypes(model: AffectModel) -> dict[str, Head]:
    """Heads of a model that use prototypes, by name."""
    return {name: model.head(name) for name in model.heads if model.head(name).uses_prototypes}


def prototype_only(model: AffectModel, head: str) -> None:
    """Make a head predict by its prototypes alone, without its linear layer.

    Thresholds are reset to 0.5 and the temperature to 1, because they were fitted to other logits.

    Args:
        model: The model, changed in place.
        head: Name of a head with prototypes.

    Raises:
        ConfigError: There is no such head, or it has no prototypes.
    """
    model.replace_head(head, _head(model, head).by_prototypes())


def use_classes(model: AffectModel, head: str, texts: Sequence[str] | Mapping[str, str]) -> None:
    """Make an expression head predict any classes without training, by prototypes alone.

    The bridge is removed; the other heads keep their copies of the prototypes. To use one set of classes after another,
    copy the model first. See `Bridge.encode_classes`.

    Args:
        model: The model, changed in place.
        head: Name of an expression head with prototypes.
        texts: Class names or free texts, whose letters then name the class; or texts by class name.

    Raises:
        ConfigError: There is no such head, it has no prototypes, or the model has no bridge.
        LabelSpaceError: There are fewer than two classes, two classes are the same, or a text gives no class name.
        WeightsError: The text tower was saved without its token embedding.
    """
    old, bridge = _head(model, head), _bridge(model)
    if model.training:
        model.refresh_prototypes()
    classes = bridge.encode_classes(head, texts)
    new = old.by_prototypes(ExpressionSet(tuple(classes)), torch.stack(list(classes.values())))
    model.bridge = None
    model.replace_head(head, new)


def _head(model: AffectModel, name: str) -> Head:
    head = model.head(name)
    if not head.uses_prototypes:
        known = ", ".join(heads_with_prototypes(model)) or "none"
        raise ConfigError(f"The head {name!r} has no prototypes.", remedy=f"Heads with prototypes: {known}.")
    return head


def copy_by_prototypes(
    model: AffectModel, classes: Sequence[str] | None, *, everywhere: bool = False
) -> AffectModel:
    """Copy a model so that its expression head, or every head with prototypes, predicts by them alone.

    Args:
        model: The model, which stays as it is.
        classes: New classes of the expression head, see `use_classes`; or None.
        everywhere: Whether every head with prototypes predicts by them.

    Raises:
        ConfigError: The model has no prototypes, or none for classes.
        LabelSpaceError: See `use_classes`.
    """
    model = deepcopy(model).eval()
    if not heads_with_prototypes(model):
        raise ConfigError(
            "No head of this model has prototypes.",
            remedy="Use a model with texts, such as one of the recipes joint/ssm_* and caption/*.",
        )
    expression = None if classes is None else _expression_head(model)
    if everywhere:
        for name in heads_with_prototypes(model):
            prototype_only(model, name)
    if expression is not None and classes is not None:
        use_classes(model, expression, classes)
    return model


def texts_of_classes(model: AffectModel, classes: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Texts that represent new classes of the expression head, by class name; see `use_classes`.

    Raises:
        ConfigError: The model has no prototypes for classes, or no bridge.
        LabelSpaceError: See `use_classes`.
    """
    head = _expression_head(model)
    return _bridge(model).class_texts(head, classes)


def _expression_head(model: AffectModel) -> str:
    for name, head in heads_with_prototypes(model).items():
        if isinstance(head.space, ExpressionSet):
            return name
    raise ConfigError(
        "This model has no expression head with prototypes, so it cannot take new classes.",
        remedy="Use a model with texts, such as one of the recipes joint/ssm_* and caption/*.",
    )


def _bridge(model: AffectModel) -> Bridge:
    if model.bridge is None:
        raise ConfigError(
            "This model has no bridge to encode new classes.", remedy="Load the model as it was trained."
        )
    return model.bridge
