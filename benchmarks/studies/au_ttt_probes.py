"""Where a trained AU-TTT looks, and whether its inner models learn; used by `au_ttt_claim.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from affectkit.methods.au_ttt import AUTTTHead, RowScan
from affectkit.methods.au_ttt.kernel import InnerModel
from affectkit.models import AffectModel

NEAR = 1.5  # patches


def masked_scores(model: AffectModel, data: Any, score: Callable[[AffectModel, Any], Tensor]) -> Tensor:
    """Logits [N, A] where each unit sees only its region, within `NEAR` patches of its centres; the rest is grey."""
    side = data.frames.shape[-1]
    scores = torch.empty_like(data.labels)
    for unit, region in enumerate(_near(model, data.landmarks, side, side).unbind(1)):
        seen = torch.where(region[:, None], data.frames, torch.full_like(data.frames, 128))
        scores[:, unit] = score(model, replace(data, frames=seen))[:, unit]
    return scores


@torch.inference_mode()
def peaks_near(model: AffectModel, data: Any) -> tuple[float, float]:
    """Share of active units whose heat map peaks near a centre, and the share of the picture that is near one."""
    head = cast("AUTTTHead", model.head("au"))
    hits, area = [], []
    for rows in data.batches(128):
        maps = head.outputs(model.features(**data.inputs(rows))).maps[:, 0]
        near = _near(model, data.landmarks[rows], maps.shape[-1], data.frames.shape[-1])
        active = data.labels[rows].bool()
        peak = maps.flatten(2).argmax(dim=-1, keepdim=True)
        hits.append(near.flatten(2).gather(2, peak)[..., 0][active])
        area.append(near.float().mean(dim=(2, 3))[active])
    return float(torch.cat(hits).float().mean()), float(torch.cat(area).mean())


@torch.inference_mode()
def inner_loss(model: AffectModel, data: Any) -> tuple[float, float]:
    """Mean inner loss of the row scans on a picture's own tokens, before its first token and after its last one."""
    scans = [part.inner for part in model.modules() if isinstance(part, RowScan)]
    losses: list[Tensor] = []
    hooks = [scan.register_forward_pre_hook(lambda *call: losses.append(_losses(*call))) for scan in scans]
    for rows in data.batches(128):
        model(**data.inputs(rows))
    for hook in hooks:
        hook.remove()
    before, after = torch.stack(losses).mean(dim=0).tolist()
    return before, after


def _losses(inner: InnerModel, given: tuple[Tensor, ...]) -> Tensor:
    """The two losses: tokens with the rate 0 are read with the parameters that were reached before them."""
    key, value, rates = given[1:4]
    gap = -key.shape[-2] % len(inner.offsets)  # whole mini-batches
    padded, none = F.pad(key, (0, 0, 0, gap)), torch.full_like(rates, -torch.inf)
    twice = torch.cat([padded, key], dim=-2)
    rate = torch.cat([F.pad(rates, (0, gap), value=-torch.inf), none], dim=-1)
    fresh = InnerModel.forward(inner, key, key, value, none) - key
    moved = InnerModel.forward(
        inner, twice, twice, torch.cat([F.pad(value, (0, 0, 0, gap)), value], -2), rate
    )
    learned = moved[..., -key.shape[-2] :, :] - key
    return torch.stack([(0.5 * (f - (value - key)).square().sum(-1)).mean() for f in (fresh, learned)])


def _near(model: AffectModel, landmarks: Tensor, cells: int, side: int) -> Tensor:
    """bool [N, A, cells, cells], True near a centre of the unit."""
    regions = cast("AUTTTHead", model.head("au")).regions
    heat = regions.heat(landmarks, None, clips=len(landmarks), picture=side, grid=cells)
    distance = NEAR / cast("Any", model.backbone).grid  # in sides of the picture
    return heat >= torch.exp(torch.tensor(-0.5 * (distance / regions.sigma) ** 2))
