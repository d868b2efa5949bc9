"""SSM: action units and expressions learned together, through prototypes that explain each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.func import functional_call

from affectkit.data import ClipBatch, ClipMixup
from affectkit.errors import ConfigError
from affectkit.facs import AUSet, ExpressionSet
from affectkit.losses import LossBalancer, MaskedBCE, MaskedCrossEntropy, MaskedLoss, ramp
from affectkit.metrics import ThresholdRule
from affectkit.models import AffectModel, Backbone, Head, build
from affectkit.models.bridges import SemanticBridge
from affectkit.tasks.base import AffectTask, Averaging, batches_of, seen
from affectkit.tasks.callbacks import EMA
from affectkit.tasks.evaluation import align_levels
from affectkit.tasks.optim import build_optimizer

__all__ = ["SSM"]

LOSSES: dict[str, type[MaskedLoss]] = {ExpressionSet.kind: MaskedCrossEntropy, AUSet.kind: MaskedBCE}
WEIGHTS = {ExpressionSet.kind: 1.0, AUSet.kind: 2.0}


class SSM(AffectTask):
    r"""Train a head of action units and a head of expressions with prototypes that inform each other.

    Each head answers twice: by :math:`z`, a linear layer plus its prototypes, and by :math:`z^p`, its prototypes
    alone. With :math:`L_1, L_3` the cross-entropies of the expressions and :math:`L_2, L_4` the binary
    cross-entropies of the action units, for :math:`z` and :math:`z^p`, and :math:`\mu_k` the moving mean of each,

    .. math:: L = \tfrac13 \left[ \frac{L_1}{\mu_1} + 2 \frac{L_2}{\mu_2}
              + a \left( \frac{L_3}{\mu_3} + \frac{L_4}{\mu_4} \right) \right], \qquad
              a = \frac{2}{1 + e^{-10 \cdot \mathrm{epoch} / 30}} - 1.

    Any corpora will do, one or a mixture, stills or clips: a head learns from those that annotate its target. The
    sources of a step are encoded one by one. Clips that only teach action units are mixed in pairs. Evaluation is
    that of `AffectTask`; average the weights with `affectkit.tasks.EMA`.

    Args:
        backbone: Frame encoder, a `ClipBackbone` with experts in the paper.
        heads: By name, a factory that takes the feature width and returns a `PrototypeAUHead` or a
            `PrototypeExpressionHead`. One of each, or only one for a baseline.
        bridge: Factory that takes the label spaces of the heads that use prototypes, by head name, and returns
            what makes the prototypes, a `SemanticBridge`. Without one, heads are built without prototypes.
        lr: Learning rate of contexts, temporal modules, heads and gates.
        backbone_lr: Of the image encoder, experts included.
        map_lr: Of the two maps' residuals.
        weight_decay: AdamW decay of everything, vectors included.
        milestones: Epochs from which the learning rates are multiplied by `gamma` once more.
        gamma: Likewise.
        ramp_epochs: Epochs over which the prototype losses come in.
        momentum: Of the losses' moving means, which begin anew each epoch.
        loss_weights: By head, the weight of its loss; 1 for expressions and 2 for action units where absent.
        mixup: α of MixUp; 0 mixes nothing.
        normalize: How losses are averaged over processes, see `affectkit.tasks.base.reduce_terms`.
        threshold: See `affectkit.tasks.MultiTask`.
        input_spec: What training decides about the input and saved models must know: `frames`, `fps`,
            `crop_margin`, `alignment`.
        init_from: Folder or Hub name of a saved model whose weights to start from.
        replace_heads: Heads not to take from `init_from`; every other tensor must fit.
        freeze: Name patterns of parameters that are not trained.
        compile_model: Compile the backbone with `torch.compile`.
        note: What a reader of the results must know of the model, printed with their protocol.

    Raises:
        ConfigError: A head is of other labels, two are of one kind, a bridge serves no head, or a weight names no
            head.

    References:
        SSM, arXiv 2604.10541, IEEE Transactions on Affective Computing 2026. Ours: any corpora, masks, several
        processes, exact resuming; each token keeps the expert it chose (see `ClipBackbone`).
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: dict[str, Callable[[int], Head]],
        bridge: Callable[[dict[str, Any]], SemanticBridge] | None = None,
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
        if bridge is None:
            built = {name: _without_prototypes(head) for name, head in built.items()}
        spaces = {name: head.space for name, head in built.items() if _uses_prototypes(head)}
        _check(built, spaces, bridge is not None, loss_weights or {})
        super().__init__(
            AffectModel(
                backbone, built, bridge=None if bridge is None else bridge(spaces), input_spec=input_spec
            )
        )
        self.save_hyperparameters(ignore=["backbone", "heads", "bridge"])
        kinds = {name: head.space.kind for name, head in self.heads.items()}
        self.losses = {name: LOSSES[kind]() for name, kind in kinds.items()}
        weights = {name: (loss_weights or {}).get(name, WEIGHTS[kind]) for name, kind in kinds.items()}
        self.prototype_terms = [_prototype_term(name) for name in spaces]
        self.balancer = LossBalancer([*weights, *self.prototype_terms], weights, momentum=momentum)
        self.mixup = ClipMixup(mixup) if mixup else None
        if init_from is not None:
            self.model.init_from(init_from, replace=replace_heads or [])
        self.model.freeze(freeze or [])
        if compile_model:
            self.model.backbone.compile()

    def on_fit_start(self) -> None:
        """Refuse an average of weights that would also average the places where prompts end.

        Raises:
            ConfigError: A callback other than `EMA` averages weights, or a head has no training label.
        """
        super().on_fit_start()
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and not isinstance(callback, EMA):
                raise ConfigError(
                    f"{type(callback).__name__} may average buffers that are no averages, such as places in a text.",
                    remedy="Use the callback affectkit.tasks.EMA.",
                )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin the moving means anew with each epoch, and reseed what is drawn."""
        super().on_train_batch_start(batch, batch_idx)
        if batch_idx == 0:
            self.balancer.reset()

    def training_step(self, batch: ClipBatch | dict[str, ClipBatch], batch_idx: int) -> Tensor:
        """Loss of one step: a batch of one source, or of every source of a mixture."""
        sources = batches_of(batch)
        prototypes = self.model.prototypes() if self.prototype_terms else {}
        sums: dict[str, list[Tensor]] = {name: [] for name in self.balancer.names}
        counts: dict[str, list[Tensor]] = {name: [] for name in self.balancer.names}
        labelled = {head.target for head in self.heads.values() for s in sources if head.target in s.targets}
        for index, source in enumerate(sources):
            # A head that nobody teaches in this step still takes part in the graph, once.
            idle = {head.target for head in self.heads.values()} - labelled if index == 0 else set()
            learning = [name for name, head in self.heads.items() if head.target in {*source.targets, *idle}]
            if not learning:
                continue
            clips = self._mixed(source, self.step_seed(f"mixup {index}", batch_idx))
            features = self.model.features(*seen(clips))
            for name in learning:
                for term, logits in self._answers(name, features, prototypes).items():
                    total, count = self._sum_and_count(name, logits, clips)
                    sums[term].append(total)
                    counts[term].append(count)
        losses, means, present = self._reduce(
            {term: torch.stack(found).sum() for term, found in sums.items()},
            {term: torch.stack(found).sum() for term, found in counts.items()},
        )
        self.balancer.update(means, present)
        share = ramp(self.current_epoch, self.hparams["ramp_epochs"])
        loss: Tensor = self.balancer(losses, dict.fromkeys(self.prototype_terms, share))
        logged = {f"train/{_log_name(term)}": mean for term, mean in means.items()}
        size = sum(len(source) for source in sources)
        self.log_dict(
            {"train/loss": loss, **logged}, on_step=False, on_epoch=True, batch_size=size, sync_dist=True
        )
        self.divergence.note({**means, "train/loss": loss}, self.global_step)
        return loss

    def _mixed(self, source: ClipBatch, seed: int) -> ClipBatch:
        """The batch, mixed in pairs if it teaches action units and nothing else."""
        taught = {
            head.target: head.space.kind for head in self.heads.values() if head.target in source.targets
        }
        if self.mixup is None or set(taught.values()) != {AUSet.kind}:
            return source
        (target,) = taught
        frames, labels = self.mixup(source, target, torch.Generator().manual_seed(seed))
        return replace(source, frames=frames, targets={target: labels})

    def _answers(self, name: str, features: Any, prototypes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A head's logits, and those of its prototypes alone where it has any, by the name of their loss."""
        head: Any = self.heads[name]
        if name not in prototypes:
            return {name: head(features)}
        logits, alone = head.both(features, prototypes[name])
        return {name: logits, _prototype_term(name): alone}

    def _sum_and_count(self, name: str, logits: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        head = self.heads[name]
        if head.target not in batch.targets:
            return logits.float().sum() * 0.0, logits.new_zeros((), dtype=torch.float32)
        target = batch.targets[head.target].project(head.space.name)
        logits, target = align_levels(logits, target, batch.frame_mask)
        total, count = self.losses[name](logits, target.value, target.mask)
        return total, count

    def _reduce(
        self, sums: dict[str, Tensor], counts: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Losses with gradients, their means over all processes, and how many labels these are of.

        One all-reduce for all of them; see `affectkit.tasks.base.reduce_terms`.
        """
        own, labels = torch.stack([*sums.values()]), torch.stack([*counts.values()])
        both, world = torch.stack([own.detach(), labels]), 1
        if dist.is_available() and dist.is_initialized():
            world = dist.get_world_size()
            dist.all_reduce(both)
        total, everywhere = both
        divisor = everywhere / world if self.hparams["normalize"] == "global" else labels
        losses = own / torch.where(divisor > 0, divisor, 1.0)
        means = total / everywhere.clamp(min=1)
        as_dict = [dict(zip(sums, values.unbind(), strict=True)) for values in (losses, means, everywhere)]
        return as_dict[0], as_dict[1], as_dict[2]

    def on_train_end(self) -> None:
        """Make the prototypes of the weights that training leaves behind."""
        self.model.refresh_prototypes()

    def on_validation_epoch_start(self) -> None:
        """Make the prototypes of the weights that are evaluated, which `EMA` has just exchanged."""
        self.model.refresh_prototypes()

    def on_test_epoch_start(self) -> None:
        """Make the prototypes of the weights that are evaluated."""
        self.model.refresh_prototypes()

    def on_predict_epoch_start(self) -> None:
        """Make the prototypes of the weights that predict."""
        self.model.refresh_prototypes()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Besides what every task keeps, make the prototypes of the very weights that are saved."""
        super().on_save_checkpoint(checkpoint)
        saved = checkpoint["state_dict"]
        if self.model.bridge is None:
            return
        start = "model.bridge."
        weights = {name.removeprefix(start): value for name, value in saved.items() if name.startswith(start)}
        with torch.no_grad():
            found: dict[str, Tensor] = functional_call(self.model.bridge, weights, ())
        for name, prototypes in found.items():
            saved[f"model.heads.{name}.prototypes"] = prototypes

    def _protocol(self, dataset: str) -> str:
        note = self.hparams["note"]
        return super()._protocol(dataset) + (f"; {note}" if note else "")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a rate each for the image encoder, the maps and the rest, and steps by epoch."""
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


def _uses_prototypes(head: Head) -> bool:
    return bool(getattr(head, "uses_prototypes", False))


def _without_prototypes(head: Head) -> Head:
    if not _uses_prototypes(head):
        return head
    plain: Head = build("head", {**head.config, "prototypes": False}, in_features=head.in_features)
    return plain


def _prototype_term(head: str) -> str:
    return f"{head}/prototype"


def _log_name(term: str) -> str:
    head, _, alone = term.partition("/")
    return f"{head}/prototype_loss" if alone else f"{head}/loss"


def _check(
    heads: Mapping[str, Head], spaces: Mapping[str, Any], bridged: bool, weights: Mapping[str, float]
) -> None:
    kinds = [head.space.kind for head in heads.values()]
    if not kinds or len(set(kinds)) < len(kinds) or set(kinds) - set(LOSSES):
        raise ConfigError(
            f"SSM cannot learn the heads {sorted(heads)} together.",
            remedy="Give one head of action units, one of expressions, or both.",
        )
    if bridged and not spaces:
        raise ConfigError(
            "The bridge makes prototypes, and no head uses any.",
            remedy="Give a PrototypeAUHead or a PrototypeExpressionHead, or no bridge.",
        )
    if unknown := sorted(set(weights) - set(heads)):
        raise ConfigError(f"A loss weight is given for {unknown}.", remedy=f"Heads are {sorted(heads)}.")
