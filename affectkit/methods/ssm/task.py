"""Training of SSM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from affectkit.data import ClipBatch, ClipMixup
from affectkit.errors import ConfigError
from affectkit.facs import AUSet, ExpressionSet
from affectkit.losses import LossBalancer, LossTerm, ramp
from affectkit.metrics import ThresholdRule
from affectkit.models import Backbone, Bridge, Features, Head, build
from affectkit.tasks.base import Averaging, Reduced
from affectkit.tasks.multitask import MultiTask
from affectkit.tasks.optim import build_optimizer

__all__ = ["SSM"]

WEIGHTS = {ExpressionSet.kind: 1.0, AUSet.kind: 2.0}


class SSM(MultiTask):
    r"""Train a head of action units and a head of expressions with prototypes that inform each other.

    Each head predicts twice: by :math:`z`, a linear layer plus its prototypes, and by :math:`z^p`, its prototypes
    alone. With the cross-entropies :math:`L_1, L_3` of the expressions and the binary cross-entropies
    :math:`L_2, L_4` of the action units, for :math:`z` and :math:`z^p`, and their moving means :math:`\mu_k`,

    .. math:: L = \tfrac13 \left[ \frac{L_1}{\mu_1} + 2 \frac{L_2}{\mu_2}
              + a \left( \frac{L_3}{\mu_3} + \frac{L_4}{\mu_4} \right) \right], \qquad
              a = \frac{2}{1 + e^{-10 \cdot \mathrm{epoch} / 30}} - 1.

    Training data can be one corpus or a mixture, stills or clips: a head learns from those that annotate its target.
    The sources of a step are encoded one by one. Clips with labels of action units only are mixed in pairs. Everything
    else is as in `MultiTask`; average the weights with `affectkit.tasks.EMA`.

    Args:
        backbone: Frame encoder, a `ClipBackbone` with experts in the paper.
        heads: By name, a factory that takes the feature width and returns a `PrototypeAUHead` or a
            `PrototypeExpressionHead`. One of each, or only one for a baseline.
        bridge: Factory that takes the label spaces of the heads with prototypes, by head name, and returns a
            `SemanticBridge`. Without it, heads are built without prototypes.
        lr: Learning rate of contexts, temporal modules, heads and gates.
        backbone_lr: Learning rate of the image encoder, including experts.
        map_lr: Learning rate of the residuals of both maps.
        weight_decay: AdamW weight decay of all parameters, including vectors.
        milestones: Epochs at which the learning rates are multiplied by `gamma`.
        gamma: Factor of the learning rates.
        ramp_epochs: Epochs over which the weight of the prototype losses increases.
        momentum: Momentum of the losses' moving means, which are reset every epoch.
        loss_weights: Weight of each head's loss; by default 1 for expressions and 2 for action units.
        mixup: α of MixUp; 0 for no mixing.
        normalize: Averaging of losses over processes, see `affectkit.tasks.base.reduce_losses`.
        threshold: See `affectkit.tasks.MultiTask`.
        input_spec: Input settings that the data do not determine: `frames`, `fps`, `crop_margin`, `alignment`. A value
            that differs from that of the data is an error.
        init_from: Folder or Hub name of a saved model with the initial weights.
        replace_heads: Heads to exclude from `init_from`; every other tensor must fit.
        freeze: Name patterns of frozen parameters.
        compile_model: Compile the backbone with `torch.compile`.
        note: Remark about the model, printed with the protocol of its results.

    Raises:
        ConfigError: A head has other labels, two heads have the same kind, a bridge has no head, or a weight names an
            unknown head.

    References:
        SSM, arXiv 2604.10541, IEEE Transactions on Affective Computing 2026. Ours: any corpora, masks, several
        processes, exact resuming; each token is routed to the experts that it chose (see `ClipBackbone`).
    """

    separate_sources = True

    def __init__(
        self,
        backbone: Backbone,
        heads: dict[str, Callable[[int], Head]],
        bridge: Callable[[dict[str, Any]], Bridge] | None = None,
        *,
        lr: float = 1e-4,
        backbone_lr: float = 1e-6,
        map_lr: float = 1e-2,
        weight_decay: float = 1e-4,
        milestones: list[int] | None = None,
        gamma: float = 0.1,
        ramp_epochs: float = 30,
        momentum: float = 0.95,
        loss_weights: dict[str, float] | None = None,
        mixup: float = 0.4,
        normalize: Averaging = "global",
        threshold: ThresholdRule = "fixed",
        input_spec: dict[str, Any] | None = None,
        init_from: str | None = None,
        replace_heads: list[str] | None = None,
        freeze: list[str] | None = None,
        compile_model: bool = False,
        note: str | None = None,
    ) -> None:
        built = {name: factory(backbone.num_features) for name, factory in heads.items()}
        kinds = {name: head.space.kind for name, head in built.items()}
        if not kinds or len(set(kinds.values())) < len(kinds) or not set(kinds.values()) <= WEIGHTS.keys():
            raise ConfigError(
                f"SSM cannot learn the heads {sorted(heads)} together.",
                remedy="Give one head of action units, one of expressions, or both.",
            )
        if bridge is None:
            built = {name: _without_prototypes(head) for name, head in built.items()}
        super().__init__(
            backbone,
            {name: partial(_given, head) for name, head in built.items()},
            bridge=bridge,
            weights={**{name: WEIGHTS[kind] for name, kind in kinds.items()}, **(loss_weights or {})},
            lr=lr,
            weight_decay=weight_decay,
            normalize=normalize,
            threshold=threshold,
            input_spec=input_spec,
            init_from=init_from,
            replace_heads=replace_heads,
            freeze=freeze,
            compile_model=compile_model,
        )
        self.prototype_terms = [_prototype_term(name) for name, head in built.items() if head.uses_prototypes]
        names = [*self.loss_weights, *self.prototype_terms]
        self.balancer = LossBalancer(names, self.loss_weights, momentum=momentum)
        self.mixup = ClipMixup(mixup) if mixup else None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reset the moving means at the start of each epoch, and seed the random numbers of the step."""
        super().on_train_batch_start(batch, batch_idx)
        if batch_idx == 0:
            self.balancer.reset()

    def prepare(self, batch: ClipBatch, seed: int) -> ClipBatch:
        """Mix the batch in pairs if it has labels of action units only."""
        taught = {
            head.target: head.space.kind for head in self.heads.values() if head.target in batch.targets
        }
        if self.mixup is None or set(taught.values()) != {AUSet.kind}:
            return batch
        (target,) = taught
        frames, labels = self.mixup(batch, target, torch.Generator().manual_seed(seed))
        return replace(batch, frames=frames, targets={target: labels})

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """Loss of a head and, with prototypes, of its prototypes alone."""
        if prototypes is None:
            return super().terms(name, features, prototypes, batch)
        head: Any = self.heads[name]
        logits, alone = head.both(features, prototypes)
        terms = {name: logits, _prototype_term(name): alone}
        return {term: self.head_loss(name, found, batch) for term, found in terms.items()}

    def combine(self, losses: Mapping[str, Reduced]) -> Tensor:
        """Sum of the losses relative to their moving means; the weight of prototype losses increases over epochs."""
        self.balancer.update(
            {term: one.mean for term, one in losses.items()},
            {term: one.count for term, one in losses.items()},
        )
        share = ramp(self.current_epoch, self.hparams["ramp_epochs"])
        loss: Tensor = self.balancer(
            {term: losses[term].loss for term in self.balancer.names},
            dict.fromkeys(self.prototype_terms, share),
        )
        return loss

    def _protocol(self, dataset: str) -> str:
        note = self.hparams["note"]
        return super()._protocol(dataset) + (f"; {note}" if note else "")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with separate rates for image encoder, maps and the rest, and steps by epoch."""
        chosen = self.hparams
        rates = {"backbone.*": chosen["backbone_lr"], "bridge.map.*": chosen["map_lr"]}
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        optimizer = build_optimizer(
            self.model,
            lr=chosen["lr"],
            weight_decay=chosen["weight_decay"],
            groups=[
                {"pattern": pattern, "lr": rate}
                for pattern, rate in rates.items()
                if any(name.startswith(pattern.removesuffix("*")) for name in trained)
            ],
            decay_vectors=True,
        )
        milestones = [15, 25] if chosen["milestones"] is None else chosen["milestones"]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=chosen["gamma"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def _given(head: Head, in_features: int) -> Head:
    """Factory that returns an existing head."""
    return head


def _without_prototypes(head: Head) -> Head:
    if not head.uses_prototypes:
        return head
    plain: Head = build("head", {**head.config, "prototypes": False}, in_features=head.in_features)
    return plain


def _prototype_term(head: str) -> str:
    return f"{head}/prototype"
