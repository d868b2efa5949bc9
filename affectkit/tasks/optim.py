"""Optimiser and learning-rate schedule: AdamW with groups by name pattern, linear warm-up, cosine decay."""

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
    """Sort the trainable parameters of `module` into optimiser groups.

    A group is `{"pattern": "backbone.*", "lr": 1e-5, ...}`: every parameter whose dotted name matches the shell
    pattern takes its settings from there. The first match wins and the rest forms a last group. Within each group,
    vectors (biases, norms, scalars) get no weight decay, unless `decay_vectors` asks for it.

    Args:
        module: The module to train; parameters with `requires_grad=False` are left out.
        groups: Settings by name pattern, any AdamW option allowed beside `pattern`.
        weight_decay: Decay of matrices whose group does not set its own.
        decay_vectors: Whether vectors decay like matrices.

    Returns:
        AdamW parameter groups, none of them empty.

    Raises:
        ConfigError: A pattern matches no trainable parameter, so a recipe's typo cannot go unnoticed.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> [len(g["params"]) for g in parameter_groups(net, [{"pattern": "0.*", "lr": 1.0}], weight_decay=0.1)]
        [1, 1, 1, 1]
    """
    settings = [{"pattern": "*"}] if not groups else [*groups, {"pattern": "*"}]
    members: list[list[nn.Parameter]] = [[] for _ in settings]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            first = next(i for i, group in enumerate(settings) if fnmatch.fnmatchcase(name, group["pattern"]))
            members[first].append(parameter)
    for group, found in zip(groups, members, strict=False):
        if not found:
            raise ConfigError(
                f"Parameter group {group['pattern']!r} matches no trainable parameter.",
                remedy="Compare the pattern with the names in `model.named_parameters()`.",
            )
    result = []
    for group, found in zip(settings, members, strict=True):
        options = {key: value for key, value in group.items() if key != "pattern"}
        decay = options.pop("weight_decay", weight_decay)
        matrices = [p for p in found if p.ndim > 1]
        vectors = [p for p in found if p.ndim <= 1]
        for parameters, its_decay in ((matrices, decay), (vectors, decay if decay_vectors else 0.0)):
            if parameters:
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
    """AdamW over `parameter_groups` (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).

    Args:
        module: The module to train.
        lr: Learning rate of every group that does not set its own.
        weight_decay: Decay of every matrix whose group does not set its own.
        groups: See `parameter_groups`.
        decay_vectors: Likewise.
    """
    sorted_groups = parameter_groups(module, groups, weight_decay=weight_decay, decay_vectors=decay_vectors)
    return torch.optim.AdamW(sorted_groups, lr=lr)


def build_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, *, total_steps: int, warmup: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning-rate factor by optimiser step: linear warm-up from 0, then constant or half a cosine down to 0.

    Args:
        optimizer: What the factor is applied to; every group keeps its own base rate.
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
