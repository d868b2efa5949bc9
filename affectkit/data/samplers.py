"""Which clips are drawn, in which order, on which process.

Both samplers deal one global sequence of draws out to the processes like cards: process `r` of `W` takes
positions `r, r + W, r + 2W, …`. Step by step, the processes together therefore see the same clips for any
`W`. Everything derives from (seed, epoch), so a run resumed at an epoch goes on as if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, DistributedSampler

from affectkit.errors import ConfigError

__all__ = ["Draw", "EvalSampler", "ReplaySampler", "derive_seed"]


class Draw(NamedTuple):
    """One sample to be made by a dataset.

    Attributes:
        index: Position of the clip in the dataset.
        seed: Seed of all that is random about the sample; `None` asks for the deterministic one.
        valid: False when the sample only fills up the last batch and must not be counted.
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    seed: int | None = None
    valid: bool = True


def derive_seed(*parts: int | str) -> int:
    """Hash numbers and names into a seed, so that seeds of neighbouring samples are unrelated.

    Returns:
        An integer in [0, 2⁶³).

    Example:
        >>> derive_seed(0, 1, "frames") == derive_seed(0, 1, "frames") != derive_seed(1, 0, "frames")
        True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ReplaySampler(DistributedSampler[Draw]):
    """Draws a fixed number of clips an epoch from a corpus of any size, for training.

    The corpus is an endless stream of permutations, permutation `k` seeded by (seed, k). An epoch takes the
    next `steps_per_epoch × batch_size × W` positions of that stream: a small corpus is reshuffled on every
    pass, a large one is continued where the last epoch stopped, and no process takes another one's draws.

    With weights, a pass of N clips holds clip i about N·w_i/Σw times: the whole part of it always, one more as
    often as the fraction says (systematic sampling from a random start).

    Args:
        dataset: Anything with a length.
        batch_size: Clips a step on each process.
        steps_per_epoch: Steps an epoch.
        seed: Seed of the order and of every `Draw.seed`.
        weights: How often a clip is drawn against others, non-negative; equally often by default. See
            `affectkit.data.draw_weights`.
        num_replicas: Processes `W`; by default those of the initialised process group, else one.
        rank: This process, from 0; by default that of the process group.

    Raises:
        ConfigError: The dataset is empty, a count is not positive, or weights do not fit.

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
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise ConfigError("There is no clip to draw from.", remedy="Check the dataset's root and split.")
        if batch_size < 1 or steps_per_epoch < 1:
            raise ConfigError(
                f"batch_size {batch_size} and steps_per_epoch {steps_per_epoch} must both be at least 1."
            )
        if weights is not None and (weights.shape != (len(dataset),) or not _are_weights(weights)):
            raise ConfigError(f"{len(dataset)} clips need as many weights, non-negative and not all 0.")
        world, rank = _place(num_replicas, rank)
        super().__init__(cast("Dataset[Any]", dataset), world, rank, shuffle=True, seed=seed)
        self.length = len(dataset)
        self.weights = weights
        self.num_samples = steps_per_epoch * batch_size
        self.total_size = self.num_samples * world

    def __iter__(self) -> Iterator[Draw]:
        first = self.epoch * self.total_size
        order_of: int | None = None
        order: list[int] = []
        for position in range(first + self.rank, first + self.total_size, self.num_replicas):
            passed, place = divmod(position, self.length)
            if passed != order_of:
                rng = torch.Generator().manual_seed(derive_seed(self.seed, "pass", passed))
                order_of, order = passed, self._pass(rng)
            yield Draw(order[place], derive_seed(self.seed, "draw", position))

    def _pass(self, rng: torch.Generator) -> list[int]:
        """The clips of one pass, as many as the corpus has, in random order."""
        order = torch.randperm(self.length, generator=rng)
        if self.weights is not None:
            ends = self.weights.double().cumsum(0) * (self.length / self.weights.double().sum())
            ticks = torch.arange(self.length) + torch.rand((), generator=rng, dtype=torch.float64)
            order = torch.searchsorted(ends, ticks, right=True).clamp(max=self.length - 1)[order]
        return cast("list[int]", order.tolist())


class EvalSampler(DistributedSampler[Draw]):
    """Every clip once, in order, for validation and test.

    Processes must all take the same number of steps, so the sequence is filled up with repeated clips marked
    `valid=False`; metrics leave those out and are the same numbers for any number of processes.

    Args:
        dataset: Anything with a length.
        num_replicas: Processes; by default those of the initialised process group, else one.
        rank: This process, from 0; by default that of the process group.

    Example:
        >>> [tuple(draw) for draw in EvalSampler(range(3), num_replicas=2, rank=1)]
        [(1, None, True), (0, None, False)]
    """

    def __init__(self, dataset: Sized, *, num_replicas: int | None = None, rank: int | None = None) -> None:
        world, rank = _place(num_replicas, rank)
        super().__init__(cast("Dataset[Any]", dataset), world, rank, shuffle=False)
        self.length = len(dataset)

    def __iter__(self) -> Iterator[Draw]:
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield Draw(position % self.length, None, position < self.length)


def _are_weights(weights: Tensor) -> bool:
    return bool(weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0)


def _place(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """World size and rank: as given, else the process group's, else (1, 0)."""
    grouped = distributed.is_available() and distributed.is_initialized()
    if num_replicas is None:
        num_replicas = distributed.get_world_size() if grouped else 1
    if rank is None:
        rank = distributed.get_rank() if grouped else 0
    return num_replicas, rank
