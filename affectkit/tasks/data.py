"""What a task asks the datamodule it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from lightning.pytorch import Trainer
from torch import Tensor

__all__ = ["TaskData", "protocol_of", "task_data"]


class TaskData(Protocol):
    """Facts about the data of a run; the datamodules of `affectkit.datamodules` have all of them."""

    @property
    def protocol(self) -> str:
        """What the numbers are measured on, in one line."""
        ...

    @property
    def trained_on(self) -> Mapping[str, tuple[str, bool]]:
        """By corpus, its licence, and whether all faces are rendered."""
        ...

    @property
    def annotations(self) -> Mapping[str, Mapping[str, str]]:
        """By training corpus, the label space of each of its targets; empty where nothing is stated."""
        ...

    @property
    def unread(self) -> Sequence[str]:
        """Columns that look like annotation and are not read."""
        ...

    def annotated(self, target: str, space: str) -> Tensor | None:
        """Labels that a training clip annotates, bool [A]; None where no corpus has the target."""
        ...

    def label_rates(self, target: str, space: str) -> Tensor | None:
        """Share of positives among the annotated training labels, float64 [A]; None where none has the target."""
        ...

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        """P(unit j | unit i) among the training labels, float64 [A, A]; None where none has the target."""
        ...


class _NoFacts:
    """Stands in for a datamodule that states nothing, or for plain loaders."""

    protocol = "test split"
    trained_on: Mapping[str, tuple[str, bool]] = {}
    annotations: Mapping[str, Mapping[str, str]] = {}
    unread: Sequence[str] = ()

    def annotated(self, target: str, space: str) -> Tensor | None:
        return None

    def label_rates(self, target: str, space: str) -> Tensor | None:
        return None

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        return None


def task_data(trainer: Trainer) -> TaskData:
    """The facts about the data of a run; none where its datamodule does not state all of them.

    Args:
        trainer: Of the run.
    """
    data: Any = getattr(trainer, "datamodule", None)
    asked = ("protocol", "trained_on", "annotations", "unread", "annotated", "label_rates", "cooccurrence")
    return cast("TaskData", data) if all(hasattr(type(data), name) for name in asked) else _NoFacts()


def protocol_of(data: TaskData, dataset: str) -> str:
    """What the numbers of one dataset are measured on; in a mixture, that of its source.

    Args:
        data: From `task_data`.
        dataset: Name of the dataset.
    """
    sources: Mapping[str, TaskData] = getattr(data, "sources", {})
    return sources.get(dataset, data).protocol
