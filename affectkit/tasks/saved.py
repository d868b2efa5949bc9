"""Evaluation of a saved model on any corpus, without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import torch

from affectkit.data import Target
from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import UnitSpace, label_space
from affectkit.metrics import ThresholdRule
from affectkit.models import AffectModel, Head, load
from affectkit.models.convert import model_of_checkpoint
from affectkit.models.zero_shot import copy_by_prototypes, texts_of_classes
from affectkit.tasks.base import AffectTask
from affectkit.tasks.evaluation import Evaluation, EvaluationData

__all__ = ["SavedModel"]


class SavedModel(AffectTask):
    """Evaluate a saved model as it is.

    Labels of a corpus are projected by name onto those of the heads. Units that the model or the corpus lacks, and
    heads whose labels do not fit, are left out and named.

    Args:
        name: Folder or Hub name of a saved model, the name of a model of affectkit, or a checkpoint of `affectkit fit`.
        threshold: Decision threshold of action units besides 0.5: `val` for those saved with the model, which may
            have been chosen on another corpus; `oracle` chooses them on the test data and is labelled so.
        classes: Classes of the expression head, for models with text prototypes, which are then compared without
            training (zero-shot): "corpus" for those of the evaluated corpus, or names and free texts. By default those
            of the model. The texts are printed.

    Raises:
        ConfigError: Classes are given, and the model has no text prototypes or the corpus no expressions.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: ThresholdRule = "val",
        classes: Literal["corpus"] | list[str] | None = None,
    ) -> None:
        super().__init__(_open(name))
        self.save_hyperparameters()
        self.has_classes = False
        self.thresholds = {
            name: dict(zip(head.labels, head.thresholds, strict=True))
            for name, head in self.heads.items()
            if head.has_thresholds
        }
        chosen = {value for values in self.thresholds.values() for value in values.values()}
        if threshold == "val" and chosen <= {0.5}:
            self.hparams["threshold"] = "fixed"

    def _use_classes(self, datasets: list[EvaluationData]) -> None:
        """Replace the expression head by one with other classes, and print their texts."""
        classes = self.hparams["classes"]
        if classes == "corpus":
            found = {data.targets["expression"] for data in datasets if "expression" in data.targets}
            if len(found) != 1:
                raise ConfigError(
                    f"The data have {len(found)} sets of expressions.",
                    remedy="Evaluate one corpus with expressions, or name the `classes`.",
                )
            classes = list(label_space(found.pop()).labels)
        for name, texts in texts_of_classes(self.model, classes).items():
            self._note(f"prompts of {name}: {' | '.join(texts)}")
        self.model = copy_by_prototypes(self.model, classes)
        self.heads = {name: self.model.head(name) for name in self.model.heads}
        self.has_classes = True

    def _new_evaluation(self, loaders: Any) -> Evaluation:
        loaders = loaders if isinstance(loaders, list) else [loaders]
        datasets = [loader.dataset for loader in loaders]
        if self.hparams["classes"] is not None and not self.has_classes:
            self._use_classes(datasets)
        faults = {name: _fault(head, datasets) for name, head in self.heads.items()}
        for name, fault in faults.items():
            if fault:
                self._note(f"the head {name!r} is left out: {fault}")
        fitting = {name: head for name, head in self.heads.items() if not faults[name]}
        if not fitting:
            raise ConfigError(
                f"No head of the model fits {', '.join(data.name for data in datasets)}.",
                remedy="Compare `affectkit describe --model` with the recipe's data.",
            )
        for name, head in fitting.items():
            for data in datasets:
                for note in _differences(name, head, data):
                    self._note(note)
        return Evaluation(fitting, datasets, self.device)

    def _note(self, text: str) -> None:
        if self.trainer.is_global_zero:
            print(f"note: {text}", file=sys.stderr)

    def _protocol(self, dataset: str) -> str:
        """Protocol of a corpus, with what is known of the model's training."""
        known = self.model.metadata
        learned = "rendered faces" if known.get("rendered") else known.get("trained_on") or "unknown data"
        name = (
            Path(self.hparams["name"]).name if Path(self.hparams["name"]).is_dir() else self.hparams["name"]
        )
        how = (
            "" if self.hparams["classes"] is None else "; zero-shot by prompts, no labels of expressions used"
        )
        return f"{super()._protocol(dataset)}; saved model {name}, learned from {learned}{how}"


def _open(name: str) -> AffectModel:
    return model_of_checkpoint(Path(name)) if name.endswith(".ckpt") else load(name)


def _fault(head: Head, datasets: list[EvaluationData]) -> str | None:
    """Why a head cannot be evaluated on any of the datasets."""
    given = [data for data in datasets if head.target in data.targets]
    if not given:
        return f"{', '.join(data.name for data in datasets)} has no labels {head.target!r}."
    for data in given:
        space = label_space(data.targets[head.target])
        nothing = torch.tensor(0) if space.indexed else torch.zeros(len(space))
        try:
            labels = Target.make(nothing, space=space.name).project(head.space.name)
        except LabelSpaceError as error:
            return f"{data.name}: {error.fault}"
        if isinstance(space, UnitSpace) and not labels.mask.any():
            return f"{data.name} annotates none of its units."
    return None


def _differences(name: str, head: Head, data: EvaluationData) -> list[str]:
    """Units that only the head or only the corpus has, a line each."""
    space = label_space(data.targets.get(head.target, head.space.name))
    if not isinstance(space, UnitSpace):
        return []
    only = [label for label in space.labels if label not in head.labels]
    unknown = [label for label in head.labels if label not in space.labels]
    return [
        f"{data.name}/{name}: {text}: {', '.join(labels)}"
        for text, labels in (("the model lacks", only), ("not annotated and not measured", unknown))
        if labels
    ]
