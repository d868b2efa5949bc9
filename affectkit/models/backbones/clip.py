"""Image tower of CLIP as a frame encoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from affectkit.errors import ConfigError
from affectkit.models.backbones.base import Backbone
from affectkit.models.backbones.lora import LoRAConfig, add_lora, merge_lora
from affectkit.models.backbones.moe import MoEConfig, MoEFeedForward
from affectkit.models.clip import load_clip
from affectkit.models.features import Features, InputSpec, Normalize, TokenLayers
from affectkit.models.registry import register

__all__ = ["ClipBackbone"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures
_STD = (0.26862954, 0.26130258, 0.27577711)


@register("backbone", "clip")
class ClipBackbone(Backbone):
    """Image tower of CLIP applied to every frame, optionally with experts in its last blocks.

    Each frame becomes one vector in the space that CLIP shares between pictures and texts; the clip vector is the mean
    over real frames.

    Args:
        model_name: Architecture of open_clip; OpenAI's weights need one that ends in "-quickgelu".
        pretrained: Weight tag of open_clip, such as "openai", downloaded to the usual cache.
        weights: Local file with the tensors of a whole CLIP instead.
        size: Height and width of the pictures in pixels; the architecture's own by default.
        moe: Arguments of `MoEConfig` for experts in the last blocks, `{}` for its defaults; None for no experts.
        tokens: Also return one vector for each patch.
        token_block: Number, from 1, of the block whose patches are returned, through a learned `TokenLayers`; by
            default the last block, whose patches pass through the tower's own projection.
        trainable_blocks: Train only this number of last blocks, the last normalisation and the projection; the whole
            tower by default.
        lora: Arguments of `LoRAConfig` for low-rank additions to attention, `{}` for its defaults; None for no
            additions. Of the tower, only the additions and experts are then trained.
        grad_checkpointing: Recompute activations in the backward pass to save memory.

    Attributes:
        tower: open_clip's VisionTransformer, with its own parameter names.
        num_features: Width D of clip and frame vectors.
        num_token_features: Width of patch vectors, also D.
        token_layers: Layers after `token_block`, or None.

    Raises:
        ConfigError: The architecture, the tag or an argument of `moe` or `lora` is unknown, a number is out of range,
            both `lora` and `trainable_blocks` are given, or `token_block` without `tokens`.
        WeightsError: The weights cannot be loaded, or do not fit.

    Example:
        >>> backbone = ClipBackbone("affectkit-tiny", moe={"last": 2, "hidden": 32})
        >>> backbone(torch.zeros(2, 5, 3, 64, 64, dtype=torch.uint8)).frames.shape
        torch.Size([2, 5, 64])

    References:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """

    def __init__(
        self,
        model_name: str = "ViT-B-16-quickgelu",
        *,
        pretrained: str | None = None,
        weights: str | None = None,
        size: int | None = None,
        moe: Mapping[str, Any] | None = None,
        tokens: bool = False,
        token_block: int | None = None,
        trainable_blocks: int | None = None,
        lora: Mapping[str, Any] | None = None,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        experts = None if moe is None else MoEConfig.from_dict(moe)
        low_rank = None if lora is None else LoRAConfig.from_dict(lora)
        if low_rank is not None and trainable_blocks is not None:
            raise ConfigError(
                "Both `lora` and `trainable_blocks` select the trained parts of the tower.",
                remedy="Give one of them.",
            )
        self.tower = load_clip(model_name, weights, pretrained=pretrained, part="image", size=size).visual
        blocks = self.tower.transformer.resblocks
        if low_rank is not None:
            self.tower.requires_grad_(False)  # before the experts are added, which are trained
        if token_block is not None and not (tokens and 1 <= token_block <= len(blocks)):
            raise ConfigError(
                f"token_block is {token_block}, but the tower has {len(blocks)} blocks and tokens is {tokens}.",
                remedy="Set `tokens: true` and the number of a block, from 1.",
            )
        if experts is not None:
            _check_blocks("moe.last", experts.last, len(blocks))
            for block in blocks[len(blocks) - experts.last :]:
                block.mlp = MoEFeedForward(block.mlp, experts)
        if trainable_blocks is not None:
            _check_blocks("trainable_blocks", trainable_blocks, len(blocks))
            self.tower.requires_grad_(False)
            for part in (*blocks[len(blocks) - trainable_blocks :], self.tower.ln_post):
                part.requires_grad_(True)
            self.tower.proj.requires_grad_(True)
        if low_rank is not None:
            add_lora(blocks, low_rank)
        # The last block computes only the class token, unless its patches are returned or influence the routing.
        self._whole_last = (tokens and token_block in (None, len(blocks))) or (
            experts is not None and experts.last > 0 and experts.legacy_dispatch
        )
        self.num_features = self.num_token_features = int(self.tower.output_dim)
        self.input_spec = InputSpec(size=int(self.tower.image_size[0]), mean=_MEAN, std=_STD)
        self.normalize = Normalize(self.input_spec)
        self.tokens, self.token_block = tokens, token_block
        width = int(self.tower.transformer.width)
        self.token_layers = None if token_block is None else TokenLayers(width, self.num_features)
        self.grad_checkpointing = grad_checkpointing
        self.config = {
            "type": "clip",
            "model_name": model_name,
            "size": self.input_spec.size,
            "moe": None if experts is None else experts.to_dict(),
            "tokens": tokens,
            **({} if token_block is None else {"token_block": token_block}),
            "trainable_blocks": trainable_blocks,
            "lora": None if low_rank is None else low_rank.to_dict(),
            "grad_checkpointing": grad_checkpointing,
        }

    def merge_lora(self) -> None:
        """Merge low-rank additions into the weights of the tower, which stays frozen."""
        merge_lora(self.tower)
        self.config["lora"] = None

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips; `tokens` [B, T, N, D] are row by row."""
        self.check_size(frames)
        pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
        vectors, patches = self._encode(pictures)
        B = frames.shape[0]
        if patches is not None:
            patches = rearrange(patches, "(b t) n d -> b t n d", b=B)
        return Features.of_frames(rearrange(vectors, "(b t) d -> b t d", b=B), frame_mask, patches)

    def levels(self, frames: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """See `Backbone`; vectors of patches, neither normalised nor projected."""
        self.check_size(frames)
        towers = self.tower.transformer.resblocks
        for block in blocks:
            _check_blocks("A block", block, len(towers), least=1)
        pictures = self.normalize(rearrange(frames, "b t c h w -> (b t) c h w"))
        _, taken = self._pass(pictures, towers[: max(blocks)], blocks)
        return [rearrange(taken[block], "(b t) n d -> b t n d", b=frames.shape[0]) for block in blocks]

    def _encode(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """Vectors [M, D] of normalised pictures and, if returned, of their patches [M, N, D]."""
        blocks = list(self.tower.transformer.resblocks)
        if not self._whole_last:
            blocks[-1] = partial(_class_token, blocks[-1])
        chosen = () if self.token_block is None else (self.token_block,)
        x, taken = self._pass(pictures, blocks, chosen)
        encoded: Tensor = self.tower.ln_post(x if self.tokens and not taken else x[:, :1]) @ self.tower.proj
        if self.token_block is not None and self.token_layers is not None:
            return encoded[:, 0], self.token_layers(taken[self.token_block])
        return encoded[:, 0], encoded[:, 1:] if self.tokens else None

    def _pass(
        self, pictures: Tensor, blocks: Iterable[Callable[[Tensor], Tensor]], chosen: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Output of the last of these blocks, [M, 1 + N, W], and patches [M, N, W] after chosen ones, by number."""
        tower = self.tower
        patches = rearrange(tower.conv1(pictures), "m d h w -> m (h w) d")
        start = repeat(tower.class_embedding.to(patches.dtype), "d -> m 1 d", m=patches.shape[0])
        x = torch.cat([start, patches], dim=1) + tower.positional_embedding.to(patches.dtype)
        x = tower.ln_pre(tower.patch_dropout(x))
        taken = {}
        for number, block in enumerate(blocks, 1):
            x = self._run(block, x)
            if number in chosen:
                taken[number] = x[:, 1:]
        return x, taken

    def _run(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x)


def _class_token(block: Any, x: Tensor) -> Tensor:
    """First token after `block`, with attention to all tokens: saves five sixths of the block."""
    normal = block.ln_1(x)
    x = x[:, :1] + block.ls_1(block.attention(normal[:, :1], normal, normal))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _check_blocks(name: str, value: int, available: int, least: int = 0) -> None:
    if not least <= value <= available:
        raise ConfigError(f"{name} is {value}, but the tower has {available} blocks.")
