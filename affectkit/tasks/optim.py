"""AdamW with parameter groups by name pattern, linear warm-up and cosine decay."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from affectkit.errors import ConfigError

__all__ = ["Schedule", "build_optimizer", "build_schedule", "parameter_groups"]

Schedule = Literal["constant", "cosine"]


def parameter_groups(
    module: nn.Module,
    groups: Sequence[Mapping[str, Any]],
    *,
    weight_decay: float,
    decay_vectors: bool = False,
) -> list[dict[str, Any]]:
    """Sort the trainable parameters of a module into AdamW groups, none of them empty.

    A group is `{"pattern": "backbone.*", "lr": 1e-5, ...}`: it sets AdamW options of the parameters whose dotted name
    matches the shell pattern. The first match wins and the rest forms a last group. Vectors (biases, norms, scalars) of
    a group get no weight decay unless `decay_vectors` is set.

    Args:
        module: The module to train.
        groups: Settings by name pattern.
        weight_decay: Decay of groups that do not set their own.
        decay_vectors: Whether vectors decay like matrices.

    Raises:
        ConfigError: A pattern matches no trainable parameter.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> [len(g["params"]) for g in parameter_groups(net, [{"pattern": "0.*", "lr": 1.0}], weight_decay=0.1)]
        [1, 1, 1, 1]
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    result = []
    for number, group in enumerate([*groups, {"pattern": "*"}]):
        names = [name for name in trainable if fnmatch.fnmatchcase(name, group["pattern"])]
        members = [trainable.pop(name) for name in names]
        if not members and number < len(groups):
            raise ConfigError(
                f"Parameter group {group['pattern']!r} matches no trainable parameter.",
                remedy="Compare the pattern with the names in `model.named_parameters()`.",
            )
        options = {key: value for key, value in group.items() if key != "pattern"}
        decay = options.pop("weight_decay", weight_decay)
        for is_vector, its_decay in ((False, decay), (True, decay if decay_vectors else 0.0)):
            if parameters := [p for p in members if (p.ndim <= 1) == is_vector]:
                result.append({"params": parameters, "weight_decay": its_decay, **options})
    return result


def build_optimizer(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    groups: Sequence[Mapping[str, Any]] = (),
    decay_vectors: bool = False,
) -> torch.optim.AdamW:
    """Build AdamW over `parameter_groups` (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).

    `lr` is the learning rate of groups that do not set their own; see `parameter_groups` for the other arguments.
    """
    sorted_groups = parameter_groups(module, groups, weight_decay=weight_decay, decay_vectors=decay_vectors)
    return torch.optim.AdamW(sorted_groups, lr=lr)


def build_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, *, total_steps: int, warmup: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Build a schedule by optimiser step: linear warm-up from 0, then constant or half a cosine down to 0.

    Args:
        optimizer: Its groups keep their own base rates.
        schedule: `constant` or `cosine`.
        total_steps: Optimiser steps of the whole run.
        warmup: Share of `total_steps` spent warming up, in [0, 1].
    """
    warmup_steps = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
