"""Low-rank additions to the linear layers of a frozen model."""

from __future__ import annotations

import math

from torch import Tensor, nn

from affectkit.errors import ConfigError
from affectkit.models.backbones.lora import LoRAConfig

__all__ = ["LowRankAddition", "add_low_rank"]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


class LowRankAddition(nn.Module):
    r"""Addition :math:`\frac{\alpha}{r} B A x` to the output of a linear layer; zero at initialisation.

    The layer belongs to another module, which stays as it is: the addition is made by a forward hook.

    Args:
        base: The layer.
        config: Rank and scale.

    Attributes:
        down: A, [r, inputs].
        up: B, [outputs, r].

    Example:
        >>> import torch
        >>> layer = nn.Linear(4, 2)
        >>> addition = LowRankAddition(layer, LoRAConfig(rank=1))
        >>> before = layer(torch.ones(4))
        >>> _ = nn.init.ones_(addition.up)
        >>> torch.equal(layer(torch.ones(4)), before)
        False

    References:
        E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    """

    def __init__(self, base: nn.Linear, config: LoRAConfig) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        self.down = nn.Parameter(base.weight.new_empty(config.rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, config.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        base.register_forward_hook(self._add)  # a bound method: a deep copy of both stays connected

    def _add(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        changed: Tensor = output + self(inputs[0])
        return changed

    def forward(self, x: Tensor) -> Tensor:
        """Addition [..., outputs] for inputs [..., inputs] of the layer."""
        return self.scale * (x @ self.down.T @ self.up.T)


def add_low_rank(
    blocks: nn.ModuleList, config: LoRAConfig, *, names: tuple[str, ...] = ATTENTION
) -> nn.ModuleList:
    """Adapt the linear layers of these names in the last blocks of a model.

    Args:
        blocks: The blocks of the model.
        config: Rank, scale and number of last blocks.
        names: Last parts of the names of the layers; by default those of attention.

    Returns:
        The `LowRankAddition` of each layer, in order.

    Raises:
        ConfigError: There are fewer blocks than `config.last`, or no such layers.
    """
    last = len(blocks) if config.last is None else config.last
    if last > len(blocks):
        raise ConfigError(f"lora.last is {last}, but the model has {len(blocks)} blocks.")
    layers = [
        layer
        for block in list(blocks)[len(blocks) - last :]
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in names
    ]
    if not layers:
        raise ConfigError(f"The model has no linear layers named {', '.join(names)}.")
    return nn.ModuleList(LowRankAddition(layer, config) for layer in layers)
