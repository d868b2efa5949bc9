"""Heads and labels that the training data do not annotate."""

from __future__ import annotations

from collections.abc import Mapping

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.models import Head
from affectkit.tasks.data import TaskData

__all__ = ["find_unlearned", "unlearned_warning"]


def find_unlearned(heads: Mapping[str, Head], data: TaskData) -> dict[str, list[str]]:
    """Find the labels of heads for which there is no training label.

    Args:
        heads: The heads by name; those with no weight to train are passed over.
        data: Facts about the training data; nothing is looked for where they state no annotations.

    Returns:
        By head, names of action units that no training clip annotates, or of classes that none has.

    Raises:
        ConfigError: A head has no training label at all.
        LabelSpaceError: The labels of a head's target are of another kind than the head's.
    """
    found: dict[str, list[str]] = {}
    for name, head in heads.items():
        if not data.annotations or not any(weight.requires_grad for weight in head.parameters()):
            continue
        try:
            known = data.annotated(head.target, head.space.name)
        except LabelSpaceError as error:
            raise LabelSpaceError(f"The head {name!r}: {error.fault}", remedy=error.remedy) from error
        if known is None or not known.any():
            raise _unlearned_head(name, head, data, target=known is not None)
        missing = [label for label, there in zip(head.labels, known.tolist(), strict=True) if not there]
        if missing:
            found[name] = missing
    return found


def unlearned_warning(unlearned: Mapping[str, list[str]]) -> str:
    """One sentence for each head.

    Example:
        >>> unlearned_warning({"au": ["AU4", "AU9"]})
        "No training label for AU4, AU9 of the head 'au': what it answers there is not learned from these data."
    """
    return " ".join(
        f"No training label for {', '.join(labels)} of the head {name!r}: what it answers there is not learned from "
        "these data."
        for name, labels in unlearned.items()
    )


def _unlearned_head(name: str, head: Head, data: TaskData, *, target: bool) -> ConfigError:
    known = "; ".join(
        f"{corpus} annotates {', '.join(f'{key} ({space})' for key, space in targets.items()) or 'nothing'}"
        for corpus, targets in data.annotations.items()
    )
    fault = (
        f"no training clip annotates {head.space.name}"
        if target
        else f"no training corpus annotates its target {head.target!r}"
    )
    unread = (
        f" Not read, though the name looks like annotation: {', '.join(data.unread)}." if data.unread else ""
    )
    return ConfigError(
        f"The head {name!r} would learn nothing: {fault} ({known}).{unread}",
        remedy=f"Correct the table, or the head's target and space; or freeze the head (model.freeze: heads.{name}.*).",
    )
