"""Initial weights of `AUTTTBackbone` from a ViT of timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from affectkit.errors import WeightsError
from affectkit.models.backbones import TimmBackbone
from affectkit.models.hub import weights_wanted

if TYPE_CHECKING:
    from affectkit.methods.au_ttt.backbone import AUTTTBackbone, TTTBlock

__all__ = ["start_from_vit"]


@torch.no_grad()
def start_from_vit(backbone: AUTTTBackbone, vit: str, weights: str | None) -> None:
    """Copy what fits: patches, positions, class token, norms, queries, keys, values, outputs and MLPs.

    The scans have no biases of queries, keys, values and outputs, so those of the ViT are dropped. Inner models, the
    scan of regions and multi-scale perception keep their initial values.

    Args:
        backbone: Changed in place.
        vit: timm architecture.
        weights: Local file; None for timm's own weights, from its cache or the Hub.

    Raises:
        WeightsError: The weights cannot be loaded, or the shapes differ.
    """
    if not weights_wanted():
        return
    size = backbone.input_spec.size
    net: Any = TimmBackbone(vit, pretrained=weights is None, weights=weights, size=size).net
    blocks = [cast("TTTBlock", block) for block in backbone.blocks]
    fits = (
        hasattr(net, "pos_embed")
        and net.patch_embed.proj.weight.shape == backbone.embed.weight.shape
        and net.pos_embed.shape[1] == len(backbone.positions)
        and len(net.blocks) >= len(blocks)
        and net.blocks[0].attn.num_heads == blocks[0].scan.heads
        and net.blocks[0].mlp.fc1.weight.shape == blocks[0].mlp[0].weight.shape
    )
    if not fits:
        raise WeightsError(
            f"The weights of {vit!r} do not fit the backbone.",
            path=weights,
            remedy="Choose the patch, width, heads and hidden width of that ViT, and at most its depth.",
        )
    _copy(backbone.embed, net.patch_embed.proj)
    backbone.class_token.copy_(net.cls_token[0, 0] + net.pos_embed[0, 0])
    backbone.positions.copy_(torch.cat([net.pos_embed[0, 1:], torch.zeros_like(net.pos_embed[0, :1])]))
    _copy(backbone.norm, net.norm)
    for block, source in zip(blocks, net.blocks, strict=False):  # a shallower backbone takes the first blocks
        for name in ("norm1", "norm2"):
            _copy(getattr(block, name), getattr(source, name))
        block.qkv.weight.copy_(source.attn.qkv.weight)
        block.scan.start_from(source.attn.proj.weight)
        _copy(cast("nn.Linear", block.mlp[0]), source.mlp.fc1)
        _copy(cast("nn.Linear", block.mlp[2]), source.mlp.fc2)


def _copy(to: nn.Module, source: nn.Module) -> None:
    parameters: dict[str, Tensor] = dict(source.named_parameters())
    for name, value in to.named_parameters():
        value.copy_(parameters[name])
