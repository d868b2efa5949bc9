"""How often labels occur in a dataset, counted without decoding a frame."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from affectkit.datasets import AffectDataset
from affectkit.errors import ConfigError
from affectkit.facs import UnitSpace, label_space

__all__ = ["clip_positives", "count_labels", "count_pairs", "find_annotated"]


def find_annotated(dataset: AffectDataset, target: str, space: str) -> Tensor | None:
    """Find the labels that are annotated at least once; it ends where all of them are found.

    Args:
        dataset: The corpus part to look through.
        target: Name of a target, such as `au`.
        space: Name of the label space in which to look.

    Returns:
        bool `[A]`: action units or dimensions that a clip or frame annotates, or classes that one has. None where the
        corpus has no such target.
    """
    if target not in dataset.targets:
        return None
    found = torch.zeros(len(label_space(space)), dtype=torch.bool)
    for record in dataset.clips:
        labels = dataset.annotate(record, dataset.label_frames(record)).get(target)
        if labels is not None:
            labels = labels.project(space)
            known = labels.as_soft().value > 0 if labels.indexed else labels.mask
            found |= known.reshape(-1, len(found)).any(0)
        if found.all():
            break
    return found


def count_labels(dataset: AffectDataset, target: str, space: str) -> tuple[Tensor, Tensor] | None:
    """Count positives and annotations of every label.

    Args:
        dataset: The corpus part to count.
        target: Name of a target of action units, such as `au`.
        space: Name of the label space in which to count.

    Returns:
        float64 `[A]` each: the number of positives (labels of at least 0.5) and of annotated labels, over clips or,
        where labels are given by frame, over frames. None where the corpus has no such target of action units.
    """
    if not _has_units(dataset, target, space):
        return None
    positives, annotated = torch.zeros(2, 1, dtype=torch.float64)
    for shown, known in _rows(dataset, target, space):
        positives = positives + shown.double().sum(0)
        annotated = annotated + known.double().sum(0)
    return positives, annotated


def count_pairs(dataset: AffectDataset, target: str, space: str) -> tuple[Tensor, Tensor] | None:
    """Count how often units occur together.

    Args:
        dataset: The corpus part to count.
        target: Name of a target of action units, such as `au`.
        space: Name of the label space in which to count.

    Returns:
        float64 `[A, A]` each, over clips or frames in which both i and j are annotated: those that show both, and
        those that show i. None where the corpus has no such target of action units.
    """
    if not _has_units(dataset, target, space):
        return None
    both, first = torch.zeros(2, 1, 1, dtype=torch.float64)
    for shown, known in _rows(dataset, target, space):
        both = both + shown.double().T @ shown.double()
        first = first + shown.double().T @ known.double()
    return both, first


def clip_positives(dataset: AffectDataset, target: str, units: str | None = None) -> Tensor:
    """Whether clips show units in any of their frames.

    Args:
        dataset: The corpus part to look through.
        target: Name of a target of action units, such as `au`.
        units: Label space in which to look; the target's own by default.

    Returns:
        bool `[N, A]`; False where nothing is annotated.

    Raises:
        ConfigError: The corpus has no such target.
    """
    space = dataset.targets.get(target)
    if space is None or not _has_units(dataset, target, space):
        raise ConfigError(
            f"{dataset.name} has no action units {target!r}.",
            remedy=f"Its targets are {', '.join(dataset.targets)}.",
        )
    return torch.stack([shown.any(0) for shown, _ in _rows(dataset, target, units or space)])


def _has_units(dataset: AffectDataset, target: str, space: str) -> bool:
    return target in dataset.targets and isinstance(label_space(space), UnitSpace)


def _rows(dataset: AffectDataset, target: str, space: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Clip by clip, which units are shown and which are annotated: bool [rows, A] each."""
    for record in dataset.clips:
        labels = dataset.annotate(record, dataset.label_frames(record))[target].project(space)
        shape = (-1, labels.value.shape[-1])
        yield (labels.value >= 0.5).reshape(shape), labels.mask.reshape(shape)
