"""Low-rank adaptation of attention in a frozen tower."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.models.features import Settings

__all__ = ["LoRAConfig", "LowRankAttention", "add_lora", "merge_lora"]


@dataclass(frozen=True, slots=True)
class LoRAConfig(Settings):
    """Settings of the adaptation.

    Args:
        rank: Rank r of the additions.
        alpha: The additions are multiplied by alpha / r.
        last: Number of last blocks to adapt; all by default.

    Raises:
        ConfigError: A number is out of range.
    """

    rank: int = 8
    alpha: float = 8.0
    last: int | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or (self.last is not None and self.last < 1):
            raise ConfigError(
                f"LoRA needs a rank of at least 1, a positive alpha and at least 1 block, not {self.to_dict()}."
            )


class LowRankAttention(nn.MultiheadAttention):
    r"""Attention with low-rank additions to the weights of queries and values, :math:`W + \frac{\alpha}{r} B A`.

    B is zero at initialisation, so the attention is unchanged. W keeps its name; the weights of keys are not adapted.
    Weights are added, not activations: the cost does not grow with the number of pictures.

    Args:
        base: The attention to adapt, batch first; the new module shares its parameters.
        config: Rank and scale.

    Attributes:
        down: A of queries and of values, [2, r, D].
        up: B of queries and of values, [2, D, r].

    Example:
        >>> base = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        >>> x = torch.randn(1, 3, 8)
        >>> torch.allclose(LowRankAttention(base, LoRAConfig(rank=2)).eval()(x, x, x)[0], base(x, x, x)[0], atol=1e-6)
        True

    References:
        E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    """

    def __init__(self, base: nn.MultiheadAttention, config: LoRAConfig) -> None:
        with torch.device("meta"):  # its own weights are not kept
            super().__init__(base.embed_dim, base.num_heads, dropout=base.dropout, batch_first=True)
        _share(base, self)
        self.scale = config.alpha / config.rank
        self.down = nn.Parameter(base.in_proj_weight.new_empty(2, config.rank, base.embed_dim))
        self.up = nn.Parameter(base.in_proj_weight.new_zeros(2, base.embed_dim, config.rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def weight(self) -> Tensor:
        """Adapted weight [3 D, D] of queries, keys and values."""
        queries, values = self.scale * (self.up @ self.down)
        return self.in_proj_weight + torch.cat([queries, torch.zeros_like(queries), values])

    def forward(  # type: ignore[override]  # only the arguments that image towers use
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As in `nn.MultiheadAttention`, batch first: query [B, N, D], key and value [B, M, D]."""
        out, weights = F.multi_head_attention_forward(
            query.transpose(0, 1),
            key.transpose(0, 1),
            value.transpose(0, 1),
            self.embed_dim,
            self.num_heads,
            self.weight(),
            self.in_proj_bias,
            None,
            None,
            False,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            need_weights=need_weights,
            attn_mask=attn_mask,
        )
        return out.transpose(0, 1), weights

    def merged(self) -> nn.MultiheadAttention:
        """Plain attention with the adapted weight."""
        with torch.device("meta"):
            plain = nn.MultiheadAttention(
                self.embed_dim, self.num_heads, dropout=self.dropout, batch_first=True
            )
        _share(self, plain)
        trains = self.in_proj_weight.requires_grad
        plain.in_proj_weight = nn.Parameter(self.weight().detach(), requires_grad=trains)
        return plain.train(self.training)


def _share(source: nn.MultiheadAttention, target: nn.MultiheadAttention) -> None:
    target.in_proj_weight, target.in_proj_bias = source.in_proj_weight, source.in_proj_bias
    target.out_proj = source.out_proj


def add_lora(blocks: nn.ModuleList | nn.Sequential, config: LoRAConfig) -> None:
    """Adapt the `nn.MultiheadAttention` named `attn` of the last blocks; other parameters are not changed or frozen.

    Raises:
        ConfigError: There are fewer blocks than `config.last`.
    """
    last = len(blocks) if config.last is None else config.last
    if last > len(blocks):
        raise ConfigError(f"lora.last is {last}, but the tower has {len(blocks)} blocks.")
    for block in list(blocks)[len(blocks) - last :]:
        block.attn = LowRankAttention(cast("nn.MultiheadAttention", block.attn), config)


def merge_lora(module: nn.Module) -> int:
    """Merge all low-rank additions in a module into its weights; returns the number of merged attentions."""
    adapted = {name: part for name, part in module.named_modules() if isinstance(part, LowRankAttention)}
    for name, part in adapted.items():
        module.set_submodule(name, part.merged())
    return len(adapted)
