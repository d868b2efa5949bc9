"""Training of AULLM++."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.losses import LossTerm
from affectkit.methods.aullm.counterfactual import Consistency, CounterfactualLoss, UnitPrototypes
from affectkit.methods.aullm.head import AULLMHead
from affectkit.models import Features
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.multitask import MultiTask

__all__ = ["AULLM"]


class AULLM(MultiTask):
    r"""`MultiTask` with the losses of `AULLMHead` heads: on their nodes, and counterfactual consistency.

    The loss of such a head is :math:`L_{main} + w_n L_{nodes} + \lambda L_{cf}`: the head's loss in `losses`, the same
    loss on the logits of the nodes alone, and consistency with an instruction in which one annotated unit is flipped.
    The flipped instruction exists in training only. Other heads can be part of the same run.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal.
        nodes_weight: :math:`w_n`.
        counterfactual: Kind of consistency, see `affectkit.methods.aullm.CounterfactualLoss`; None for none.
        counterfactual_weight: λ.
        margin: Least change of the flipped unit, in logits.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: The kind of consistency is unknown, or as for `MultiTask`.

    References:
        AULLM++, arXiv 2603.08387, for main and consistency loss. The forms, the loss on nodes and all weights are our
        own; see the documentation.
    """

    def __init__(
        self,
        *args: Any,
        nodes_weight: float = 0.3,
        counterfactual: Consistency | None = "flip",
        counterfactual_weight: float = 0.1,
        margin: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.readers = {name: head for name, head in self.heads.items() if isinstance(head, AULLMHead)}
        self.consistency = (
            None if counterfactual is None else CounterfactualLoss(counterfactual, margin=margin)
        )
        self.prototypes = nn.ModuleDict()
        for name, head in self.readers.items():
            self.loss_weights[f"{name}/nodes"] = nodes_weight
            if self.consistency is not None:
                self.loss_weights[f"{name}/counterfactual"] = counterfactual_weight
                self.prototypes[name] = UnitPrototypes(len(head.space), head.node_features)

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; a head that reads tokens also has the terms nodes and counterfactual."""
        if name not in self.readers:
            return super().terms(name, features, prototypes, batch)
        head = self.readers[name]
        content, nodes = head.encode(features)
        answered_nodes = self.head_loss(name, head.answer_nodes(nodes), batch)
        if self.consistency is None:
            logits = head.answer(content, nodes)
            return {name: self.head_loss(name, logits, batch), f"{name}/nodes": answered_nodes}
        value, mask = _labels(head, batch)
        running: UnitPrototypes = self.prototypes[name]  # type: ignore[assignment]  # built in the constructor
        running.update(nodes, value, mask)
        units, some = running.choose(value, mask)
        flipped = running.flip(nodes, value, units)
        both = head.answer(
            torch.cat([content, content]), torch.cat([nodes, flipped])
        )  # one pass of the reader
        logits, counterfactual = both.chunk(2)
        return {
            name: self.head_loss(name, logits, batch),
            f"{name}/nodes": answered_nodes,
            f"{name}/counterfactual": self.consistency(logits, counterfactual, value, units, some),
        }


def _labels(head: AULLMHead, batch: ClipBatch) -> tuple[Tensor, Tensor]:
    """Values and masks [B, A] of a clip; all masked if the batch does not annotate the target."""
    shape = (len(batch), len(head.space))
    if head.target not in batch.targets:
        nothing = batch.frames.new_zeros(shape, dtype=torch.float32)
        return nothing, nothing.bool()
    target = batch.targets[head.target].project(head.space.name)
    _, target = align_levels(torch.zeros(shape, device=batch.frames.device), target, batch.frame_mask)
    return target.value, target.mask
