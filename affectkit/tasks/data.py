"""Facts about the data of a run: protocol, licences, and which labels training can teach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as with_values
from typing import Any, Protocol, cast

from lightning.pytorch import Trainer
from torch import Tensor

from affectkit.data import ClipLabels, is_same_setting
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.models import AffectModel, Head

__all__ = ["TaskData", "agree_on_input", "find_unlearned", "protocol_of", "task_data", "unlearned_warning"]


class TaskData(Protocol):
    """Facts that the datamodules of `affectkit.datamodules` state; the defaults are those of plain loaders."""

    @property
    def protocol(self) -> str:
        """Evaluation protocol in one line."""
        return "test split"

    @property
    def trained_on(self) -> Mapping[str, tuple[str, bool]]:
        """Licence of each training corpus, and whether all of its faces are rendered."""
        return {}

    @property
    def input_format(self) -> Mapping[str, Any]:
        """Fields of the model's input that the data determine; empty if unknown."""
        return {}

    @property
    def annotations(self) -> Mapping[str, Mapping[str, str]]:
        """Label space of each target, by training corpus; empty if unknown."""
        return {}

    @property
    def unread(self) -> Sequence[str]:
        """Columns that look like annotation but are not read."""
        return ()

    def annotated(self, target: str, space: str) -> Tensor | None:
        """Whether a training clip annotates each label, bool [A]; None if no corpus has the target."""
        return None

    def label_rates(self, target: str, space: str) -> Tensor | None:
        """Share of positives among the annotated training labels, float64 [A]; None if no corpus has the target."""
        return None

    def cooccurrence(self, target: str, space: str) -> Tensor | None:
        """P(unit j | unit i) among the training labels, float64 [A, A]; None if no corpus has the target."""
        return None

    def clip_labels(self, target: str, space: str) -> ClipLabels | None:
        """Class or level of each training clip; None if no corpus has the target."""
        return None


class _PlainLoaders(TaskData):
    """Facts of loaders without a datamodule of affectkit."""


def task_data(trainer: Trainer) -> TaskData:
    """Return the datamodule of a run if it states all facts, otherwise the defaults."""
    data: Any = getattr(trainer, "datamodule", None)
    facts = [name for name in vars(TaskData) if not name.startswith("_")]
    return cast("TaskData", data) if all(hasattr(type(data), name) for name in facts) else _PlainLoaders()


def protocol_of(data: TaskData, dataset: str) -> str:
    """Return the protocol of one dataset; in a mixture, that of its source."""
    sources: Mapping[str, TaskData] = getattr(data, "sources", {})
    return sources.get(dataset, data).protocol


def agree_on_input(model: AffectModel, found: Mapping[str, Any]) -> None:
    """Set the input of a model to the format of its training data.

    Args:
        model: The model; `stated` are the settings that the recipe states for itself.
        found: Fields of `InputSpec` that the data determine. Values of the backbone and of the recipe must equal them,
            except that a recipe may state the alignment of pictures that are used as they are.

    Raises:
        ConfigError: The data make something else than the backbone or the recipe states.
    """
    values = dict(found)
    if values.get("alignment") == "frame" and "alignment" in model.stated:  # the data do not know better
        del values["alignment"], values["crop_margin"]
    size = values.pop("size", model.input_spec.size)
    if size != model.input_spec.size:
        raise ConfigError(
            f"The data make pictures of {size} pixels, the backbone reads {model.input_spec.size}.",
            remedy="Leave out `size` of the data, or change it, their transforms or `size` of the backbone.",
        )
    for key, stated in model.stated.items():
        if key in values and not is_same_setting(stated, values[key]):
            raise ConfigError(
                f"The recipe states {key} {stated} for the model's input, but the data make {key} {values[key]}.",
                remedy=f"Remove {key} from `input_spec` of the model, or change the data.",
            )
    model.input_spec = with_values(model.input_spec, **{**values, **model.stated})


def find_unlearned(heads: Mapping[str, Head], data: TaskData) -> dict[str, list[str]]:
    """Find the labels of trainable heads that have no training label.

    Args:
        heads: The heads by name.
        data: Facts about the training data; without annotations nothing is checked.

    Returns:
        By head, names of action units that no training clip annotates, or of classes that none has.

    Raises:
        ConfigError: A head has no training label at all.
        LabelSpaceError: The labels of a head's target are of another kind than the head's.
    """
    unlearned: dict[str, list[str]] = {}
    for name, head in heads.items():
        if not data.annotations or not any(weight.requires_grad for weight in head.parameters()):
            continue
        try:
            known = data.annotated(head.target, head.space.name)
        except LabelSpaceError as error:
            raise LabelSpaceError(f"The head {name!r}: {error.fault}", remedy=error.remedy) from error
        if known is None or not known.any():
            raise _unlearned_head(name, head, data, has_target=known is not None)
        missing = [label for label, is_known in zip(head.labels, known.tolist(), strict=True) if not is_known]
        if missing:
            unlearned[name] = missing
    return unlearned


def unlearned_warning(unlearned: Mapping[str, list[str]]) -> str:
    """Write one sentence per head.

    Example:
        >>> unlearned_warning({"au": ["AU4", "AU9"]})
        "The head 'au' has no training label for AU4, AU9: its predictions of them are not learned from these data."
    """
    return " ".join(
        f"The head {name!r} has no training label for {', '.join(labels)}: its predictions of them are not learned "
        "from these data."
        for name, labels in unlearned.items()
    )


def _unlearned_head(name: str, head: Head, data: TaskData, *, has_target: bool) -> ConfigError:
    known = "; ".join(
        f"{corpus} annotates {', '.join(f'{key} ({space})' for key, space in targets.items()) or 'nothing'}"
        for corpus, targets in data.annotations.items()
    )
    missing = f"clip annotates {head.space.name}" if has_target else f"corpus annotates {head.target!r}"
    unread = f" Columns that are not read: {', '.join(data.unread)}." if data.unread else ""
    return ConfigError(
        f"The head {name!r} would learn nothing: no training {missing} ({known}).{unread}",
        remedy=f"Correct the table, or the head's target and space; or freeze the head (model.freeze: heads.{name}.*).",
    )
