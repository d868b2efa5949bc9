"""Low-rank adaptation of attention: a frozen tower learns through a few small matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError

__all__ = ["LoRAConfig", "LowRankAttention", "add_lora", "merge_lora"]


@dataclass(frozen=True, slots=True)
class LoRAConfig:
    """How attention is adapted.

    Args:
        rank: Rank r of what is added to a matrix.
        alpha: What is added is scaled by alpha / r.
        last: Adapt only so many last blocks; all of them by default.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> LoRAConfig.from_dict({"rank": 4}).to_dict()
        {'rank': 4, 'alpha': 8.0, 'last': None}
    """

    rank: int = 8
    alpha: float = 8.0
    last: int | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or (self.last is not None and self.last < 1):
            raise ConfigError(
                f"LoRA needs a rank of at least 1, a positive alpha and at least 1 block, not {self.to_dict()}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LoRAConfig:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: A key is unknown or a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(
                f"LoRA has no {', '.join(map(repr, unknown))}.", remedy=f"Known: {', '.join(known)}."
            )
        return cls(**values)


class LowRankAttention(nn.MultiheadAttention):
    r"""Attention whose queries and values learn through low-rank matrices, :math:`W + \frac{\alpha}{r} B A`.

    B begins at zero, so that the attention begins as it was; W keeps its name, and keys stay as they are. The sum is
    taken on the weights and not on the activations: its cost does not grow with the pictures.

    Args:
        base: What is adapted, with batches first; the new module shares its parameters.
        config: Rank and scale.

    Attributes:
        down: A of queries and of values, [2, r, D].
        up: B likewise, [2, D, r].

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
        """The adapted weight [3 D, D]: queries, keys and values."""
        queries, values = self.scale * (self.up @ self.down)
        return self.in_proj_weight + torch.cat([queries, torch.zeros_like(queries), values])

    def forward(  # type: ignore[override]  # what image towers ask for, and no more
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: [B, N, D].
            key: [B, M, D].
            value: [B, M, D].
            need_weights: Whether to give the weights of attention, [B, N, M], as well.
            attn_mask: Added to the scores, or True where nobody may look.
        """
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
        """Plain attention with the adapted weight, which costs nothing more."""
        with torch.device("meta"):
            plain = nn.MultiheadAttention(
                self.embed_dim, self.num_heads, dropout=self.dropout, batch_first=True
            )
        _share(self, plain)
        trains = self.in_proj_weight.requires_grad
        plain.in_proj_weight = nn.Parameter(self.weight().detach(), requires_grad=trains)
        return plain.train(self.training)


def _share(one: nn.MultiheadAttention, other: nn.MultiheadAttention) -> None:
    """Give the parameters of one to the other."""
    other.in_proj_weight, other.in_proj_bias = one.in_proj_weight, one.in_proj_bias
    other.out_proj = one.out_proj


def add_lora(blocks: nn.ModuleList | nn.Sequential, config: LoRAConfig) -> None:
    """Adapt the attention of the last blocks; nothing else about them is changed, frozen or not.

    Args:
        blocks: Each with an `nn.MultiheadAttention` named `attn`.
        config: How.

    Raises:
        ConfigError: There are not so many blocks.
    """
    last = len(blocks) if config.last is None else config.last
    if last > len(blocks):
        raise ConfigError(f"lora.last is {last}, and the tower has {len(blocks)} blocks.")
    for block in list(blocks)[len(blocks) - last :]:
        block.attn = LowRankAttention(cast("nn.MultiheadAttention", block.attn), config)


def merge_lora(module: nn.Module) -> int:
    """Write what was learned into the weights, everywhere in a module.

    Args:
        module: With adapted attention somewhere in it.

    Returns:
        How many were merged.
    """
    adapted = [
        (parent, name, part)
        for parent in module.modules()
        for name, part in parent.named_children()
        if isinstance(part, LowRankAttention)
    ]
    for parent, name, part in adapted:
        setattr(parent, name, part.merged())
    return len(adapted)
