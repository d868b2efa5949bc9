"""Training of Micro-AU CLIP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.errors import ConfigError
from affectkit.losses import LossTerm
from affectkit.methods.micro_au_clip.head import MicroAUHead, MicroAUOutputs
from affectkit.methods.micro_au_clip.losses import CrossSampleContrast, GlobalDependencyLoss
from affectkit.methods.micro_au_clip.recognition import RuleRecognition, rules_of
from affectkit.models import Backbone, Features, FlowBackbone
from affectkit.tasks.data import task_data
from affectkit.tasks.evaluation import MetricStates, align_levels
from affectkit.tasks.multitask import MultiTask

__all__ = ["MicroAU"]


class MicroAU(MultiTask):
    r"""`MultiTask` with the losses of `MicroAUHead` heads, and recognition of emotions by rules.

    The loss of a micro head is :math:`L_{cls} + w_c L_{con} + w_d L_{GD}`: the cross-entropy over each unit's two
    texts (the head's loss in `losses`, weighted by `balance`), the contrast of units across clips, and the dependency
    between units. The co-occurrence of units is counted in the training labels at the start of training. Other heads
    and corpora without micro-expressions can be part of the same run.

    Args:
        backbone: As for `MultiTask`.
        \*args: As for `MultiTask`: heads, temporal.
        flow: Arguments of `affectkit.models.FlowBackbone`, `{}` for its defaults: the backbone then encodes the optical
            flow from onset to apex. Set `motion: apex` in the head. None for the frames.
        contrast_weight: :math:`w_c`.
        dependency_weight: :math:`w_d`.
        dependency_target: Target cosine of units that are active together, in [0, 1].
        recognition: By head name, the classes that FACS rules find in its units on evaluation data: "casme2_5",
            "megc3", "class i,class ii,…". Training does not use emotion labels.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: `recognition` names an unknown head or one with other labels, a head does not fit `flow`, or as
            for `MultiTask`.
        LabelSpaceError: There is no rule for any of the classes of `recognition`.

    References:
        Micro-AU CLIP, arXiv 2603.16302, which reads optical flow. Details that its abstract does not give are our own
        design; see the documentation.
    """

    def __init__(
        self,
        backbone: Backbone,
        *args: Any,
        flow: dict[str, Any] | None = None,
        contrast_weight: float = 0.1,
        dependency_weight: float = 0.1,
        dependency_target: float = 0.5,
        recognition: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone if flow is None else FlowBackbone(backbone, **flow), *args, **options)
        if unknown := sorted(set(recognition or {}) - set(self.heads)):
            raise ConfigError(
                f"`recognition` names unknown heads: {unknown}.", remedy=f"Heads: {sorted(self.heads)}."
            )
        for name, classes in (recognition or {}).items():
            rules_of(self.heads[name], classes)  # raises errors before training
        self.micro = {name: head for name, head in self.heads.items() if isinstance(head, MicroAUHead)}
        for name, head in self.micro.items():
            if flow is not None and head.motion.motion != "apex":
                raise ConfigError(
                    f"The head {name!r} looks for motion between frames, but optical flow is one picture.",
                    remedy="Set `motion: apex` in the head.",
                )
        self.dependency = GlobalDependencyLoss(rho=dependency_target)
        self.contrast = CrossSampleContrast()
        for name in self.micro:
            self.loss_weights[f"{name}/contrast"] = contrast_weight
            self.loss_weights[f"{name}/dependency"] = dependency_weight
        self.recognition = dict(recognition or {})
        self.cooccurrence: dict[str, Tensor] = {}
        self.by_rules: dict[str, RuleRecognition] = {}

    def on_fit_start(self) -> None:
        """Also count the co-occurrence of units in the training labels."""
        super().on_fit_start()
        for name, head in self.micro.items():
            found = task_data(self.trainer).cooccurrence(head.target, head.space.name)
            if found is None:
                raise ConfigError(
                    f"No training corpus annotates {head.target!r}, which the head {name!r} learns.",
                    remedy="Compare the head's target with the corpus's label spaces.",
                )
            self.cooccurrence[name] = found.float().to(self.device)
            if head.depend is not None:
                head.depend.set_cooccurrence(self.cooccurrence[name])

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; a micro head also has the terms contrast and dependency."""
        if name not in self.micro:
            return super().terms(name, features, prototypes, batch)
        outputs = self.micro[name].outputs(features)
        return {name: self.head_loss(name, outputs.logits, batch), **self._unit_losses(name, outputs, batch)}

    def _unit_losses(self, name: str, outputs: MicroAUOutputs, batch: ClipBatch) -> dict[str, LossTerm]:
        """Contrast and dependency; zero, but with a gradient, if the batch does not annotate the target."""
        head, units = self.micro[name], outputs.units
        if head.target in batch.targets:
            target = batch.targets[head.target].project(head.space.name)
            _, target = align_levels(outputs.logits, target, batch.frame_mask)
            value, mask = target.value, target.mask
        else:
            value, mask = torch.zeros_like(outputs.logits), torch.zeros_like(outputs.logits, dtype=torch.bool)
        dependency = self.dependency(units, value, mask, self.cooccurrence[name])
        local = None
        if self.trainer.world_size > 1:  # every process compares its clips with those of all processes
            local = slice(self.global_rank * len(units), (self.global_rank + 1) * len(units))
            units = self.all_gather(units, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]
            value, mask = (self.all_gather(part).flatten(0, 1) for part in (value, mask))  # type: ignore[union-attr]
        contrast = self.contrast(units, value, mask, head.temperature_of_texts.to(units.device), local=local)
        return {f"{name}/contrast": contrast, f"{name}/dependency": dependency}

    def on_test_start(self) -> None:
        """Create the metrics of the test corpora, including those of recognition by rules."""
        super().on_test_start()
        datasets = self.evaluation["test"].datasets
        self.by_rules = {
            name: RuleRecognition(self.heads[name], classes, datasets, self.device)
            for name, classes in self.recognition.items()
        }

    def evaluate(self, loader: int, logits: dict[str, Tensor], batch: ClipBatch) -> None:
        """See `AffectTask`; recognition by rules is evaluated too."""
        super().evaluate(loader, logits, batch)
        for name, rules in self.by_rules.items():
            rules.update(loader, logits[name], batch)

    def metric_states(self) -> list[MetricStates]:
        """See `AffectTask`; recognition by rules comes last."""
        return [
            *super().metric_states(),
            *(one for name, rules in self.by_rules.items() for one in rules.metric_states(name)),
        ]

    def on_test_epoch_end(self) -> None:
        """Log and store the results, including those of recognition by rules."""
        super().on_test_epoch_end()
        for name, rules in self.by_rules.items():
            logged = {f"test/{key}": value for key, value in rules.values(name).items()}
            self.log_dict(logged, sync_dist=True, batch_size=1, add_dataloader_idx=False)
            self.results |= rules.results(name, protocol=self._protocol)
