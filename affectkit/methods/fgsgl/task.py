"""Training of FG-SGL."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.facs import mirror_text
from affectkit.losses import LossTerm, SoftContrast
from affectkit.methods.fgsgl.bridge import ProcessBridge
from affectkit.methods.fgsgl.head import ProcessHead, ProcessOutputs
from affectkit.methods.fgsgl.losses import Order, consistency, grouped_cross_entropy, stage_weights
from affectkit.models import Features
from affectkit.tasks.base import Reduced
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.multitask import MultiTask

__all__ = ["FGSGL"]

_log = logging.getLogger(__name__)


class FGSGL(MultiTask):
    r"""Train classes by category prompts and by sentences on the course of the movement, in stages.

    Terms of a head with both levels:

    - the head's loss on the scores by category, and `category`: the contrast of clips and category prompts in both
      directions (:math:`L_{CP}`);
    - `fine`, the mean over the parts d of the cross-entropy of the scores :math:`s_d` and of the contrast of
      :math:`u_d` and sentences (:math:`L_{FG}`). Sentences of one group (see `ProcessBridge`) are no negatives;
    - `consistency`, KL(category ‖ fine);
    - `fusion`, the head's loss on the prediction, which trains the weights of the parts alone.

    Their weights follow `stage_weights`. Parameters that only a later stage uses stay as they are until then, without
    weight decay. Contrast is over the clips of all processes; clips without a label are masked, and a label that is a
    distribution counts as its likeliest class in the contrasts.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal, bridge. Heads with prototypes are `ProcessHead`; the
            bridge is a `ProcessBridge`.
        order: Order of the stages, see `stage_weights`.
        category_weight: Weight of the contrast with categories.
        fine_weight: λ after its ramp.
        consistency_weight: Weight of the consistency.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: There is no `ProcessHead`, or the bridge is no `ProcessBridge`.

    References:
        FG-SGL, arXiv 2603.16269. Its equations were not available; see the documentation for what is ours.
    """

    def __init__(
        self,
        *args: Any,
        order: Order = "coarse_first",
        category_weight: float = 1.0,
        fine_weight: float = 1.0,
        consistency_weight: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.process = {name: head for name, head in self.heads.items() if isinstance(head, ProcessHead)}
        if not self.process or not isinstance(self.model.bridge, ProcessBridge):
            raise ConfigError(
                "FG-SGL trains a head and a bridge that read texts on the course of movements.",
                remedy="Use ProcessHead and ProcessBridge.",
            )
        self.order = order
        self.contrast = SoftContrast(guide="off")
        for name, head in self.process.items():
            weights = {
                "category": category_weight,
                "fine": fine_weight,
                "consistency": consistency_weight,
                "fusion": 1.0,
            }
            used = list(weights) if head.scores == "both" else [head.scores]
            self.loss_weights |= {f"{name}/{term}": weights[term] for term in used}
        if not self.hparams["init_from"]:
            with torch.no_grad():
                prototypes = self.model.prototypes()
                for name, head in self.process.items():
                    head.start_queries(prototypes[name])

    @property
    def bridge(self) -> ProcessBridge:
        """The model's bridge."""
        return cast("ProcessBridge", self.model.bridge)

    @property
    def stage(self) -> dict[str, float]:
        """Weights of the current step, see `stage_weights`."""
        return stage_weights(self.global_step / max(1, self.trainer.estimated_stepping_batches), self.order)

    def on_fit_start(self) -> None:
        """Also warn of classes whose sentences name a side that a flipped picture would contradict."""
        super().on_fit_start()
        for name in self.process:
            if (sided := unmirrored_classes(self.bridge, name)) and self.trainer.is_global_zero:
                _log.warning(
                    "Sentences of %s name a side, and no class has the name and the sentences of the other side: "
                    "do not flip pictures in training.",
                    ", ".join(map(repr, sided)),
                )

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; heads of processes also have the terms of the class."""
        if name not in self.process or prototypes is None:
            return super().terms(name, features, prototypes, batch)
        head = self.process[name]
        found = head.outputs(features, prototypes)
        classes, known = self._classes(head, features, batch)
        categories, sentences = head.texts(prototypes)
        terms: dict[str, LossTerm] = {}
        if found.category is not None and found.clips is not None:
            terms[name] = self.head_loss(name, found.category, batch)
            places = torch.arange(len(head.space), device=classes.device)
            terms[f"{name}/category"] = self._contrast(head, found.clips, categories, classes, known, places)
        if found.fine is not None and found.parts is not None:
            terms[f"{name}/fine"] = self._fine(name, found.fine, found.parts, sentences, classes, known)
            fusion = self.head_loss(name, _weights_alone(head, found), batch)
            terms[f"{name}/fusion" if found.category is not None else name] = fusion
            if found.category is not None:
                apart = consistency(found.category, head.mixed(found.fine))
                terms[f"{name}/consistency"] = torch.where(known, apart, 0.0).sum(), known.sum()
        return terms

    def _classes(self, head: ProcessHead, features: Features, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Class int64 [B] and mask bool [B] of every clip."""
        empty = torch.zeros(len(batch), dtype=torch.int64, device=features.pooled.device)
        if head.target not in batch.targets:
            return empty, empty.bool()
        target = batch.targets[head.target].project(head.space.name)
        _, target = align_levels(features.pooled, target, batch.frame_mask)
        target = target.likeliest()
        return torch.where(target.mask, target.value, 0), target.mask

    def _contrast(
        self,
        head: ProcessHead,
        vectors: Tensor,
        texts: Tensor,
        classes: Tensor,
        known: Tensor,
        groups: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Contrast of vectors [B, D] with the texts [C, D] of their classes, over the clips of all processes."""
        every, labels, mask = self.gather_clips(vectors, classes, known)
        term: tuple[Tensor, Tensor] = self.contrast(
            every @ texts[labels].T,
            groups[labels],
            head.tau,
            mask=mask,
            local=self.own_clips(len(vectors)),
        )
        return term

    def _fine(
        self, name: str, scores: Tensor, parts: Tensor, sentences: Tensor, classes: Tensor, known: Tensor
    ) -> LossTerm:
        """Mean over the parts of the cross-entropy of scores [B, P, C] and of the contrast."""
        head = self.process[name]
        totals = []
        for number, groups in enumerate(self.bridge.groups(name)[head.parts]):
            entropy = grouped_cross_entropy(scores[:, number], classes, groups)
            texts = sentences[:, number]
            total, _ = self._contrast(head, parts[:, number], texts, classes, known, groups)
            totals.append(torch.where(known, entropy, 0.0).sum() + total)
        return torch.stack(totals).mean(), known.sum()

    def combine(self, losses: Mapping[str, Reduced]) -> Tensor:
        """Combine the losses of a step with the weights of its stage."""
        stage = self.stage
        return torch.stack(
            [self.loss_weights[term] * self._share(term, stage) * one.loss for term, one in losses.items()]
        ).sum()

    def _share(self, term: str, stage: Mapping[str, float]) -> float:
        head, _, further = term.partition("/")
        if head not in self.process or self.process[head].scores != "both":
            return 1.0
        return stage[{"": "category", "fusion": "fine"}.get(further, further)]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave parameters without a gradient that the current stage does not use, so that they do not decay."""
        stage = self.stage
        for head in self.process.values():
            if head.scores == "both":
                for level, modules in self._modules_of(head).items():
                    if stage[level] == 0:
                        for module in modules:
                            for parameter in module.parameters():
                                parameter.grad = None
                        if level == "fine" and head.part_weights is not None:
                            head.part_weights.grad = None

    def _modules_of(self, head: ProcessHead) -> dict[str, list[nn.Module]]:
        """Modules that only one level uses."""
        layers = getattr(self.model.backbone, "token_layers", None)
        others = {h for h in self.heads.values() if h is not head}
        levels: dict[str, tuple[nn.Module | None, ...]] = {
            "fine": (head.fine, None if others else layers),
            "category": (head.category, self.bridge.prompts),
        }
        return {level: [one for one in modules if one is not None] for level, modules in levels.items()}


def _weights_alone(head: ProcessHead, found: ProcessOutputs) -> Tensor:
    """The prediction [B, C], with gradients to the weights of the parts alone."""
    category = None if found.category is None else found.category.detach()
    return head.fuse(category, None if found.fine is None else found.fine.detach())


def unmirrored_classes(bridge: ProcessBridge, head: str) -> list[str]:
    """Classes whose sentences name a side while no class has the mirrored name and sentences.

    Args:
        bridge: The bridge.
        head: Name of a head with prototypes.
    """
    processes = bridge.processes[head]
    return [
        name
        for name, process in processes.items()
        if process.mirrored() != process and processes.get(mirror_text(name)) != process.mirrored()
    ]
