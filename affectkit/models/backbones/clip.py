"""The image tower of a CLIP as a frame encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from affectkit.errors import ConfigError
from affectkit.models.backbones.base import Backbone
from affectkit.models.backbones.lora import LoRAConfig, add_lora, merge_lora
from affectkit.models.backbones.moe import MoEConfig, MoEFeedForward
from affectkit.models.clip import load_clip
from affectkit.models.features import Features, InputSpec, Normalize
from affectkit.models.registry import register

__all__ = ["ClipBackbone"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures
_STD = (0.26862954, 0.26130258, 0.27577711)


@register("backbone", "clip")
class ClipBackbone(Backbone):
    """Encode every frame with the image tower of a CLIP, optionally with experts in its last blocks.

    Each frame is seen alone and becomes one vector in the space that CLIP shares between pictures and texts;
    the clip's vector is the mean over its real frames.

    Args:
        model_name: An architecture of open_clip; OpenAI's weights need one that ends in "-quickgelu".
        pretrained: One of open_clip's weight tags, such as "openai", downloaded to the usual cache.
        weights: A local file with the tensors of a whole CLIP instead.
        size: Height and width of the pictures in pixels; the architecture's own by default.
        moe: Put experts into the last blocks: arguments of `MoEConfig`, `{}` for its defaults, None for no
            experts.
        tokens: Also give one vector for each patch.
        trainable_blocks: Train only so many last blocks, the last normalisation and the projection; all of the
            tower by default.
        lora: Train low-rank additions to the queries and values of attention, and nothing of the tower itself but
            experts that were put there: arguments of `LoRAConfig`, `{}` for its defaults, None for no additions.
        grad_checkpointing: Recompute activations in the backward pass to save memory.

    Attributes:
        tower: open_clip's VisionTransformer, under its own parameter names.
        num_features: Width D of clip and frame vectors.
        num_token_features: Width of patch vectors, D as well.

    Raises:
        ConfigError: The architecture, the tag or an argument of `moe` or `lora` is unknown, a number is out of range,
            or both `lora` and `trainable_blocks` say what to train.
        WeightsError: The weights cannot be had, or do not fit.

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
        trainable_blocks: int | None = None,
        lora: Mapping[str, Any] | None = None,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        experts = None if moe is None else MoEConfig.from_dict(moe)
        low_rank = None if lora is None else LoRAConfig.from_dict(lora)
        if low_rank is not None and trainable_blocks is not None:
            raise ConfigError(
                "Both `lora` and `trainable_blocks` say what of the tower is trained.",
                remedy="Give one of them.",
            )
        self.tower = load_clip(model_name, weights, pretrained=pretrained, part="image", size=size).visual
        blocks = self.tower.transformer.resblocks
        if low_rank is not None:
            self.tower.requires_grad_(False)  # before experts come, which learn
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
        # Of the last block, only the class token is read, unless its patches are wanted, or have a say in where
        # the class token is sent.
        self._whole_last = tokens or (experts is not None and experts.last > 0 and experts.legacy_dispatch)
        self.num_features = self.num_token_features = int(self.tower.output_dim)
        self.input_spec = InputSpec(size=int(self.tower.image_size[0]), mean=_MEAN, std=_STD)
        self.normalize = Normalize(self.input_spec)
        self.tokens = tokens
        self.grad_checkpointing = grad_checkpointing
        self.config = {
            "type": "clip",
            "model_name": model_name,
            "size": self.input_spec.size,
            "moe": None if experts is None else experts.to_dict(),
            "tokens": tokens,
            "trainable_blocks": trainable_blocks,
            "lora": None if low_rank is None else low_rank.to_dict(),
            "grad_checkpointing": grad_checkpointing,
        }

    def merge_lora(self) -> None:
        """Write low-rank additions into the tower, which is then a plain one and frozen; does nothing without them."""
        merge_lora(self.tower)
        self.config["lora"] = None

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Features:
        """Encode a batch of clips.

        Args:
            frames: [B, T, 3, H, W] RGB, uint8 in 0-255 or floating point in 0-1.
            frame_mask: bool [B, T], True where a frame is real; None where all are.

        Returns:
            `pooled` [B, D], `frames` [B, T, D], and `tokens` [B, T, N, D] where they were asked for, in rows
            from top to bottom.

        Raises:
            ValueError: The pictures are of another size than the tower's.
        """
        size = self.input_spec.size
        if frames.shape[-2:] != (size, size):
            raise ValueError(f"The tower reads {size} by {size} pixels, not {list(frames.shape[-2:])}.")
        clips = frames.shape[:2]
        encoded = self._encode(self.normalize(frames.flatten(0, 1)))
        encoded = encoded.view(*clips, *encoded.shape[1:])
        return Features.of_frames(encoded[:, :, 0], frame_mask, encoded[:, :, 1:] if self.tokens else None)

    def _encode(self, pictures: Tensor) -> Tensor:
        """[M, 1 or 1 + N, D] from normalised pictures: the class token and, where wanted, the patches."""
        tower = self.tower
        patches = tower.conv1(pictures).flatten(2).transpose(1, 2)
        start = tower.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = torch.cat([start, patches], dim=1) + tower.positional_embedding.to(patches.dtype)
        x = tower.ln_pre(tower.patch_dropout(x))
        *blocks, last = tower.transformer.resblocks
        for block in blocks:
            x = self._run(block, x)
        x = self._run(last if self._whole_last else partial(_class_token, last), x)
        if not self.tokens:
            x = x[:, :1]
        encoded: Tensor = tower.ln_post(x) @ tower.proj
        return encoded

    def _run(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x)


def _class_token(block: Any, x: Tensor) -> Tensor:
    """What `block` makes of the first token, which attends to all of them: five sixths of a block less."""
    normal = block.ln_1(x)
    x = x[:, :1] + block.ls_1(block.attention(normal[:, :1], normal, normal))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _check_blocks(name: str, value: int, available: int) -> None:
    if not 0 <= value <= available:
        raise ConfigError(f"{name} is {value}, and the tower has {available} blocks.")
