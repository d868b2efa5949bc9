"""Training of AU-TTT."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from affectkit.data import ClipBatch
from affectkit.losses import DiceLoss, LossTerm
from affectkit.methods.au_ttt.head import AUTTTHead, AUTTTOutputs
from affectkit.methods.au_ttt.losses import Gamma, HeatMapLoss, MDWALoss, difficulty
from affectkit.models import Features
from affectkit.tasks.base import balance_weights, head_loss
from affectkit.tasks.data import task_data
from affectkit.tasks.multitask import MultiTask

__all__ = ["AUTTT"]


class AUTTT(MultiTask):
    r"""`MultiTask` with the losses of `AUTTTHead` heads: units by MDWA and WDI, heat maps by their squared error.

    The loss of such a head is :math:`L_{MDWA} + w_d L_{WDI} + w_m L_{MSE}`. Weights of units are counted in the
    training labels at the start of training: inverse frequencies with mean 1, and the exponents of MDWA. Other heads
    and corpora can be part of the same run.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal.
        wdi_weight: :math:`w_d`, of the weighted dice loss.
        heatmap_weight: :math:`w_m`, of the heat maps.
        gamma: Exponents of MDWA: "rate", from 1 for the most frequent unit to 2 for the rarest, or "one" for all.
        **options: As for `MultiTask`; a loss of such a head in `losses` replaces MDWA.

    Raises:
        ConfigError: As for `MultiTask`.

    References:
        AU-TTT, arXiv 2503.23450; the losses of units are those of AUFormer (ECCV 2024). Weights of the losses and
        exponents are ours.
    """

    def __init__(
        self,
        *args: Any,
        wdi_weight: float = 1.0,
        heatmap_weight: float = 1.0,
        gamma: Gamma = "rate",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.gamma = gamma
        self.mapped = {name: head for name, head in self.heads.items() if isinstance(head, AUTTTHead)}
        self.heatmap = HeatMapLoss()
        self.dice = nn.ModuleDict(
            {name: DiceLoss(weight=[1.0] * len(head.space)) for name, head in self.mapped.items()}
        )
        for name, head in self.mapped.items():
            if name not in (options.get("losses") or {}):
                self.losses[name] = loss = MDWALoss()  # set in on_fit_start
                loss.weight = loss.gamma_neg = torch.ones(len(head.space))
            self.loss_weights[f"{name}/wdi"] = wdi_weight
            self.loss_weights[f"{name}/heatmap"] = heatmap_weight

    def on_fit_start(self) -> None:
        """Also set the weights of units from the training labels."""
        super().on_fit_start()
        for name, head in self.mapped.items():
            rates = task_data(self.trainer).label_rates(head.target, head.space.name)
            if rates is None:
                continue
            weights = balance_weights(rates, "inverse_frequency").to(self.device)
            cast("DiceLoss", self.dice[name]).weight = weights
            if isinstance(loss := self.losses[name], MDWALoss):
                loss.weight = weights
                if self.gamma == "rate":
                    loss.gamma_neg = difficulty(rates.float()).to(self.device)

    def terms(
        self, name: str, features: Features, prototypes: Tensor | None, batch: ClipBatch
    ) -> dict[str, LossTerm]:
        """See `MultiTask`; a head of AU-TTT also has the terms wdi and heatmap."""
        if name not in self.mapped:
            return super().terms(name, features, prototypes, batch)
        head = self.mapped[name]
        outputs = head.outputs(features)
        return {
            name: self.head_loss(name, outputs.logits, batch),
            f"{name}/wdi": head_loss(head, cast("DiceLoss", self.dice[name]), outputs.logits, batch),
            f"{name}/heatmap": self._map_loss(head, outputs, batch),
        }

    def _map_loss(self, head: AUTTTHead, outputs: AUTTTOutputs, batch: ClipBatch) -> LossTerm:
        """Loss of the heat maps of real frames; labels of clips are those of all their frames."""
        maps, heat = outputs.maps.flatten(0, 1), outputs.heat.flatten(0, 1)
        value, mask = maps.new_zeros(maps.shape[:2]), torch.zeros_like(maps[..., 0, 0], dtype=torch.bool)
        if head.target in batch.targets:
            target = batch.targets[head.target].project(head.space.name)
            if target.leading == 1:
                T = batch.frames.shape[1]
                target = target.map(lambda one: one[:, None].expand(-1, T, -1))
            value = target.value.flatten(0, 1)
            mask = (target.mask & batch.frame_mask[..., None]).flatten(0, 1)
        term: LossTerm = self.heatmap(maps, heat, value, mask)
        return term
