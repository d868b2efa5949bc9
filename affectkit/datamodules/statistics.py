"""Label statistics of training data, computed without decoding a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from affectkit.data import ClipLabels
from affectkit.datasets import AffectDataset
from affectkit.errors import ConfigError
from affectkit.facs import UnitSpace, label_space

__all__ = [
    "TrainingStatistics",
    "clip_classes",
    "clip_positives",
    "count_labels",
    "count_pairs",
    "find_annotated",
]


class TrainingStatistics(ABC):
    """Facts about the training data of a datamodule.

    The methods take the name of a target, such as `au`, and the label space to look in; they return None if no dataset
    has the target.
    """

    @abstractmethod
    def training_sets(self) -> Sequence[AffectDataset]:
        """Datasets of the training clips."""

    @property
    def trained_on(self) -> dict[str, tuple[str, bool]]:
        """Licence of each training corpus, and whether all its faces are rendered."""
        found: dict[str, tuple[str, bool]] = {}
        for dataset in self.training_sets():
            name = type(dataset).name
            found[name] = dataset.licence, dataset.rendered and found.get(name, ("", True))[1]
        return found

    @property
    def input_format(self) -> dict[str, Any]:
        """Fields of the model's input that the data determine, by name in `affectkit.models.InputSpec`."""
        return {}

    @property
    def annotations(self) -> dict[str, dict[str, str]]:
        """Label space of each target, by the name of the training dataset."""
        return {dataset.name: dict(dataset.targets) for dataset in self.training_sets()}

    @property
    def unread(self) -> tuple[str, ...]:
        """Columns that look like annotation of the training clips and are not read."""
        return tuple(dict.fromkeys(name for dataset in self.training_sets() for name in dataset.unread))

    def annotated(self, target: str, space: str) -> Tensor | None:
        """Labels that a training clip annotates, bool `[A]`; for classes, those that a clip has."""
        found = [find_annotated(dataset, target, space) for dataset in self.training_sets()]
        known = [labels for labels in found if labels is not None]
        return torch.stack(known).any(0) if known else None

    def label_rates(self, target: str, space: str) -> Tensor | None:
        """Share of positives among the annotated training labels, float64 `[A]`, NaN for labels never annotated."""
        counts = [found for data in self.training_sets() if (found := count_labels(data, target, space))]
        if not counts:
            return None
        positives, annotated = (torch.stack(counted).sum(0) for counted in zip(*counts, strict=True))
        return positives / annotated

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        """P(unit j | unit i) among the training labels, float64 `[A, A]`, rows i; 0 if i never occurs."""
        counts = [found for data in self.training_sets() if (found := count_pairs(data, target, space))]
        if not counts:
            return None
        both, first = (torch.stack(counted).sum(0) for counted in zip(*counts, strict=True))
        return both / first.clamp(min=1)

    def clip_labels(self, target: str, space: str) -> ClipLabels | None:
        """Class or level of each training clip, of the likeliest one of distributions.

        A clip whose frames have different labels counts as not annotated.
        """
        clips, subjects, values = [], [], []
        for dataset in self.training_sets():
            for record in dataset.clips if target in dataset.targets else ():
                label = dataset.annotate(record, dataset.label_frames(record))[target]
                label = label.project(space).likeliest()
                label = label.over_frames() if label.leading else label
                clips.append((dataset.name, record.clip))
                subjects.append(f"{dataset.name}/{record.subject or record.clip}")
                values.append(int(label.value) if bool(label.mask) else -1)
        return ClipLabels(tuple(clips), tuple(subjects), torch.tensor(values)) if clips else None


def find_annotated(dataset: AffectDataset, target: str, space: str) -> Tensor | None:
    """Labels of a space that are annotated at least once, bool `[A]`; for classes, those that a clip has.

    Returns:
        None if the dataset has no such target.
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
    """Positives (labels of at least 0.5) and annotated labels per unit; arguments as in `find_annotated`.

    Returns:
        float64 `[A]` each, counted over clips or, for labels per frame, over frames; None if the dataset has no such
        target of action units.
    """
    rows = _rows(dataset, target, space)
    if rows is None:
        return None
    positives, annotated = torch.zeros(2, 1, dtype=torch.float64)
    for shown, known in rows:
        positives = positives + shown.double().sum(0)
        annotated = annotated + known.double().sum(0)
    return positives, annotated


def count_pairs(dataset: AffectDataset, target: str, space: str) -> tuple[Tensor, Tensor] | None:
    """Joint occurrence of action units; arguments as in `find_annotated`.

    Returns:
        float64 `[A, A]` each: number of clips or frames, among those with both i and j annotated, that show both, and
        that show i. None if the dataset has no such target of action units.
    """
    rows = _rows(dataset, target, space)
    if rows is None:
        return None
    both, first = torch.zeros(2, 1, 1, dtype=torch.float64)
    for shown, known in rows:
        both = both + shown.double().T @ shown.double()
        first = first + shown.double().T @ known.double()
    return both, first


def clip_positives(dataset: AffectDataset, target: str, units: str | None = None) -> Tensor:
    """Whether each clip shows units of a label space (by default the target's) in any frame, bool `[N, A]`.

    Raises:
        ConfigError: The dataset has no such target of action units.
    """
    rows = _rows(dataset, target, units or dataset.targets.get(target, ""))
    if rows is None:
        remedy = f"Its targets are {', '.join(dataset.targets)}."
        raise ConfigError(f"{dataset.name} has no action units {target!r}.", remedy=remedy)
    return torch.stack([shown.any(0) for shown, _ in rows])


def clip_classes(dataset: AffectDataset, target: str) -> Tensor:
    """Class of each clip, the likeliest one of a distribution, int64 `[N]`; -1 for clips without one.

    Raises:
        ConfigError: The dataset has no such target of classes.
    """
    if target not in dataset.targets or not label_space(dataset.targets[target]).indexed:
        remedy = f"Its targets are {', '.join(dataset.targets)}."
        raise ConfigError(f"{dataset.name} has no classes {target!r}.", remedy=remedy)
    found = [
        dataset.annotate(record, dataset.label_frames(record))[target].likeliest() for record in dataset.clips
    ]
    labels = [label.over_frames() if label.leading else label for label in found]
    return torch.stack([torch.where(label.mask, label.value, -1) for label in labels])


def _rows(dataset: AffectDataset, target: str, space: str) -> Iterator[tuple[Tensor, Tensor]] | None:
    """Shown and annotated units of each clip, bool [rows, A] each; None without such units."""
    if target not in dataset.targets or not isinstance(label_space(space), UnitSpace):
        return None
    labels = (dataset.annotate(record, dataset.label_frames(record))[target] for record in dataset.clips)
    projected = (label.project(space) for label in labels)
    return (
        (
            (label.value >= 0.5).reshape(-1, label.value.shape[-1]),
            label.mask.reshape(-1, label.mask.shape[-1]),
        )
        for label in projected
    )
