"""Samplers of clips for training and evaluation, the same for any number of processes.

Both samplers deal one global sequence of draws to the processes in turn: process `r` of `W` takes positions
`r, r + W, r + 2W, …`. All randomness derives from (seed, epoch), so a run resumed at an epoch continues exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, DistributedSampler

from affectkit.errors import ConfigError

__all__ = ["Draw", "EvalSampler", "ReplaySampler", "derive_seed", "draw_weights"]

_BALANCE_ROUNDS = 200


class Draw(NamedTuple):
    """A request for one sample.

    Attributes:
        index: Position of the clip in the dataset.
        seed: Seed of all randomness in the sample; None for the deterministic sample.
        valid: False if the sample only fills the last batch and must not count in metrics.
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index
    seed: int | None = None
    valid: bool = True


def derive_seed(*parts: int | str) -> int:
    """Hash numbers and names to a seed in [0, 2⁶³), so that seeds of neighbouring samples are unrelated.

    Example:
        >>> derive_seed(0, 1, "frames") == derive_seed(0, 1, "frames") != derive_seed(1, 0, "frames")
        True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ReplaySampler(DistributedSampler[Draw]):
    """Draw a fixed number of clips per epoch from a corpus of any size, for training.

    The corpus is an endless stream of permutations, permutation `k` seeded by (seed, k). Each epoch takes the next
    `steps_per_epoch × batch_size × W` positions: small corpora are reshuffled on every pass, large ones continue where
    the last epoch stopped, and processes never share a draw. With weights, a pass over N clips holds clip i about
    N·w_i/Σw times, rounded up or down at random (systematic sampling). With classes, a pass draws all classes in turn,
    in a new random order in every round, so that the numbers of clips of two classes in a global batch differ by at
    most a few.

    Args:
        dataset: Any sized object.
        batch_size: Clips per step and process.
        steps_per_epoch: Steps per epoch.
        seed: Seed of the order and of each `Draw.seed`.
        weights: Non-negative relative frequency of each clip; equal by default. See `affectkit.data.draw_weights`.
        classes: int64 [N], class of each clip, to draw all classes equally often; clips below 0 are not drawn.
        num_replicas: Number of processes `W`; by default from the initialised process group, else 1.
        rank: Index of this process, from 0; by default from the process group.

    Raises:
        ConfigError: The dataset is empty, a number is not positive, weights or classes do not fit, or both are given.

    Example:
        >>> sampler = ReplaySampler(range(3), batch_size=2, steps_per_epoch=3)
        >>> sorted(draw.index for draw in sampler)
        [0, 0, 1, 1, 2, 2]
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        batch_size: int,
        steps_per_epoch: int,
        seed: int = 0,
        weights: Tensor | None = None,
        classes: Tensor | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ConfigError(
                "The dataset has no clips.", remedy="Check the root and the split of the dataset."
            )
        if batch_size < 1 or steps_per_epoch < 1:
            raise ConfigError(
                f"batch_size {batch_size} and steps_per_epoch {steps_per_epoch} must both be at least 1."
            )
        if weights is not None and not (
            weights.shape == (len(dataset),)
            and weights.isfinite().all()
            and (weights >= 0).all()
            and weights.sum() > 0
        ):
            raise ConfigError(f"{len(dataset)} clips need as many weights, non-negative and not all 0.")
        if classes is not None and (classes.shape != (len(dataset),) or bool((classes < 0).all())):
            raise ConfigError(f"{len(dataset)} clips need as many classes, not all of them below 0.")
        if weights is not None and classes is not None:
            raise ConfigError("Clips are drawn by weights or by classes.", remedy="Leave one of them out.")
        world, rank = _find_place(num_replicas, rank)
        super().__init__(cast("Dataset[Any]", dataset), world, rank, shuffle=True, seed=seed)
        self.length = len(dataset)
        self.weights = weights
        self.classes = classes
        self.num_samples = steps_per_epoch * batch_size
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[Draw]:
        first = self.epoch * self.total_size
        order_of: int | None = None
        order: list[int] = []
        for position in range(first + self.rank, first + self.total_size, self.num_replicas):
            pass_number, place = divmod(position, self.length)
            if pass_number != order_of:
                rng = torch.Generator().manual_seed(derive_seed(self.seed, "pass", pass_number))
                order_of, order = pass_number, self._order(rng)
            yield Draw(order[place], derive_seed(self.seed, "draw", position))

    def _order(self, rng: torch.Generator) -> list[int]:
        """Clips of one pass, as many as the corpus has, in random order."""
        if self.classes is not None:
            return self._in_turn(self.classes, rng)
        order = torch.randperm(self.length, generator=rng)
        if self.weights is not None:
            ends = self.weights.double().cumsum(0) * (self.length / self.weights.double().sum())
            ticks = torch.arange(self.length) + torch.rand((), generator=rng, dtype=torch.float64)
            order = torch.searchsorted(ends, ticks, right=True).clamp(max=self.length - 1)[order]
        return cast("list[int]", order.tolist())

    def _in_turn(self, classes: Tensor, rng: torch.Generator) -> list[int]:
        """Clips of one pass with all classes in turn; within a class, every clip once before any comes again."""
        known = torch.unique(classes[classes >= 0])
        members = [(classes == one).nonzero().flatten() for one in known]
        rounds = -(-self.length // len(members))
        turns = torch.stack([torch.randperm(len(members), generator=rng) for _ in range(rounds)])
        drawn = torch.stack(
            [
                torch.cat(
                    [own[torch.randperm(len(own), generator=rng)] for _ in range(-(-rounds // len(own)))]
                )[:rounds]
                for own in members
            ],
            dim=1,
        )
        return cast("list[int]", drawn.gather(1, turns).flatten()[: self.length].tolist())


class EvalSampler(DistributedSampler[Draw]):
    """Draw every clip once, in order, for validation and test.

    All processes must take the same number of steps, so the sequence is filled up with repeated clips marked
    `valid=False`; metrics skip them and do not depend on the number of processes.

    Args:
        dataset: Any sized object.
        num_replicas: See `ReplaySampler`.
        rank: See `ReplaySampler`.

    Example:
        >>> [tuple(draw) for draw in EvalSampler(range(3), num_replicas=2, rank=1)]
        [(1, None, True), (0, None, False)]
    """

    def __init__(self, dataset: Sized, *, num_replicas: int | None = None, rank: int | None = None) -> None:
        super().__init__(cast("Dataset[Any]", dataset), *_find_place(num_replicas, rank), shuffle=False)
        self.length = len(dataset)

    def __iter__(self) -> Iterator[Draw]:
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield Draw(position % self.length, None, position < self.length)


def draw_weights(positive: Tensor, *, rare: float = 0.1, share: float = 0.25) -> Tensor:
    """Compute weights that give every rare action unit at least `share` of the draws.

    Clips with a unit rarer than `rare` are weighted up to `share` of the draws, unit by unit, until all units have
    their share (iterative proportional fitting). If many rare units exclude each other, the result is approximate.

    Args:
        positive: bool [N, A], active units of each clip; False if not annotated.
        rare: Largest frequency, in [0, 1], of a rare unit.
        share: Share of the draws for each rare unit, in [0, 1).

    Returns:
        float64 [N], with mean 1.

    Raises:
        ConfigError: `share` or `rare` is out of range.

    Example:
        >>> shown = torch.zeros(20, 1, dtype=torch.bool)
        >>> shown[0] = True
        >>> draw_weights(shown)[:2].round(decimals=2)
        tensor([5.0000, 0.7900], dtype=torch.float64)
    """
    if not (0 <= rare <= 1 and 0 <= share < 1):
        raise ConfigError(f"rare {rare} must be in [0, 1] and share {share} in [0, 1).")
    weights = torch.ones(len(positive), dtype=torch.float64)
    rates = positive.double().mean(dim=0)
    rare_units = positive[:, (rates > 0) & (rates < rare)].unbind(1)
    for _ in range(_BALANCE_ROUNDS):
        for shown in rare_units:
            current = weights[shown].sum() / weights.sum()
            if current < share:
                weights[shown] *= share / (1 - share) * (1 - current) / current
        weights /= weights.mean()
    return weights


def _find_place(num_replicas: int | None, rank: int | None) -> tuple[int | None, int | None]:
    """World size and rank, with defaults for a run without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return num_replicas, rank
    return 1 if num_replicas is None else num_replicas, rank or 0
