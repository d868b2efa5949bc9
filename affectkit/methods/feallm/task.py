"""Training of FEALLM."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.facs import LabelSpace
from affectkit.losses import LossTerm
from affectkit.methods.feallm.answers import Answer, answer_from_labels
from affectkit.methods.feallm.head import FEALLMHead
from affectkit.methods.feallm.instructions import read_instructions
from affectkit.methods.feallm.sentences import SentenceMetrics
from affectkit.models import Features
from affectkit.tasks.base import model_inputs
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.multitask import MultiTask

__all__ = ["FEALLM"]


class FEALLM(MultiTask):
    r"""`MultiTask` with instruction data for `FEALLMHead` heads.

    The loss of such a head is :math:`L_{units} + w_t L_{text}`: the head's loss in `losses` on the slots of the units,
    and the next-token cross-entropy of answers, see `AnswerReader.learn`. Answers are written at every step from the
    labels of units and expressions (`answer_from_labels`), so neither names of files nor the order of clips can tell
    them; a clip without a labelled expression has none. Other heads can be part of the same run.

    The test also measures the sentences of the corpus, see `SentenceMetrics`.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal, bridge.
        text_weight: :math:`w_t`.
        expression_target: Name of the annotation with expressions.
        instructions: JSON Lines with answers of your own, see `read_instructions`; clips that the file does not name
            have those of their labels.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: No head is a `FEALLMHead`, or as for `MultiTask`.
        DatasetNotFoundError: The file with instructions does not exist.
        AnnotationError: A line of this file is damaged.

    References:
        FEALLM, arXiv 2505.13419. The weight of the two losses is ours.
    """

    def __init__(
        self,
        *args: Any,
        text_weight: float = 0.3,
        expression_target: str = "expression",
        instructions: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.talking = {name: head for name, head in self.heads.items() if isinstance(head, FEALLMHead)}
        if not self.talking:
            raise ConfigError("No head answers in sentences.", remedy="Use a FEALLMHead.")
        self.loss_weights |= {f"{name}/text": text_weight for name in self.talking}
        self.expression_target, self.instructions = expression_target, instructions
        self.given: dict[str, dict[str, Answer]] = {
            name: {}
            if instructions is None
            else read_instructions(instructions, head.units, head.expressions)
            for name, head in self.talking.items()
        }
        self.has_given = False
        self.sentences: list[dict[str, SentenceMetrics]] = []

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; a head that answers also has the term text."""
        if name not in self.talking:
            return super().terms(name, features, prototypes, batch)
        logits, text = self.talking[name].learn(features, self.answers(name, batch))
        return {name: self.head_loss(name, logits, batch), f"{name}/text": text}

    def answers(self, name: str, batch: ClipBatch) -> list[Answer | None]:
        """Answers of a batch for a head, of the file or the labels; None where there is neither."""
        head, written = self.talking[name], list[Answer | None]()
        (value, mask), (classes, labelled) = self._labels(head, batch)
        active = (mask & (value >= 0.5)).tolist()
        for i, clip in enumerate(batch.meta["clip"]):
            if clip in self.given[name]:
                self.has_given = True
                written.append(self.given[name][clip])
            elif labelled[i] and mask[i].any():
                units = [unit for unit, on in zip(head.units, active[i], strict=True) if on]
                written.append(answer_from_labels(units, head.expressions.classes[int(classes[i])]))
            else:
                written.append(None)
        return written

    def on_train_epoch_end(self) -> None:
        """Stop if training has diverged, or if no clip is in the file with instructions.

        Raises:
            ConfigError: The file names no training clip.
        """
        super().on_train_epoch_end()
        if self.instructions is not None and not self.has_given:
            raise ConfigError(
                "The file with instructions names no training clip.",
                path=self.instructions,
                remedy="Write the names of the corpus's clips as `clip`.",
            )

    def on_test_start(self) -> None:
        """Create the test metrics, also those of sentences."""
        super().on_test_start()
        self.sentences = [
            {name: SentenceMetrics(head) for name, head in self.talking.items()}
            for _ in self.evaluation["test"].datasets
        ]

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """See `AffectTask`; also measures the sentences of the clips."""
        features = self.model.features(**model_inputs(batch))
        logits = {name: head(features) for name, head in self.heads.items()}
        self.evaluate(dataloader_idx, logits, batch)
        valid = batch.valid.cpu()
        for name, metrics in self.sentences[dataloader_idx].items():
            head = self.talking[name]
            texts = head.describe(features, logits[name])
            labels = self._labels(head, batch)
            kept = [text for text, counts in zip(texts, valid.tolist(), strict=True) if counts]
            units, classes = (tuple(part.cpu()[valid] for part in pair) for pair in labels)
            metrics.update(
                kept,
                head.active(logits[name]).cpu()[valid],
                cast("tuple[Tensor, Tensor]", units),
                cast("tuple[Tensor, Tensor]", classes),
                batch.subject.cpu()[valid],
            )
        return self._predictions(logits, batch)

    def on_test_epoch_end(self) -> None:
        """See `AffectTask`; results of sentences are under `dataset/HEAD sentences`."""
        super().on_test_epoch_end()
        for data, by_head in zip(self.evaluation["test"].datasets, self.sentences, strict=True):
            for name, metrics in by_head.items():
                metrics.gather()
                rows = metrics.results(self._protocol(data.name), by_subject=data.groups_are == "subjects")
                if rows:
                    self.results[f"{data.name}/{name} sentences"] = rows

    def _labels(
        self, head: FEALLMHead, batch: ClipBatch
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Values and masks of units [B, A] and of expressions [B], by clip."""
        units = _by_clip(batch, head.target, head.space)
        return units, _by_clip(batch, self.expression_target, head.expressions)


def _by_clip(batch: ClipBatch, name: str, space: LabelSpace) -> tuple[Tensor, Tensor]:
    """Values and masks of a target, all masked if the batch does not annotate it."""
    blank = torch.zeros((len(batch), len(space)), device=batch.frames.device)
    if name not in batch.targets:
        nothing = blank[:, 0].long() if space.indexed else blank
        return nothing, torch.zeros_like(nothing, dtype=torch.bool)
    _, target = align_levels(blank, batch.targets[name].project(space.name), batch.frame_mask)
    value = target.value.argmax(dim=-1) if target.soft and space.indexed else target.value
    return value, target.mask
